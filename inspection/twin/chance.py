# SPDX-License-Identifier: AGPL-3.0-or-later
"""Seeded chance without a stream: the same (seed, topic, numbers) give the same draw in every process.

Belt, PLC and camera side run in different processes and must agree on every part; a random stream would
drift apart with the first part that one of them leaves out, a hash cannot.
"""

from __future__ import annotations

import hashlib

_SCALE = 1.0 / (1 << 64)


def unit(seed: int, topic: str, *numbers: int) -> float:
    """A uniform draw in [0, 1)."""
    text = f"{topic}/{seed}/" + ",".join(map(str, numbers))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") * _SCALE


def frame_dropped(seed: int, part_no: int, view: int, share: float) -> bool:
    """Whether the camera of this view loses the picture of this part (`--drop-frames`)."""
    return share > 0 and unit(seed, "drop-frame", part_no, view) < share


def trigger_skipped(seed: int, part_no: int, parts: int | None, share: float) -> bool:
    """Whether the PLC uses up a number for this part and never tells it (`--skip-triggers`).

    The last part is never skipped: a number is known to be missing only when a later one is told.
    """
    return share > 0 and part_no + 1 != parts and unit(seed, "skip-trigger", part_no) < share
