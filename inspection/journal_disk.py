# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal's port to the file system: the five calls that reach a disk, so that a test can make one fail."""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """The journal's port to the file system; tests hand in one that runs full or fails."""

    def preallocate(self, path: Path, size_bytes: int) -> int:
        """Make `path` with its blocks reserved and on disk; the open descriptor. OSError when full."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(fd, 0, size_bytes)
            os.fsync(fd)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of `data`; OSError otherwise."""
        view = memoryview(data)
        while view:
            n = os.pwrite(fd, view, offset)
            view, offset = view[n:], offset + n

    def sync(self, fd: int) -> None:
        """Data of one file on disk."""
        os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        """Names in one folder on disk."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
