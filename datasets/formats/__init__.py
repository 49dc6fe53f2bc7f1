# SPDX-License-Identifier: AGPL-3.0-or-later
"""Interchange formats, one file each: `read(path, pictures) -> LabelledSet`, `write(labelled, folder) -> Path`.

Start with `table.py`, which names them all and what each can carry.
"""
