# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people say of parts of the line, and which of those were drawn by chance. Frozen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from datasets.migrations.growing import append_only, column, fact, refers

revision = "0002"

_INT, _BIG, _SHARE = sa.Integer(), sa.BigInteger(), sa.Float()


def upgrade(op: Operations) -> None:
    """Create both tables; they only grow."""
    fact(
        op,
        "audits",
        column("station", sa.String(64)),
        *(column(name, _SHARE) for name in ("pass_share", "reject_share", "kept_share")),
        column("key", sa.String(64)),
        index=["station"],
    )
    fact(
        op,
        "reviews",
        column("station", sa.String(64)),
        *(column(name, _INT) for name in ("epoch", "ordinal")),
        column("trigger_utc_ns", _BIG),
        column("said", sa.String(16)),
        column("class_name", sa.String(200), null=True),
        column("outcome", sa.String(16)),
        column("bundle_sha256", sa.String(64)),
        column("probability", _SHARE, null=True),
        refers("reviews", "replaces", "reviews", null=True),
        unique=["replaces"],
        index=["station", "epoch", "ordinal"],
    )
    for table in ("audits", "reviews"):
        append_only(op, table)
