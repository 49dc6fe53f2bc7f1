# SPDX-License-Identifier: AGPL-3.0-or-later
"""The content-addressed image store: a picture's name is the sha256 of its bytes.

A picture is durable (`inspection/storage/files.py`) before a row names it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from inspection.storage.files import LEFTOVER, sync_folder, write_durably

_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_WRITTEN_HERE = frozenset({"jpg", "png"})


class PictureAltered(Exception):
    """The file under a picture's name holds other bytes than were recorded."""


class ImageStore:
    """Files under `<root>/ab/cd/<sha256>.<type>`. Any number of writers and readers."""

    def __init__(self, root: Path, kinds: frozenset[str] = _WRITTEN_HERE) -> None:
        self._root = root
        self._kinds = kinds

    def path(self, digest: str, kind: str) -> Path:
        """Where a picture lies; ValueError for anything that is not a digest and a known type."""
        if not _DIGEST.match(digest) or kind not in self._kinds:
            raise ValueError(f"Not the name of a stored picture: {digest[:80]!r}.{kind[:8]!r}")
        return self._root / digest[:2] / digest[2:4] / f"{digest}.{kind}"

    def put(self, data: bytes, kind: str) -> str:
        """Store bytes durably; their digest. Raises OSError (disk full) with nothing half-written left."""
        digest = hashlib.sha256(data).hexdigest()
        place = self.path(digest, kind)
        if place.exists():
            sync_folder(place.parent)  # whoever put it there may not have come so far yet
            return digest
        write_durably(place, data, mode=None)
        return digest

    def get(self, digest: str, kind: str) -> bytes | None:
        """The bytes of a picture, None when it is not kept; PictureAltered when they are others."""
        try:
            data = self.path(digest, kind).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            raise PictureAltered(
                f"The file of picture {digest[:16]} was altered on disk since it was recorded: not shown."
            )
        return data

    def remove(self, digest: str, kind: str) -> int:
        """Forget a picture; the bytes it freed."""
        place = self.path(digest, kind)
        try:
            size = place.stat().st_size
            place.unlink()
        except FileNotFoundError:
            return 0
        return size

    def sweep_leftovers(self) -> int:
        """Remove half-written files of a killed writer; how many there were."""
        leftovers = list(self._root.glob(f"??/??/*{LEFTOVER}"))
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)
