# SPDX-License-Identifier: AGPL-3.0-or-later
"""First schema of the dataset database. Frozen: later changes are new files."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"

_INT, _BIG, _TEXT = sa.Integer(), sa.BigInteger(), sa.Text()


def upgrade(op: Operations) -> None:
    """Create everything, and what keeps it append-only."""
    op.create_table(
        "acts",
        _id("acts"),
        _column("utc_ns", _BIG),
        _column("who", sa.String(200)),
        _column("why", _TEXT),
        _column("kind", sa.String(16)),
    )
    _what_was_taught(op)
    _what_was_chosen(op)
    _what_was_reviewed(op)
    for table in _TABLES:
        _append_only(op, table)


def _what_was_taught(op: Operations) -> None:
    _fact(op, "classes", _column("name", sa.String(200)), unique=["name"])
    _fact(
        op,
        "pictures",
        _column("name", sa.String(500)),
        _column("sha256", sa.String(64)),
        _column("kind", sa.String(8)),
        _column("bytes", _BIG),
        _column("width_px", _INT),
        _column("height_px", _INT),
        unique=["name"],
        index=["sha256"],
    )
    _fact(
        op,
        "links",
        _refers("links", "picture_id", "pictures"),
        *(_column(name, sa.String(200), null=True) for name in ("part", "lot", "sequence")),
        _column("side", sa.String(8), null=True),
        _column("template_sha256", sa.String(64), null=True),
        _column("template_kind", sa.String(8), null=True),
        _column("facts", _TEXT),
        index=["picture_id"],
    )
    _fact(
        op,
        "labels",
        _refers("labels", "picture_id", "pictures"),
        _column("shape", sa.String(8)),
        _column("class_name", sa.String(200), null=True),
        _column("body", _TEXT),
        _refers("labels", "replaces", "labels", null=True),
        unique=["replaces"],
        index=["picture_id"],
    )


def _what_was_chosen(op: Operations) -> None:
    _fact(op, "golden", _refers("golden", "picture_id", "pictures"), unique=["picture_id"])
    _fact(op, "splits", _column("settings", _TEXT))
    _fact(
        op,
        "sides",
        _refers("sides", "split_id", "splits"),
        _refers("sides", "picture_id", "pictures"),
        _column("side", sa.String(8)),
        unique=["split_id", "picture_id"],
        index=["split_id"],
        also_index="picture_id",
    )
    _fact(op, "snapshots", _column("sha256", sa.String(64)), unique=["sha256"])


def _what_was_reviewed(op: Operations) -> None:
    _fact(op, "tasks", _refers("tasks", "picture_id", "pictures"), index=["picture_id"])
    _fact(
        op,
        "assignments",
        _refers("assignments", "task_id", "tasks"),
        _column("reviewer", sa.String(200)),
        unique=["task_id", "reviewer"],
        index=["reviewer"],
    )
    _fact(
        op,
        "answers",
        _refers("answers", "task_id", "tasks"),
        _column("reviewer", sa.String(200)),
        _column("body", _TEXT),
        unique=["task_id", "reviewer"],
    )
    _fact(
        op,
        "outcomes",
        _refers("outcomes", "task_id", "tasks"),
        _column("how", sa.String(16)),
        _column("body", _TEXT),
        unique=["task_id"],
    )


_TABLES = (
    *("acts", "classes", "pictures", "links", "labels", "golden", "splits", "sides", "snapshots"),
    *("tasks", "assignments", "answers", "outcomes"),
)


def _id(table: str) -> sa.Column[Any]:
    del table
    return sa.Column("id", _INT, primary_key=True, autoincrement=False)


def _column(name: str, kind: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def _refers(table: str, name: str, to: str, *, null: bool = False) -> sa.Column[Any]:
    key = sa.ForeignKey(f"{to}.id", name=f"fk_{table}_{name}_{to}")
    return sa.Column(name, _INT, key, nullable=null)


def _fact(
    op: Operations,
    table: str,
    *columns: sa.Column[Any],
    unique: list[str] | None = None,
    index: list[str] | None = None,
    also_index: str | None = None,
) -> None:
    constraints = [sa.UniqueConstraint(*unique, name=f"uq_{table}_{'_'.join(unique)}")] if unique else []
    op.create_table(table, _id(table), _refers(table, "act_id", "acts"), *columns, *constraints)
    for indexed in [["act_id"], index, [also_index] if also_index else None]:
        if indexed:
            op.create_index(f"ix_{table}_{'_'.join(indexed)}", table, indexed)


def _append_only(op: Operations, table: str) -> None:
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
