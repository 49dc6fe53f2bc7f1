# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames drawn ahead of their trigger: a bounded buffer in shared memory between painter and camera side.

One writer (the painter) and one reader (the camera side); no lock, because each cell has one writer: the
painter writes pixels and then the slot's tag, the reader moves `wanted` on. A part that was not painted in time
is left out by the painter, never painted late. Cells are aligned 8-byte words, which x86-64 and aarch64 store
whole.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

_WANTED = 0
_FIRST_TAG = 8
_HEADER_BYTES = 8192


class FramesAhead:
    """The buffer. `shape` is that of one frame; the file's creator decides everything, others attach."""

    def __init__(
        self, path: Path, *, depth: int, views: int, shape: tuple[int, ...], create: bool = False
    ) -> None:
        if not 1 <= depth <= _HEADER_BYTES // 8 - _FIRST_TAG:
            raise ValueError(f"a depth of {depth} parts does not fit")
        self.depth, self.views = depth, views
        frame_bytes = int(np.prod(shape))
        size = _HEADER_BYTES + depth * views * frame_bytes
        if create:
            with path.open("wb") as file:
                file.truncate(size)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        self._words = np.frombuffer(self._memory, np.int64, _HEADER_BYTES // 8)
        pixels = np.frombuffer(self._memory, np.uint8, offset=_HEADER_BYTES)
        self._frames = pixels.reshape(depth, views, *shape)

    # --- painter
    def next_to_paint(self, part_no: int) -> int | None:
        """The part to paint next when `part_no` would be: itself, a later one when late, None when full."""
        wanted = int(self._words[_WANTED])
        part_no = max(part_no, wanted)
        return part_no if part_no < wanted + self.depth else None

    def frame(self, part_no: int, view: int) -> np.ndarray:
        """Where this frame's pixels go; writable."""
        return self._frames[part_no % self.depth, view]

    def painted(self, part_no: int) -> None:
        """All views of this part lie in their slot."""
        self._words[_FIRST_TAG + part_no % self.depth] = part_no + 1

    # --- camera side
    def is_painted(self, part_no: int) -> bool:
        """Whether the part's frames are there."""
        return int(self._words[_FIRST_TAG + part_no % self.depth]) == part_no + 1

    def done(self, part_no: int) -> None:
        """Give up the frames of this part and of all before it."""
        self._words[_WANTED] = part_no + 1

    def close(self) -> None:
        """Unmap; the file stays. Frames handed out must be gone by then."""
        del self._words, self._frames
        self._memory.close()
