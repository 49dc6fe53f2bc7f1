# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log file of one child process: bounded on disk, and read from its end.

The child writes through an inherited descriptor in append mode, so the supervisor may cut the file under its
hands: the next line lands at the new end. What was cut stays once more as `NAME.log.1`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

LOG_BYTES = 1024 * 1024
"""A log longer than this is set aside; with the one before it a child holds at most about twice as much."""
_TAIL_BYTES = 8192
_WORDS_LENGTH = 1000


class ChildLog:
    """One child's stdout and stderr. Owned by the supervisor."""

    def __init__(self, path: Path, limit_bytes: int = LOG_BYTES) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._begin = 0  # where the present child's lines begin

    def open(self) -> BinaryIO:
        """For the child that is about to start; a long log of the one before is set aside first."""
        self.bound()
        log = self.path.open("ab")
        self._begin = log.tell()
        return log

    def bound(self) -> bool:
        """Set the log aside when it has grown too long; call now and then. Whether it had.

        Lines that the child writes between copy and cut are lost: a log is for people, not for the record.
        """
        try:
            if self.path.stat().st_size <= self._limit_bytes:
                return False
            shutil.copyfile(self.path, self.path.with_name(self.path.name + ".1"))
        except FileNotFoundError:
            return False
        except OSError:  # a full disk: the copy is worth less than the space
            self.path.with_name(self.path.name + ".1").unlink(missing_ok=True)
        os.truncate(self.path, 0)
        self._begin = 0
        return True

    def last_line(self) -> str:
        """The last line of the child started last, "" when it said nothing; reads only the end of the file."""
        try:
            with self.path.open("rb") as f:
                end = f.seek(0, os.SEEK_END)
                f.seek(max(self._begin, end - _TAIL_BYTES))
                lines = f.read(_TAIL_BYTES).decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][-_WORDS_LENGTH:] if lines else ""
