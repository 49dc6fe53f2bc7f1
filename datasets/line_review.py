# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people say of parts that the line has judged: good, defective, or nobody can tell. Facts that only grow.

A review is about the part, with or without a picture: who holds it in hand may say so too. It stores what the
station had said, by which bundle, and with which probability the audit had drawn the part; chosen parts have
none, so that no rate ever rests on them. A second word about a part names the one that it replaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import Connection, select

from datasets import schema as t
from datasets.beliefs import believed
from datasets.line_audit import drawn_with, plans_of
from datasets.line_parts import LinePart, part_name
from datasets.revising import whole_row
from datasets.store import Act, DatasetHome
from inspection.types import StationFault


class Said(str, Enum):
    """What a person says of a part."""

    GOOD = "good"
    DEFECTIVE = "defective"
    UNCLEAR = "unclear"  # looked at, and nobody can tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody wants to say of a part."""

    part: LinePart
    said: Said
    class_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One review on record."""

    id: int
    station: str
    epoch: int
    ordinal: int
    trigger_utc_ns: int
    said: Said
    class_name: str | None
    outcome: str
    bundle_sha256: str
    probability: float | None
    replaces: int | None
    who: str
    why: str
    utc_ns: int

    @property
    def key(self) -> tuple[int, int, int]:
        """The part's, as `LinePart.key`."""
        return self.epoch, self.ordinal, self.trigger_utc_ns

    @property
    def part(self) -> str:
        """The part's name."""
        return part_name(self.epoch, self.ordinal, self.trigger_utc_ns)


Reviews = dict[tuple[int, int, int], Review]
"""By the part; only those that count."""


def decide(
    home: DatasetHome,
    station: str,
    decisions: Sequence[Decision],
    *,
    who: str,
    why: str,
    replace: bool = False,
) -> int:
    """Put decisions on record, all of them or none; how many are new.

    replace: a part that somebody has judged otherwise gets the new judgement; else that is refused. Pictures of
    a good part that nobody has labelled are good from then on.
    """
    plans = plans_of(home, station)
    with home.acting("review", who, why) as act:
        standing = _standing(act.connection, station)
        rows = []
        for one in decisions:
            before = standing.get(one.part.key)
            if before is not None and (before.said, before.class_name) == (one.said, one.class_name):
                continue
            if before is not None and not replace:
                raise StationFault(
                    f"{before.who} said {before.said.value} of {before.part} already: give --replace to"
                    " correct that; nothing was saved."
                )
            rows.append(_row(station, one, drawn_with(plans, one.part), before))
        if len({(row["epoch"], row["ordinal"], row["trigger_utc_ns"]) for row in rows}) != len(rows):
            raise StationFault("A part is judged twice in one go: keep one of the two; nothing was saved.")
        act.insert(t.reviews, rows)
        _pictures_are_good(act, [one.part for one in decisions if one.said is Said.GOOD])
    return len(rows)


def reviews_of(home: DatasetHome, station: str) -> Reviews:
    """What counts of each reviewed part of a station."""
    with home.reading() as connection:
        return _standing(connection, station)


def every_review(home: DatasetHome, station: str) -> list[Review]:
    """Every review ever made, oldest first, also those that count no more."""
    with home.reading() as connection:
        return _all(connection, station)


def standing_of(every: Iterable[Review]) -> Reviews:
    """What counts of reviews in the order in which they were made: the last word about each part."""
    return {one.key: one for one in every}


def _standing(connection: Connection, station: str) -> Reviews:
    return standing_of(_all(connection, station))


def _all(connection: Connection, station: str) -> list[Review]:
    r = t.reviews.c
    names = ("id", "station", "epoch", "ordinal", "trigger_utc_ns", "said", "class_name", "outcome")
    query = (
        select(
            *(r[name] for name in names),
            *(r.bundle_sha256, r.probability, r.replaces),
            *(t.acts.c.who, t.acts.c.why, t.acts.c.utc_ns),
        )
        .join(t.acts, t.acts.c.id == r.act_id)
        .where(r.station == station)
        .order_by(r.id)
    )
    return [
        Review(**{**row._mapping, "said": Said(row.said)})  # type: ignore[arg-type]
        for row in connection.execute(query)
    ]


def _row(
    station: str, one: Decision, probability: float | None, before: Review | None
) -> dict[str, str | int | float | None]:
    part = one.part
    return {
        "station": station,
        "epoch": part.epoch,
        "ordinal": part.ordinal,
        "trigger_utc_ns": part.trigger_utc_ns,
        "said": one.said.value,
        "class_name": one.class_name,
        "outcome": part.outcome,
        "bundle_sha256": part.bundle_sha256,
        "probability": probability,
        "replaces": None if before is None else before.id,
    }


def _pictures_are_good(act: Act, parts: Sequence[LinePart]) -> None:
    """Of a good part every picture is good; of a defective one somebody must still say where."""
    p = t.pictures.c
    for part in parts:
        names = list(act.connection.execute(select(p.name).where(p.name.like(f"line/{part.name}-%"))).scalars())
        new = [one for one in believed(act.connection, names=names) if not one.labelled]
        act.insert(t.labels, [whole_row(one.id, "good") for one in new])
