# SPDX-License-Identifier: AGPL-3.0-or-later
"""First schema of the dataset database. Frozen: later changes are new files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from datasets.migrations.growing import append_only, column, fact, refers, row_id

revision = "0001"

_INT, _BIG, _TEXT = sa.Integer(), sa.BigInteger(), sa.Text()


def upgrade(op: Operations) -> None:
    """Create everything, and what keeps it append-only."""
    op.create_table(
        "acts",
        row_id(),
        column("utc_ns", _BIG),
        column("who", sa.String(200)),
        column("why", _TEXT),
        column("kind", sa.String(16)),
    )
    _what_was_taught(op)
    _what_was_chosen(op)
    _what_was_reviewed(op)
    for table in _TABLES:
        append_only(op, table)


def _what_was_taught(op: Operations) -> None:
    fact(op, "classes", column("name", sa.String(200)), unique=["name"])
    fact(
        op,
        "pictures",
        column("name", sa.String(500)),
        column("sha256", sa.String(64)),
        column("kind", sa.String(8)),
        column("bytes", _BIG),
        column("width_px", _INT),
        column("height_px", _INT),
        unique=["name"],
        index=["sha256"],
    )
    fact(
        op,
        "links",
        refers("links", "picture_id", "pictures"),
        *(column(name, sa.String(200), null=True) for name in ("part", "lot", "sequence")),
        column("side", sa.String(8), null=True),
        column("template_sha256", sa.String(64), null=True),
        column("template_kind", sa.String(8), null=True),
        column("facts", _TEXT),
        index=["picture_id"],
    )
    fact(
        op,
        "labels",
        refers("labels", "picture_id", "pictures"),
        column("shape", sa.String(8)),
        column("class_name", sa.String(200), null=True),
        column("body", _TEXT),
        refers("labels", "replaces", "labels", null=True),
        unique=["replaces"],
        index=["picture_id"],
    )


def _what_was_chosen(op: Operations) -> None:
    fact(op, "golden", refers("golden", "picture_id", "pictures"), unique=["picture_id"])
    fact(op, "splits", column("settings", _TEXT))
    fact(
        op,
        "sides",
        refers("sides", "split_id", "splits"),
        refers("sides", "picture_id", "pictures"),
        column("side", sa.String(8)),
        unique=["split_id", "picture_id"],
        index=["split_id"],
        also_index="picture_id",
    )
    fact(op, "snapshots", column("sha256", sa.String(64)), unique=["sha256"])


def _what_was_reviewed(op: Operations) -> None:
    fact(op, "tasks", refers("tasks", "picture_id", "pictures"), index=["picture_id"])
    fact(
        op,
        "assignments",
        refers("assignments", "task_id", "tasks"),
        column("reviewer", sa.String(200)),
        unique=["task_id", "reviewer"],
        index=["reviewer"],
    )
    fact(
        op,
        "answers",
        refers("answers", "task_id", "tasks"),
        column("reviewer", sa.String(200)),
        column("body", _TEXT),
        unique=["task_id", "reviewer"],
    )
    fact(
        op,
        "outcomes",
        refers("outcomes", "task_id", "tasks"),
        column("how", sa.String(16)),
        column("body", _TEXT),
        unique=["task_id"],
    )


_TABLES = (
    *("acts", "classes", "pictures", "links", "labels", "golden", "splits", "sides", "snapshots"),
    *("tasks", "assignments", "answers", "outcomes"),
)
