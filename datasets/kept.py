# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was measured of pictures, kept by their content, so that a second look costs seconds.

`DATASET/looks.sqlite` lies beside the facts: nothing that counts rests on it, and it may be deleted at any
time. Each row says what it is (with a version: other code, another row) and of which bytes. Without a file
nothing is kept.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

LOOKS_NAME = "looks.sqlite"
_BATCH = 64  # a check that is killed loses what so many pictures cost
_PATIENCE_S = 30.0
_TABLE = "CREATE TABLE IF NOT EXISTS looks (what TEXT, of TEXT, data BLOB, PRIMARY KEY (what, of))"


class Kept:
    """Arrays by what they are and of which content. `file`: where they are kept; None: nowhere."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._digests: dict[tuple[str, int, int], str] = {}

    def digest(self, path: Path) -> str:
        """sha256 of a file; read once as long as size and time of change stay. OSError when there is none."""
        facts = path.stat()
        key = (str(path), facts.st_size, facts.st_mtime_ns)
        if key not in self._digests:
            with path.open("rb") as file:
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[key]

    def rows(
        self,
        whats: Sequence[str],
        contents: Sequence[str],
        make: Callable[[int], Sequence[np.ndarray]],
    ) -> list[tuple[np.ndarray, ...]]:
        """For each content one array of each kind: from the file where it has them all, else `make(index)`."""
        found: list[tuple[np.ndarray, ...]] = []
        for start in range(0, len(contents), _BATCH):
            some = contents[start : start + _BATCH]
            known = self._read(whats, some)
            made: dict[str, tuple[np.ndarray, ...]] = {}
            for index, content in enumerate(some, start):
                if content not in known and content not in made:
                    made[content] = tuple(make(index))
            self._write(whats, made)
            both = known | made
            found += [both[content] for content in some]
        return found

    def _read(self, whats: Sequence[str], contents: Sequence[str]) -> dict[str, tuple[np.ndarray, ...]]:
        if self._file is None or not self._file.is_file():
            return {}
        marks = ",".join("?" * len(contents))
        query = f"SELECT what, of, data FROM looks WHERE what = ? AND of IN ({marks})"  # noqa: S608 - marks only
        found: dict[tuple[str, str], np.ndarray] = {}
        try:
            with closing(self._opened(self._file)) as connection:
                for what in whats:
                    for _, content, data in connection.execute(query, (what, *contents)):
                        found[what, content] = np.load(io.BytesIO(data), allow_pickle=False)
        except (sqlite3.Error, ValueError, EOFError):
            return {}  # it is made again, and written over
        whole = (c for c in contents if all((what, c) in found for what in whats))
        return {content: tuple(found[what, content] for what in whats) for content in whole}

    def _write(self, whats: Sequence[str], made: dict[str, tuple[np.ndarray, ...]]) -> None:
        if self._file is None or not made:
            return
        rows = list(_rows(whats, made.items()))
        try:
            self._insert(self._file, rows)
        except sqlite3.OperationalError:
            return  # busy, full or not ours to write: the next check pays again
        except sqlite3.DatabaseError:  # damaged: nothing is lost that cannot be made again
            self._file.unlink(missing_ok=True)
            self._file.with_name(f"{self._file.name}-journal").unlink(missing_ok=True)  # belongs to what was
            with suppress(sqlite3.Error):
                self._insert(self._file, rows)

    def _insert(self, file: Path, rows: Sequence[tuple[str, str, bytes]]) -> None:
        with closing(self._opened(file)) as connection, connection:
            connection.execute(_TABLE)
            connection.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?)", rows)

    def _opened(self, file: Path) -> sqlite3.Connection:
        return sqlite3.connect(file, timeout=_PATIENCE_S)


def _rows(
    whats: Sequence[str], made: Iterable[tuple[str, tuple[np.ndarray, ...]]]
) -> Iterator[tuple[str, str, bytes]]:
    for content, arrays in made:
        for what, array in zip(whats, arrays, strict=True):
            out = io.BytesIO()
            np.save(out, array, allow_pickle=False)
            yield what, content, out.getvalue()
