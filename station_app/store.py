# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's own database: people, their sessions, and who did what. Its file is not the records database.

Acknowledged writes survive a power cut (WAL with synchronous=FULL). The file is readable by its owner only.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.exc import DatabaseError

from inspection.types import StationFault

SCHEMA_VERSION = 1

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_utc_ns", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("csrf", String(64), nullable=False),
    Column("created_utc_ns", BigInteger, nullable=False),
    Column("used_utc_ns", BigInteger, nullable=False),
)

console_identity = Table(
    "console_identity",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("console_id", String(16), nullable=False),  # in the names of its cookies
    Column("browser_key", String(64), nullable=False),  # signs the cookie of a browser that has logged in
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("utc_ns", BigInteger, nullable=False),
    Column("who", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("detail", Text, nullable=False),
)


def open_store(path: Path) -> Engine:
    """Open or create the console database; StationFault when it is no database, or of a newer version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    try:
        with engine.begin() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > SCHEMA_VERSION:
                raise StationFault(
                    f"{path} was written by a newer version of Gatesight (schema {version}, this one knows "
                    f"{SCHEMA_VERSION}): install that version, or move the file away to start with a new one."
                )
            metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
    except DatabaseError as e:
        engine.dispose()
        raise StationFault(
            f"{path} cannot be used as the console's database ({e.orig}): move it away to start with a new one."
        ) from e
    except StationFault:
        engine.dispose()
        raise
    return engine
