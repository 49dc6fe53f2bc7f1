# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tables of a dataset home (SQLAlchemy Core): facts, each added by an act of a named person, none ever changed.

Every row but an act belongs to an act (who, when, why). What counts now, or counted on some day, is a query
over the acts up to then: `datasets/beliefs.py`. Triggers refuse UPDATE and DELETE.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from inspection.storage.database import NAMES

metadata = MetaData(naming_convention=NAMES)


def _fact(name: str, *columns: Column[object] | UniqueConstraint | Index) -> Table:
    """A table of facts: its own number (given out under the write lock) and the act that added it."""
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("act_id", ForeignKey("acts.id"), nullable=False, index=True),
        *columns,
    )


def _picture() -> Column[object]:
    return Column("picture_id", ForeignKey("pictures.id"), nullable=False, index=True)


acts = Table(
    "acts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("utc_ns", BigInteger, nullable=False),
    Column("who", String(200), nullable=False),
    Column("why", Text, nullable=False),
    Column("kind", String(16), nullable=False),  # import | line | label | link | golden | split | review | ...
)

classes = _fact("classes", Column("name", String(200), nullable=False, unique=True))

pictures = _fact(
    "pictures",
    Column("name", String(500), nullable=False, unique=True),
    Column("sha256", String(64), nullable=False, index=True),
    Column("kind", String(8), nullable=False),  # how the file ends: jpg, png, ...
    Column("bytes", BigInteger, nullable=False),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
)

# What a picture belongs to; the newest row of a picture counts.
links = _fact(
    "links",
    _picture(),
    Column("part", String(200)),
    Column("lot", String(200)),
    Column("sequence", String(200)),
    Column("side", String(8)),  # train | val | test, where its source says so
    Column("template_sha256", String(64)),
    Column("template_kind", String(8)),
    Column("facts", Text, nullable=False),  # JSON: what its source says besides
)

labels = _fact(
    "labels",
    _picture(),
    Column("shape", String(8), nullable=False),  # box | polygons | mask | whole | nothing | gone
    Column("class_name", String(200)),
    Column("body", Text, nullable=False),  # canonical JSON: datasets/shapes.py
    Column("replaces", ForeignKey("labels.id"), unique=True),  # unique: two corrections of one record clash
)

golden = _fact("golden", Column("picture_id", ForeignKey("pictures.id"), nullable=False, unique=True))

splits = _fact("splits", Column("settings", Text, nullable=False))
sides = _fact(
    "sides",
    Column("split_id", ForeignKey("splits.id"), nullable=False, index=True),
    _picture(),
    Column("side", String(8), nullable=False),
    UniqueConstraint("split_id", "picture_id"),
)

snapshots = _fact("snapshots", Column("sha256", String(64), nullable=False, unique=True))

tasks = _fact("tasks", _picture())
assignments = _fact(
    "assignments",
    Column("task_id", ForeignKey("tasks.id"), nullable=False),
    Column("reviewer", String(200), nullable=False, index=True),
    UniqueConstraint("task_id", "reviewer"),
)
answers = _fact(
    "answers",
    Column("task_id", ForeignKey("tasks.id"), nullable=False),
    Column("reviewer", String(200), nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("task_id", "reviewer"),
)
outcomes = _fact(
    "outcomes",
    Column("task_id", ForeignKey("tasks.id"), nullable=False, unique=True),
    Column("how", String(16), nullable=False),  # agreed | adjudicated
    Column("body", Text, nullable=False),
)

# Which parts of a station people are shown by chance alone; in force from the act on, until the next one.
audits = _fact(
    "audits",
    Column("station", String(64), nullable=False, index=True),
    Column("pass_share", Float, nullable=False),
    Column("reject_share", Float, nullable=False),
    Column("kept_share", Float, nullable=False),  # of the passes keep their pictures: the draw is among those
    Column("key", String(64), nullable=False),  # hex: who knows it can repeat the draw, nobody else foresees it
)

# What people say of parts that the line has judged.
reviews = _fact(
    "reviews",
    Column("station", String(64), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("trigger_utc_ns", BigInteger, nullable=False),
    Column("said", String(16), nullable=False),  # good | defective | unclear
    Column("class_name", String(200)),  # what is wrong, where somebody says so
    Column("outcome", String(16), nullable=False),  # what the station had said
    Column("bundle_sha256", String(64), nullable=False),
    Column("probability", Float),  # the audit drew the part with it; null: chosen, so no rate may rest on it
    Column("replaces", ForeignKey("reviews.id"), unique=True),
    Index(None, "station", "epoch", "ordinal"),
)

FACTS = tuple(metadata.tables)
"""Every table: all of them only grow."""
