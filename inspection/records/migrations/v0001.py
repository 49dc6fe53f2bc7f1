# SPDX-License-Identifier: AGPL-3.0-or-later
"""First schema: runs, parts, findings, views, images, events, cursor. Frozen: later changes are new files."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"

_INT, _BIG, _TEXT = sa.Integer(), sa.BigInteger(), sa.Text()


def _column(name: str, kind: Any, *, null: bool = False, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, **more)


def upgrade(op: Operations) -> None:
    """Create everything."""
    _runs_and_parts(op)
    _what_was_seen(op)
    op.create_table(
        "events",
        _column("id", _INT, primary_key=True),
        _column("utc_ns", _BIG),
        _column("epoch", _INT),
        _column("kind", sa.String(32)),
        _column("text", _TEXT),
    )
    op.create_index("ix_events_utc_ns", "events", ["utc_ns"])
    op.create_table(
        "cursor",
        _column("id", _INT, primary_key=True),
        _column("segment", _INT),
        _column("offset", _INT),
    )


def _runs_and_parts(op: Operations) -> None:
    op.create_table(
        "runs",
        _column("id", _INT, primary_key=True),
        _column("journal_index", _INT),
        _column("epoch", _INT),
        _column("started_utc_ns", _BIG),
        _column("stopped_utc_ns", _BIG, null=True),
        _column("station", sa.String(64)),
        _column("recipe_sha256", sa.String(64)),
        _column("bundle_sha256", sa.String(64)),
        sa.UniqueConstraint("journal_index", name="uq_runs_journal_index"),
    )
    op.create_table(
        "parts",
        _column("id", _INT, primary_key=True),
        sa.Column("run_id", _INT, sa.ForeignKey("runs.id", name="fk_parts_run_id_runs"), nullable=False),
        _column("epoch", _INT),
        _column("ordinal", _INT),
        _column("seq", _INT),
        _column("encoder", _BIG, null=True),
        _column("trigger_utc_ns", _BIG),
        _column("outcome", sa.String(16)),
        _column("reason", sa.String(32)),
        _column("rejected_by", _TEXT),
        _column("trigger_ns", _BIG),
        _column("deadline_ns", _BIG),
        _column("ready_ns", _BIG, null=True),
        _column("judged_ns", _BIG, null=True),
        _column("closed_ns", _BIG),
        _column("published_ns", _BIG, null=True),
        _column("recipe_sha256", sa.String(64)),
        _column("bundle_sha256", sa.String(64)),
        _column("disposition", _INT, null=True),
        _column("part_id", sa.String(16), null=True),
        sa.UniqueConstraint("run_id", "ordinal", name="uq_parts_run_id_ordinal"),
    )
    for columns in (["trigger_utc_ns"], ["outcome", "id"], ["reason", "id"], ["run_id", "seq"]):
        op.create_index(f"ix_parts_{'_'.join(columns)}", "parts", columns)


def _what_was_seen(op: Operations) -> None:
    op.create_table(
        "findings",
        _column("id", _INT, primary_key=True),
        sa.Column(
            "part_id",
            _INT,
            sa.ForeignKey("parts.id", name="fk_findings_part_id_parts", ondelete="CASCADE"),
            nullable=False,
        ),
        _column("camera", _INT),
        _column("defect_class", sa.String(64)),
        *(_column(name, sa.Float()) for name in ("score", "x0", "y0", "x1", "y1")),
    )
    op.create_index("ix_findings_part_id", "findings", ["part_id"])
    op.create_index("ix_findings_defect_class", "findings", ["defect_class"])
    op.create_table(
        "views",
        _column("id", _INT, primary_key=True),
        sa.Column(
            "part_id",
            _INT,
            sa.ForeignKey("parts.id", name="fk_views_part_id_parts", ondelete="CASCADE"),
            nullable=False,
        ),
        _column("camera", _INT),
        _column("serial", sa.String(64)),
        _column("frame_id", _INT, null=True),
        _column("encoder", _BIG, null=True),
        _column("exposure_ns", _BIG, null=True),
        _column("image_sha256", sa.String(64), null=True),
        _column("image_type", sa.String(8), null=True),
        _column("width", _INT, null=True),
        _column("height", _INT, null=True),
        _column("strip", sa.LargeBinary(), null=True),
        sa.UniqueConstraint("part_id", "camera", name="uq_views_part_id_camera"),
    )
    op.create_index("ix_views_image_sha256", "views", ["image_sha256"])
    op.create_table(
        "images",
        _column("id", _INT, primary_key=True),
        _column("epoch", _INT),
        _column("ordinal", _INT),
        _column("camera", _INT),
        _column("sha256", sa.String(64)),
        _column("type", sa.String(8)),
        _column("bytes", _INT),
        _column("width", _INT),
        _column("height", _INT),
        _column("stored_utc_ns", _BIG),
        _column("retention", sa.String(16)),
    )
    op.create_index("ix_images_epoch_ordinal", "images", ["epoch", "ordinal"])
    op.create_index("ix_images_retention_id", "images", ["retention", "id"])
