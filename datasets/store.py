# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dataset home: a folder with pictures named by their content and a database of facts that only grow.

    DATASET/dataset.sqlite   acts, pictures, labels, reviews, splits, snapshots (or dataset.toml: PostgreSQL)
    DATASET/images/          ab/cd/<sha256>.<kind>, written once
    DATASET/snapshots/       <sha256>.json, written once
    DATASET/looks.sqlite     what was measured of pictures; may be deleted (`datasets/kept.py`)

Open it with `open_home`; add pictures with `datasets.adding.add`, label with `datasets.labelling`, ask with
`datasets.beliefs`. All writing happens in an act: one transaction with a name and a reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, Table, func, insert, select

from datasets import schema as t
from datasets.database import SETTINGS_NAME, SQLITE_NAME, close_engines, in_turn, open_engines, wait_for_others
from datasets.kept import LOOKS_NAME, Kept
from datasets.shapes import PICTURE_KINDS
from inspection.storage.images import ImageStore
from inspection.types import StationFault

INTAKE_NAME = ".intake"
"""Locked file that everybody shares who writes pictures."""
_DATABASE = {SQLITE_NAME, SQLITE_NAME + "-wal", SQLITE_NAME + "-shm", SETTINGS_NAME, ".lock"}
_OURS = _DATABASE | {INTAKE_NAME, "images", "snapshots", LOOKS_NAME, f"{LOOKS_NAME}-journal"}
_LONGEST_WHO = 200


@dataclass(slots=True)
class Act:
    """One transaction of a named person. Recorded with its first fact: an act that changes nothing is none."""

    connection: Connection
    who: str
    why: str
    kind: str
    utc_ns: int
    id: int
    _written: bool = field(default=False)

    def insert(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> list[int]:
        """Add facts; their numbers, in order."""
        rows = list(rows)
        if not rows:
            return []
        if not self._written:
            self.connection.execute(
                insert(t.acts).values(
                    id=self.id, utc_ns=self.utc_ns, who=self.who, why=self.why, kind=self.kind
                )
            )
            self._written = True
        first = next_id(self.connection, table)
        ids = list(range(first, first + len(rows)))
        self.connection.execute(
            insert(table), [{"id": i, "act_id": self.id, **row} for i, row in zip(ids, rows, strict=True)]
        )
        return ids


class DatasetHome:
    """An open dataset home. Safe for several threads and processes; close it, or use it in a `with`."""

    def __init__(self, folder: Path, engines: tuple[Engine, Engine], clock: Callable[[], int]) -> None:
        self.folder = folder
        self.images = ImageStore(folder / "images", PICTURE_KINDS)
        self.snapshots = folder / "snapshots"
        self.kept = Kept(folder / LOOKS_NAME)
        self._writer, self._reader = engines
        self._clock = clock

    @contextmanager
    def acting(self, kind: str, who: str, why: str) -> Iterator[Act]:
        """One act: all of its facts, or none. What it read stays true until it ends: writers take turns."""
        who, why = _named(who), _reasoned(why)
        with in_turn(self.folder), self._writer.begin() as connection:
            wait_for_others(connection)
            number = next_id(connection, t.acts)
            yield Act(connection=connection, who=who, why=why, kind=kind, utc_ns=self._clock(), id=number)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of all facts; what others add meanwhile is not in it."""
        with self._reader.begin() as connection:
            yield connection

    def close(self) -> None:
        """Give back every connection."""
        close_engines(self._writer, self._reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_home(folder: Path) -> bool:
    """Whether a folder is a dataset home."""
    return (folder / SQLITE_NAME).is_file() or (folder / SETTINGS_NAME).is_file()


def open_home(folder: Path, *, create: bool = False, clock: Callable[[], int] = time.time_ns) -> DatasetHome:
    """Open a dataset home; with `create`, make one where there is none (in a new or empty folder).

    clock: wall time in UTC nanoseconds, that acts are dated by.
    Raises StationFault when there is none, or when the folder is full of something else.
    """
    folder = folder.resolve()
    if not is_home(folder):
        if not create:
            raise StationFault(
                f"{folder} is no dataset home: `gatesight data import SOURCE --into {folder}` makes one."
            )
        if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - _OURS):
            raise StationFault(f"{folder} holds other things than a dataset: name a new or an empty folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return DatasetHome(folder, open_engines(folder), clock)
    except OSError as error:
        raise StationFault(f"{folder} cannot be used as a dataset home: {error.strerror}.") from error


def next_id(connection: Connection, table: Table) -> int:
    """The number of the next row. Numbers grow with time because writers take turns: no gaps, no overtaking."""
    return int(connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()) + 1


def _named(who: str) -> str:
    who = who.strip()
    if not who or len(who) > _LONGEST_WHO or not who.isprintable():
        raise StationFault("Who does this? Give a name (--who NAME) of at most 200 printable characters.")
    return who


def _reasoned(why: str) -> str:
    why = why.strip()
    if not why:
        raise StationFault("Why is this done? Give a reason: it stays with what is written.")
    return why
