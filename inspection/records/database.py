# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the records database: one writer (the recorder), any number of read-only readers.

Migrations run inside one exclusive transaction, so that a killed one leaves the old version whole.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from inspection.records.migrations import MIGRATIONS
from inspection.storage.database import own_transactions, upgrade
from inspection.types import StationFault


def open_writer(path: Path) -> Engine:
    """Engine of the one writing process; creates or upgrades the schema.

    Raises StationFault for a file that is no database, or one written by a newer version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10, "check_same_thread": False})
    # WAL lets readers go on beside us; NORMAL is enough for a projection, the journal is the truth.
    own_transactions(engine, "BEGIN IMMEDIATE", ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"))
    try:
        with engine.begin() as connection:
            upgrade(
                connection,
                MIGRATIONS,
                name=str(path),
                remedy="install that version, or move the file away, and it is rebuilt from the journal.",
            )
    except DatabaseError as e:
        engine.dispose()
        raise StationFault(
            f"{path} cannot be used as the records database ({e.orig}): move it away, and it is rebuilt from "
            "the journal."
        ) from e
    except StationFault:
        engine.dispose()
        raise
    return engine


def open_reader(path: Path) -> Engine:
    """Read-only engine: can neither create nor change anything, and never waits for the writer."""
    engine = create_engine(
        "sqlite://",
        # the URL looks like :memory:, whose default pool closes other threads' connections under their hands
        poolclass=QueuePool,
        creator=lambda: sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2, check_same_thread=False),
    )
    own_transactions(engine, "BEGIN")
    return engine
