# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bricks of the dataset's migrations: a table of facts, and what keeps it append-only. Frozen with them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations


def row_id() -> sa.Column[Any]:
    """Number of a row, given out under the write lock."""
    return sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False)


def column(name: str, kind: Any, *, null: bool = False) -> sa.Column[Any]:
    """A column; not null unless said."""
    return sa.Column(name, kind, nullable=null)


def refers(table: str, name: str, to: str, *, null: bool = False) -> sa.Column[Any]:
    """A column that refers to a row of another table."""
    key = sa.ForeignKey(f"{to}.id", name=f"fk_{table}_{name}_{to}")
    return sa.Column(name, sa.Integer(), key, nullable=null)


def fact(
    op: Operations,
    table: str,
    *columns: sa.Column[Any],
    unique: list[str] | None = None,
    index: list[str] | None = None,
    also_index: str | None = None,
) -> None:
    """A table of facts: number, act, columns."""
    constraints = [sa.UniqueConstraint(*unique, name=f"uq_{table}_{'_'.join(unique)}")] if unique else []
    op.create_table(table, row_id(), refers(table, "act_id", "acts"), *columns, *constraints)
    for indexed in [["act_id"], index, [also_index] if also_index else None]:
        if indexed:
            op.create_index(f"ix_{table}_{'_'.join(indexed)}", table, indexed)


def append_only(op: Operations, table: str) -> None:
    """The database itself refuses to change or delete a fact."""
    refusal = f"{table} only grows: add a new record that replaces the old one"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{refusal}'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION refuse_{table}()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
        )
    # INSERT OR REPLACE deletes without asking the trigger above
    exists = f"EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)"  # noqa: S608 - a table of ours
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {exists} "
        f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
    )
