# SPDX-License-Identifier: AGPL-3.0-or-later
"""Schema versions of the dataset database, in order; the whole upgrade is one transaction."""

from __future__ import annotations

from collections.abc import Callable

from alembic.operations import Operations

from datasets.migrations import v0001, v0002

MIGRATIONS: list[tuple[str, Callable[[Operations], None]]] = [
    (v0001.revision, v0001.upgrade),
    (v0002.revision, v0002.upgrade),
]
