# SPDX-License-Identifier: AGPL-3.0-or-later
"""What we believe about each picture, now or after any act of the past: a query over facts, nothing is stored.

A record counts until another names it in `replaces`; a record of shape `gone` takes away and says nothing
itself. A picture with any record at all has been looked at; one without is unlabelled, which is not good.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from datasets import schema as t
from datasets.labels import Label, LabelledSet, Picture
from datasets.shapes import SHAPES, label_from_plain
from datasets.store import DatasetHome
from inspection.types import StationFault

_FEW = 500  # names that a query may list


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRecord:
    """One record about one picture: what, by whom, when, why, and which record it replaced."""

    id: int
    act_id: int
    shape: str  # box | polygons | mask | whole | nothing | gone
    class_name: str | None
    body: str
    replaces: int | None
    who: str
    why: str
    utc_ns: int

    @property
    def content(self) -> tuple[str, str | None, str]:
        """What it says, whoever said it."""
        return self.shape, self.class_name, self.body

    @property
    def label(self) -> Label | None:
        """The defect it marks; None when it says something about the whole picture."""
        return label_from_plain(json.loads(self.body)) if self.shape in SHAPES else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """A picture and the records that count."""

    id: int
    name: str
    sha256: str
    kind: str
    width_px: int
    height_px: int
    part: str | None
    lot: str | None
    sequence: str | None
    side: str | None  # where its source put it
    template: tuple[str, str] | None  # sha256, kind
    facts: dict[str, str]
    golden: bool
    labelled: bool
    records: tuple[LabelRecord, ...]

    @property
    def whole(self) -> LabelRecord | None:
        """The record that judges the whole picture."""
        return next((record for record in self.records if record.shape == "whole"), None)

    def picture(self, home: DatasetHome) -> Picture:
        """As the picture that readers and trainers know."""
        template = None if self.template is None else home.images.path(*self.template)
        return Picture(
            name=self.name,
            path=home.images.path(self.sha256, self.kind),
            width_px=self.width_px,
            height_px=self.height_px,
            labels=tuple(label for record in self.records if (label := record.label) is not None),
            image_class=None if self.whole is None else self.whole.class_name,
            part=self.part,
            lot=self.lot,
            sequence=self.sequence,
            template=template,
            facts=dict(self.facts),
        )


def read(home: DatasetHome, *, as_of: int | datetime | None = None, unlabelled: bool = True) -> LabelledSet:
    """What the home holds, now or as of a moment, as one set. `unlabelled`: with pictures nobody looked at."""
    with home.reading() as connection:
        act = act_at(connection, as_of)
        pictures = believed(connection, as_of=act)
        classes = known_classes(connection, as_of=act)
    return LabelledSet(
        classes=classes,
        pictures=tuple(one.picture(home) for one in pictures if unlabelled or one.labelled),
        source=home.folder,
    )


def act_at(connection: Connection, as_of: int | datetime | None) -> int:
    """The number of the last act up to a moment; 0 before the first. Numbers of acts pass through."""
    if isinstance(as_of, int):
        return as_of
    query = select(func.coalesce(func.max(t.acts.c.id), 0))
    if as_of is not None:
        if as_of.tzinfo is None:
            raise StationFault(f"{as_of} names no time zone: give the moment in UTC.")
        utc_ns = int(as_of.astimezone(UTC).timestamp() * 1_000_000) * 1000 + 999
        query = query.where(t.acts.c.utc_ns <= utc_ns)
    return int(connection.execute(query).scalar_one())


def known_classes(connection: Connection, *, as_of: int | None = None) -> tuple[str, ...]:
    """Names of the classes in the order in which they came."""
    query = _until(select(t.classes.c.name), t.classes.c.act_id, as_of)
    return tuple(connection.execute(query.order_by(t.classes.c.id)).scalars())


def believed(
    connection: Connection, *, as_of: int | None = None, names: Collection[str] | None = None
) -> list[Believed]:
    """Every picture with what counts about it after act `as_of` (default: now), in the order they came.

    names: only these; those that stand for nothing are left out.
    """
    few = names is not None and len(names) <= _FEW
    query = _until(select(t.pictures), t.pictures.c.act_id, as_of).order_by(t.pictures.c.id)
    if few:
        query = query.where(t.pictures.c.name.in_(names or []))
    pictures = connection.execute(query).all()
    if names is not None and not few:
        wanted = set(names)
        pictures = [row for row in pictures if row.name in wanted]
    ids = [row.id for row in pictures] if few else None
    links = {row.picture_id: row for row in _about(connection, select(t.links), t.links, as_of, ids)}
    golden = {row.picture_id for row in _about(connection, select(t.golden), t.golden, as_of, ids)}
    records = _records(connection, as_of, ids)
    return [_believed(row, links[row.id], records.get(row.id, []), row.id in golden) for row in pictures]


def history(home: DatasetHome, name: str) -> list[LabelRecord]:
    """Every record that was ever made about a picture, oldest first: who changed what, when and why."""
    with home.reading() as connection:
        one = one_picture(connection, name)
        return _records(connection, None, [one.id]).get(one.id, [])


def all_records(connection: Connection, picture_ids: Collection[int]) -> dict[int, list[LabelRecord]]:
    """Every record about these pictures, oldest first, also those that count no more."""
    few = list(picture_ids) if len(picture_ids) <= _FEW else None
    return _records(connection, None, few)


def one_picture(connection: Connection, name: str) -> Believed:
    """What counts about one picture; StationFault when the home has none of that name."""
    found = believed(connection, names=[name])
    if not found:
        raise StationFault(f"The dataset has no picture named {name!r}.")
    return found[0]


def counting(records: Iterable[LabelRecord]) -> tuple[LabelRecord, ...]:
    """Those of a picture's records that no other replaces, without the ones that only take away."""
    records = list(records)
    replaced = {record.replaces for record in records}
    return tuple(r for r in records if r.id not in replaced and r.shape != "gone")


def _until(query: Select[Any], column: Any, as_of: int | None) -> Select[Any]:
    return query if as_of is None else query.where(column <= as_of)


def _about(
    connection: Connection, query: Select[Any], table: Any, as_of: int | None, ids: list[int] | None
) -> list[Row[Any]]:
    query = _until(query, table.c.act_id, as_of)
    if ids is not None:
        query = query.where(table.c.picture_id.in_(ids))
    return list(connection.execute(query.order_by(table.c.id)).all())


def _records(connection: Connection, as_of: int | None, ids: list[int] | None) -> dict[int, list[LabelRecord]]:
    query = select(t.labels, t.acts.c.who, t.acts.c.why, t.acts.c.utc_ns).join(
        t.acts, t.acts.c.id == t.labels.c.act_id
    )
    found: dict[int, list[LabelRecord]] = {}
    for row in _about(connection, query, t.labels, as_of, ids):
        found.setdefault(row.picture_id, []).append(
            LabelRecord(
                id=row.id,
                act_id=row.act_id,
                shape=row.shape,
                class_name=row.class_name,
                body=row.body,
                replaces=row.replaces,
                who=row.who,
                why=row.why,
                utc_ns=row.utc_ns,
            )
        )
    return found


def _believed(row: Row[Any], link: Row[Any], records: list[LabelRecord], golden: bool) -> Believed:
    template = None if link.template_sha256 is None else (link.template_sha256, link.template_kind)
    return Believed(
        id=row.id,
        name=row.name,
        sha256=row.sha256,
        kind=row.kind,
        width_px=row.width_px,
        height_px=row.height_px,
        part=link.part,
        lot=link.lot,
        sequence=link.sequence,
        side=link.side,
        template=template,
        facts=json.loads(link.facts),
        golden=golden,
        labelled=bool(records),
        records=counting(records),
    )
