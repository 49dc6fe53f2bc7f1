# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parts that a station judged, as its records tell them: the names by which people speak of them, and reading.

    2026-11-23/7-000012   the day (UTC) of its trigger, the epoch, its place in it

Pictures taken from the line bear the same name (`datasets/from_line.py`). The records are only read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import DatabaseError

from inspection.records import schema as r
from inspection.records.database import open_reader
from inspection.types import StationFault

PASS, REJECT = "pass", "reject"
NS_PER_S = 1_000_000_000
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})/(\d+)-(\d+)")
_AT_ONCE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePart:
    """One part, and what the station said of it."""

    id: int  # in the records, which may be rebuilt: not for keeping
    epoch: int
    ordinal: int
    trigger_utc_ns: int
    outcome: str  # pass | reject | not_inspected
    bundle_sha256: str

    @property
    def name(self) -> str:
        """Unlike any other of the station: an epoch comes again in time, but not on the same day."""
        return part_name(self.epoch, self.ordinal, self.trigger_utc_ns)

    @property
    def key(self) -> tuple[int, int, int]:
        """What a review names it by."""
        return self.epoch, self.ordinal, self.trigger_utc_ns


def part_name(epoch: int, ordinal: int, trigger_utc_ns: int) -> str:
    """The name of a part."""
    return f"{datetime.fromtimestamp(trigger_utc_ns // NS_PER_S, UTC):%Y-%m-%d}/{epoch}-{ordinal:06d}"


@contextmanager
def reading_records(path: Path) -> Iterator[Connection]:
    """One consistent view of a station's records; StationFault when they cannot be read."""
    if not path.is_file():
        raise StationFault(f"{path} is not there: has the station of this configuration run yet?")
    engine = open_reader(path)
    try:
        with engine.begin() as connection:
            yield connection
    except DatabaseError as error:
        raise StationFault(f"{path} cannot be read as records of a station ({error.orig}).") from error
    finally:
        engine.dispose()


def judged_parts(
    connection: Connection, *, since_utc_ns: int = 0, bundles: Collection[str] | None = None
) -> Iterator[LinePart]:
    """Parts that were passed or rejected since then, in the order of the line."""
    p = r.parts.c
    query = _parts().where(p.outcome.in_([PASS, REJECT]), p.trigger_utc_ns >= since_utc_ns)
    if bundles is not None:
        query = query.where(p.bundle_sha256.in_(list(bundles)))
    found = connection.execution_options(yield_per=_AT_ONCE).execute(query.order_by(p.trigger_utc_ns, p.id))
    for row in found:
        yield _part(row)


def parts_with_id(connection: Connection, ids: Collection[int]) -> dict[int, LinePart]:
    """Parts by their number in the records, which lasts as long as the connection is read from."""
    found: dict[int, LinePart] = {}
    listed = list(dict.fromkeys(ids))
    for begin in range(0, len(listed), _AT_ONCE):
        some = listed[begin : begin + _AT_ONCE]
        for row in connection.execute(_parts().where(r.parts.c.id.in_(some))):
            found[row.id] = _part(row)
    return {number: found[number] for number in listed if number in found}


def find_part(connection: Connection, name: str) -> LinePart:
    """The part of that name; StationFault when the records have none."""
    p = r.parts.c
    match = _NAME.fullmatch(name.strip())
    day = _day(match.group(1)) if match else None
    if match is None or day is None:
        raise StationFault(f"{name!r} names no part: write it like 2026-11-23/7-000012, as `data next` does.")
    begin_ns, end_ns = (int(at.timestamp()) * 1_000_000_000 for at in (day, day + timedelta(days=1)))
    query = _parts().where(
        p.epoch == int(match.group(2)),
        p.ordinal == int(match.group(3)),
        p.trigger_utc_ns >= begin_ns,
        p.trigger_utc_ns < end_ns,
    )
    row = connection.execute(query.order_by(p.id.desc())).first()
    if row is None:
        raise StationFault(f"The station's records hold no part {name}.")
    return _part(row)


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _parts() -> Any:
    p = r.parts.c
    return select(p.id, p.epoch, p.ordinal, p.trigger_utc_ns, p.outcome, p.bundle_sha256)


def _part(row: Row[Any]) -> LinePart:
    return LinePart(**row._mapping)
