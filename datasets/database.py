# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the database of a dataset home: SQLite in its folder, or PostgreSQL named in its `dataset.toml`.

An acknowledged write survives a power cut (WAL with synchronous=FULL). Writers of all processes take turns
through one locked file: SQLite before 3.51.3 can damage a WAL when two processes write or checkpoint at the
same instant, and a queue is fairer than polling a busy database.
"""

from __future__ import annotations

import fcntl
import os
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from datasets.migrations import MIGRATIONS
from inspection.storage.database import own_transactions, upgrade
from inspection.types import StationFault

SQLITE_NAME = "dataset.sqlite"
SETTINGS_NAME = "dataset.toml"
_LOCK_NAME = ".lock"
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON")
_PATIENCE_S = 60.0
_ADVISORY_KEY = 0x6761_7465  # "gate": the one lock that writers of a PostgreSQL home share


def database_url(folder: Path) -> str:
    """Where the home's database is: `database` in its dataset.toml, else the SQLite file in the folder."""
    settings = folder / SETTINGS_NAME
    if not settings.exists():
        return f"sqlite:///{folder / SQLITE_NAME}"
    try:
        given = tomllib.loads(settings.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StationFault(f'{settings}: not TOML ({error}); it holds one line, database = "URL"') from None
    if set(given) != {"database"} or not isinstance(given["database"], str):
        raise StationFault(f"{settings}: it holds one key, `database`, and found {sorted(given)}")
    return given["database"]


def open_engines(folder: Path) -> tuple[Engine, Engine]:
    """(writer, reader); creates or upgrades the schema. StationFault when it cannot be used."""
    url = database_url(folder)
    try:
        if url.startswith("sqlite:"):
            options = {"timeout": _PATIENCE_S, "check_same_thread": False}
            writer, reader = (create_engine(url, connect_args=options) for _ in range(2))
            own_transactions(writer, "BEGIN IMMEDIATE", _PRAGMAS)
            own_transactions(reader, "BEGIN", (*_PRAGMAS, "query_only=ON"))
        else:
            writer = create_engine(url)  # read committed: what others wrote while it waited its turn is seen
            reader = create_engine(url, isolation_level="REPEATABLE READ")
    except (ArgumentError, ImportError) as error:
        raise StationFault(
            f"{folder / SETTINGS_NAME}: the database URL cannot be used ({error}); "
            "it looks like postgresql+psycopg://user@host/name, and needs pip install 'gatesight[postgresql]'"
        ) from None
    try:
        with in_turn(folder), writer.begin() as connection:
            wait_for_others(connection)
            upgrade(connection, MIGRATIONS, name=f"The dataset {folder}", remedy="install that version.")
    except (DatabaseError, OperationalError) as error:
        close_engines(writer, reader)
        raise StationFault(
            f"The database of the dataset {folder} cannot be used ({error.orig}): take it back from a backup."
        ) from error
    except StationFault:
        close_engines(writer, reader)
        raise
    return writer, reader


def close_engines(writer: Engine, reader: Engine) -> None:
    """Give back every connection."""
    reader.dispose()
    writer.dispose()


def wait_for_others(connection: Connection) -> None:
    """Queue behind writers on other machines, whom the locked file does not stop, till the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Hold the home's lock: one writer at a time, over all processes and threads of this machine."""
    descriptor = os.open(folder / _LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)  # gives the lock back too, as the end of the process does


def _lock(descriptor: int, folder: Path) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end_s:
                raise StationFault(
                    f"Another process has been writing to the dataset {folder} for {_PATIENCE_S:.0f} s: "
                    "try again when it is done; nothing was changed."
                ) from None
            time.sleep(0.005)
        else:
            return
