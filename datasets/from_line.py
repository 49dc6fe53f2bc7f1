# SPDX-License-Identifier: AGPL-3.0-or-later
"""Take the pictures that a station kept into a dataset home, each linked to its part: label what the line saw.

They come unlabelled: a verdict of the station is not a label, and a picture nobody looked at is not good. What
the station said (outcome, reason, bundle) stays with each picture as facts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.exc import DatabaseError

from datasets.adding import Added, add
from datasets.labels import LabelledSet, Picture
from datasets.line_parts import part_name
from datasets.store import DatasetHome
from inspection.records import schema as r
from inspection.records.database import open_reader
from inspection.storage.images import ImageStore, PictureAltered
from inspection.types import StationFault

OUTCOMES = ("pass", "reject", "not_inspected")


@dataclass(frozen=True, slots=True, kw_only=True)
class FromLine:
    """What was taken, and what could not be."""

    added: Added
    gone: tuple[str, ...]  # pictures that the station has not kept
    altered: tuple[str, ...]  # pictures whose bytes are not those that were recorded


def take_from_line(
    home: DatasetHome,
    data_dir: Path,
    rows: Sequence[Row[Any]] | None = None,
    *,
    who: str,
    why: str,
    lot: str | None = None,
) -> FromLine:
    """Add the kept pictures below a station's data folder; those that the home has already stay as they are.

    rows: which, from `kept_views`; all without them. lot: of all of them, where it is known.
    """
    rows = kept_views(data_dir) if rows is None else rows
    store = ImageStore(data_dir / "images")
    pictures, gone, altered = [], [], []
    for row in rows:
        name = _name(row)
        try:
            present = store.get(row.image_sha256, row.image_type)
        except PictureAltered:
            altered.append(name)
            continue
        if present is None:
            gone.append(name)
            continue
        pictures.append(_picture(name, row, store, lot))
    labelled = LabelledSet(classes=(), pictures=tuple(pictures), source=data_dir)
    added = add(home, labelled, who=who, why=why, unlabelled=True, kind="line")
    return FromLine(added=added, gone=tuple(gone), altered=tuple(altered))


def kept_views(
    data_dir: Path, *, outcomes: Collection[str] = OUTCOMES, newest: int | None = None
) -> list[Row[Any]]:
    """Views with a picture, oldest first: of parts of these outcomes, of so many parts at most, the newest.

    The station may be running: its records are only read. StationFault where there are none.
    """
    if unknown := set(outcomes) - set(OUTCOMES):
        raise StationFault(f"No part has the outcome {min(unknown)!r}: give some of {', '.join(OUTCOMES)}.")
    path = data_dir / "records.sqlite"
    if not path.is_file():
        raise StationFault(
            f"{path} is not there: give the data folder of a station (data_dir in its station.toml)."
        )
    parts = select(r.parts.c.id).where(r.parts.c.outcome.in_(list(outcomes))).order_by(r.parts.c.id.desc())
    query = (
        select(
            r.parts,
            r.runs.c.station,
            r.views.c.camera,
            r.views.c.serial,
            r.views.c.image_sha256,
            r.views.c.image_type,
            r.views.c.width,
            r.views.c.height,
        )
        .join(r.views, r.views.c.part_id == r.parts.c.id)
        .join(r.runs, r.runs.c.id == r.parts.c.run_id)
        .where(r.views.c.image_sha256.is_not(None), r.parts.c.id.in_(parts.limit(newest)))
        .order_by(r.parts.c.id, r.views.c.camera)
    )
    engine = open_reader(path)
    try:
        with engine.begin() as connection:
            return list(connection.execute(query).all())
    except DatabaseError as error:
        raise StationFault(f"{path} cannot be read as records of a station ({error.orig}).") from error
    finally:
        engine.dispose()


def _when(row: Row[Any]) -> datetime:
    return datetime.fromtimestamp(row.trigger_utc_ns / 1e9, UTC)


def _name(row: Row[Any]) -> str:
    """The part's name, and which view of it."""
    return f"line/{part_name(row.epoch, row.ordinal, row.trigger_utc_ns)}-{row.camera}.{row.image_type}"


def _picture(name: str, row: Row[Any], store: ImageStore, lot: str | None) -> Picture:
    facts = {
        "station": row.station,
        "epoch": row.epoch,
        "ordinal": row.ordinal,
        "camera": row.serial or row.camera,
        "when": _when(row).isoformat(),
        "outcome": row.outcome,
        "reason": row.reason,
        "bundle": row.bundle_sha256,
        "recipe": row.recipe_sha256,
    }
    return Picture(
        name=name,
        path=store.path(row.image_sha256, row.image_type),
        width_px=row.width,
        height_px=row.height,
        # a number read from the part itself outlives the run; else the part is known by its place in it
        part=row.part_id or f"{_when(row):%Y-%m-%d} {row.epoch}-{row.ordinal}",
        lot=lot,
        facts={key: str(value) for key, value in facts.items() if value not in (None, "")},
    )
