# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a candidate in shadow said of parts beside the bundle that judged them. Frozen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"


def upgrade(op: Operations) -> None:
    """Create the table."""
    op.create_table(
        "shadow",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("shadow_sha256", sa.String(64), nullable=False),
        sa.Column("shadow_outcome", sa.String(16), nullable=False),
        sa.Column("shadow_score", sa.Float(), nullable=False),
        sa.Column("rejected_by", sa.Text(), nullable=False),
        sa.Column("agrees", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_shadow_shadow_sha256_agrees_id", "shadow", ["shadow_sha256", "agrees", "id"])
