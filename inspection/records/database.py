# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the records database: one writer (the recorder), any number of read-only readers.

Migrations run inside one exclusive transaction, so that a killed one leaves the old version whole.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from inspection.records.migrations import HEAD, MIGRATIONS
from inspection.types import StationFault


def open_writer(path: Path) -> Engine:
    """Engine of the one writing process; creates or upgrades the schema.

    Raises StationFault for a file that is no database, or one written by a newer version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10, "check_same_thread": False})
    # WAL lets readers go on beside us; NORMAL is enough for a projection, the journal is the truth.
    _own_transactions(engine, "BEGIN IMMEDIATE", ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"))
    try:
        with engine.begin() as connection:
            _upgrade(connection, path)
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
    _own_transactions(engine, "BEGIN")
    return engine


def _own_transactions(engine: Engine, begin: str, pragmas: tuple[str, ...] = ()) -> None:
    """Take transaction control from the driver: Python's sqlite3 commits before DDL, which tears migrations."""

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _upgrade(connection: Connection, path: Path) -> None:
    context = MigrationContext.configure(connection, opts={"transactional_ddl": False})
    present = context.get_current_revision()
    if present == HEAD:
        return
    known = [revision for revision, _ in MIGRATIONS]
    if present is not None and present not in known:
        raise StationFault(
            f"{path} was written by a newer version of Gatesight (schema {present}, this one knows {HEAD}): "
            "install that version, or move the file away, and it is rebuilt from the journal."
        )
    operations = Operations(context)
    for revision, upgrade in MIGRATIONS[known.index(present) + 1 if present else 0 :]:
        upgrade(operations)
        # stamped by hand: Alembic does it only for migrations in its own script folder
        connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)"
        )
        connection.exec_driver_sql("DELETE FROM alembic_version")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (revision,))
