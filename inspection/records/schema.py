# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tables of the records database (SQLAlchemy Core). The recorder writes, everybody else only reads."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from inspection.storage.database import NAMES

metadata = MetaData(naming_convention=NAMES)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("journal_index", Integer, nullable=False, unique=True),  # of its Started record: names the run
    Column("epoch", Integer, nullable=False),
    Column("started_utc_ns", BigInteger, nullable=False),
    Column("stopped_utc_ns", BigInteger),
    Column("station", String(64), nullable=False),
    Column("recipe_sha256", String(64), nullable=False),
    Column("bundle_sha256", String(64), nullable=False),
)

parts = Table(
    "parts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("encoder", BigInteger),
    Column("trigger_utc_ns", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),  # pass | reject | not_inspected
    Column("reason", String(32), nullable=False),  # the first reason; all of them in the journal
    Column("rejected_by", Text, nullable=False, default="[]"),  # JSON list of defect classes or rules
    Column("trigger_ns", BigInteger, nullable=False),
    Column("deadline_ns", BigInteger, nullable=False),
    Column("ready_ns", BigInteger),
    Column("judged_ns", BigInteger),
    Column("closed_ns", BigInteger, nullable=False),
    Column("published_ns", BigInteger),
    Column("recipe_sha256", String(64), nullable=False),
    Column("bundle_sha256", String(64), nullable=False),
    Column("disposition", Integer),
    Column("part_id", String(16)),
    UniqueConstraint("run_id", "ordinal"),
    Index(None, "trigger_utc_ns"),
    Index(None, "outcome", "id"),
    Index(None, "reason", "id"),
    Index(None, "run_id", "seq"),
)

findings = Table(
    "findings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("part_id", ForeignKey("parts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("camera", Integer, nullable=False),
    Column("defect_class", String(64), nullable=False, index=True),
    Column("score", Float, nullable=False),
    Column("x0", Float, nullable=False),  # half-open box, original camera pixels
    Column("y0", Float, nullable=False),
    Column("x1", Float, nullable=False),
    Column("y1", Float, nullable=False),
)

views = Table(
    "views",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("part_id", ForeignKey("parts.id", ondelete="CASCADE"), nullable=False),
    Column("camera", Integer, nullable=False),
    Column("serial", String(64), nullable=False),
    Column("frame_id", Integer),
    Column("encoder", BigInteger),
    Column("exposure_ns", BigInteger),
    Column("image_sha256", String(64)),  # null: not kept (retention, shed, or not stored yet)
    Column("image_type", String(8)),  # jpg | png
    Column("width", Integer),
    Column("height", Integer),
    Column("strip", LargeBinary),
    UniqueConstraint("part_id", "camera"),
    Index(None, "image_sha256"),
)

# Pictures arrive before or after the journal's record of their part; the projection joins them here.
images = Table(
    "images",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("camera", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("type", String(8), nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("stored_utc_ns", BigInteger, nullable=False),
    Column("retention", String(16), nullable=False),  # reject | borderline | pass: shed from the right
    Index(None, "epoch", "ordinal"),
    Index(None, "retention", "id"),
)

# What a candidate in shadow said beside the bundle that judged; not from the journal, so it is not rebuilt.
shadow = Table(
    "shadow",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("utc_ns", BigInteger, nullable=False),
    Column("bundle_sha256", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),  # of the inspector; the journal has the last word
    Column("score", Float, nullable=False),  # the highest of its findings
    Column("shadow_sha256", String(64), nullable=False),
    Column("shadow_outcome", String(16), nullable=False),
    Column("shadow_score", Float, nullable=False),
    Column("rejected_by", Text, nullable=False),
    Column("agrees", Boolean, nullable=False),
    Index(None, "shadow_sha256", "agrees", "id"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("utc_ns", BigInteger, nullable=False, index=True),
    Column("epoch", Integer, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("text", Text, nullable=False),
)

cursor = Table(
    "cursor",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("segment", Integer, nullable=False),
    Column("offset", Integer, nullable=False),
)
