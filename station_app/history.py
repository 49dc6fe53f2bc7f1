# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading the records: parts newest first, paged by key; one part with all it rests on; counts of a run.

Read-only connections: the recorder is the one writer. The database may not exist yet, or be replaced while we
look (it is rebuilt from the journal); both become `RecordsUnavailable`, one sentence for people.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, exists, func, select
from sqlalchemy.exc import DatabaseError

from inspection.config import CameraTable
from inspection.records import schema as t
from inspection.records.database import open_reader
from station_app.facts import FindingFact, PartDetail, PartFact, PartsPage, ThumbFact, TimingFact, ViewFact

_NS_PER_MS = 1e6


class RecordsUnavailable(Exception):
    """The records cannot be read now; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What parts are asked for. Times are UTC nanoseconds, half-open: since <= t < until."""

    outcomes: tuple[str, ...] = ()
    reason: str | None = None
    defect_class: str | None = None
    epoch: int | None = None
    seq: int | None = None
    since_utc_ns: int | None = None
    until_utc_ns: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        p = t.parts.c
        out: list[ColumnElement[bool]] = []
        if self.outcomes:
            out.append(p.outcome.in_(self.outcomes))
        if self.reason:
            out.append(p.reason == self.reason)
        if self.epoch is not None:
            out.append(p.epoch == self.epoch)
        if self.seq is not None:
            out.append(p.seq == self.seq)
        if self.since_utc_ns is not None:
            out.append(p.trigger_utc_ns >= self.since_utc_ns)
        if self.until_utc_ns is not None:
            out.append(p.trigger_utc_ns < self.until_utc_ns)
        if self.defect_class:
            f = t.findings.c
            out.append(exists().where(f.part_id == p.id, f.defect_class == self.defect_class))
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """What the records hold of the newest run, by reason (NOT_INSPECTED only) and by rejecting class."""

    reasons: tuple[tuple[str, int], ...] = ()
    defects: tuple[tuple[str, int], ...] = ()


class History:
    """The records database and what is asked of it. Safe for several threads."""

    def __init__(self, path: Path, cameras: Sequence[CameraTable] = ()) -> None:
        self._path = path
        self._cameras = {c.serial: c for c in cameras}
        self._engine: Engine = open_reader(path)
        self._inode: int | None = None

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            raise RecordsUnavailable("No part has been recorded yet.") from None
        if inode != self._inode:  # rebuilt meanwhile: old connections hold the old file
            self._engine.dispose()
            self._inode = inode
        try:
            with self._engine.connect() as connection:
                yield connection
        except (DatabaseError, sqlite3.Error) as e:
            told = str(getattr(e, "orig", e))
            if "no such table" in told:
                raise RecordsUnavailable("No part has been recorded yet.") from e
            raise RecordsUnavailable(f"The records cannot be read now ({told}); the line goes on.") from e

    def page(self, search: Search, *, before: int | None = None, size: int = 50) -> PartsPage:
        """`size` parts older than the key `before`, newest first."""
        with self._reading() as connection:
            rows = connection.execute(_newest(search, before).limit(size + 1)).all()
            parts = [_part(row) for row in rows[:size]]
        return PartsPage(parts=parts, next_before=parts[-1].id if len(rows) > size else None)

    def newer(self, after: int, limit: int) -> list[PartFact]:
        """Parts with a key above `after`, oldest first, at most `limit` (the newest ones)."""
        with self._reading() as connection:
            statement = _newest(Search(), None).where(t.parts.c.id > after).limit(limit)
            return [_part(row) for row in reversed(connection.execute(statement).all())]

    def every(self, search: Search, *, chunk: int = 500) -> Iterator[list[PartFact]]:
        """All that match, newest first, in chunks; no transaction stays open between two chunks."""
        before: int | None = None
        while True:
            page = self.page(search, before=before, size=chunk)
            if page.parts:
                yield page.parts
            if page.next_before is None:
                return
            before = page.next_before

    def part(self, part_id: int) -> PartDetail | None:
        """One part with views and findings."""
        with self._reading() as connection:
            statement = (
                _newest(Search(), None)
                .where(t.parts.c.id == part_id)
                .join(t.runs, t.runs.c.id == t.parts.c.run_id)
                .add_columns(*_DETAIL_COLUMNS)
            )
            row = connection.execute(statement).first()
            if row is None:
                return None
            views = connection.execute(_views_of([part_id])).all()
            findings = connection.execute(_findings_of([part_id])).all()
            older = connection.execute(select(func.max(t.parts.c.id)).where(t.parts.c.id < part_id)).scalar()
            newer = connection.execute(select(func.min(t.parts.c.id)).where(t.parts.c.id > part_id)).scalar()
        return PartDetail(
            **_part(row).model_dump(),
            encoder=row.encoder,
            recipe_sha256=row.recipe_sha256,
            bundle_sha256=row.bundle_sha256,
            station=row.station,
            run_started_utc_ns=row.started_utc_ns,
            timing=_timing(row),
            views=[self._view(v) for v in views],
            findings=[_finding(f) for f in findings],
            older_id=older,
            newer_id=newer,
        )

    def thumbs(self, parts: Sequence[PartFact]) -> list[ThumbFact]:
        """Each part with its most telling picture: the view with the surest finding, else the first kept."""
        ids = [p.id for p in parts]
        views: dict[int, list[ViewFact]] = {i: [] for i in ids}
        findings: dict[int, list[FindingFact]] = {i: [] for i in ids}
        with self._reading() as connection:
            for row in connection.execute(_views_of(ids).where(t.views.c.image_sha256.is_not(None))):
                views[row.part_id].append(self._view(row))
            for row in connection.execute(_findings_of(ids)):
                findings[row.part_id].append(_finding(row))
        return [_thumb(p, views[p.id], findings[p.id]) for p in parts]

    def _view(self, row: Row[tuple[object, ...]]) -> ViewFact:
        m = row._mapping
        camera = self._cameras.get(m["serial"])
        known = camera is not None and (camera.width_px, camera.height_px) == (m["width"], m["height"])
        return ViewFact(
            camera=m["camera"],
            serial=m["serial"],
            frame_id=m["frame_id"],
            encoder=m["encoder"],
            image=m["image_sha256"],
            width_px=m["width"],
            height_px=m["height"],
            seen_px=camera.view if camera is not None and known else None,
        )

    def image_type(self, digest: str) -> str | None:
        """`jpg` or `png` of a picture that belongs to a part, else None."""
        with self._reading() as connection:
            return connection.execute(
                select(t.views.c.image_type).where(t.views.c.image_sha256 == digest).limit(1)
            ).scalar()

    def defect_classes(self) -> list[str]:
        """Every class that was ever found, for the search form."""
        with self._reading() as connection:
            found = connection.execute(select(t.findings.c.defect_class).distinct()).scalars()
            return sorted(found)

    def run_counts(self) -> RunCounts:
        """Counts of the newest run."""
        p = t.parts.c
        with self._reading() as connection:
            run = connection.execute(select(func.max(t.runs.c.id))).scalar()
            counted = connection.execute(
                select(p.outcome, p.reason, p.rejected_by, func.count())
                .where(p.run_id == run, p.outcome != "pass")
                .group_by(p.outcome, p.reason, p.rejected_by)
            ).all()
        reasons: Counter[str] = Counter()
        defects: Counter[str] = Counter()
        for outcome, reason, rejected_by, count in counted:
            if outcome == "not_inspected":
                reasons[reason] += count
            else:
                defects.update(dict.fromkeys(json.loads(rejected_by), count))
        return RunCounts(reasons=_by_count(reasons), defects=_by_count(defects))


def _thumb(part: PartFact, views: list[ViewFact], findings: list[FindingFact]) -> ThumbFact:
    deciding = [f for f in findings if f.defect_class in part.rejected_by]
    findings = deciding or findings
    order = [f.camera for f in findings]
    view = min(views, key=lambda v: order.index(v.camera) if v.camera in order else len(order), default=None)
    shown = [f for f in findings if view is not None and f.camera == view.camera]
    return ThumbFact(part=part, view=view, findings=shown)


def _by_count(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


_PART_COLUMNS = (
    t.parts,
    select(t.views.c.image_sha256)
    .where(t.views.c.part_id == t.parts.c.id, t.views.c.image_sha256.is_not(None))
    .order_by(t.views.c.camera)
    .limit(1)
    .scalar_subquery()
    .label("image"),
    select(func.count()).where(t.findings.c.part_id == t.parts.c.id).scalar_subquery().label("finding_count"),
)
_DETAIL_COLUMNS = (t.runs.c.station, t.runs.c.started_utc_ns)


def _views_of(part_ids: Sequence[int]) -> Select[tuple[object, ...]]:
    """Views in the order of their cameras."""
    return select(t.views).where(t.views.c.part_id.in_(part_ids)).order_by(t.views.c.camera)


def _findings_of(part_ids: Sequence[int]) -> Select[tuple[object, ...]]:
    """Findings, the surest first."""
    return select(t.findings).where(t.findings.c.part_id.in_(part_ids)).order_by(t.findings.c.score.desc())


def _newest(search: Search, before: int | None) -> Select[tuple[object, ...]]:
    statement = select(*_PART_COLUMNS).where(*search.conditions()).order_by(t.parts.c.id.desc())
    return statement if before is None else statement.where(t.parts.c.id < before)


def _part(row: Row[tuple[object, ...]]) -> PartFact:
    m = row._mapping
    latency_ns = None if m["published_ns"] is None else m["published_ns"] - m["trigger_ns"]
    return PartFact(
        id=m["id"],
        run_id=m["run_id"],
        epoch=m["epoch"],
        ordinal=m["ordinal"],
        seq=m["seq"],
        part_id=m["part_id"],
        triggered_utc_ns=m["trigger_utc_ns"],
        outcome=m["outcome"],
        reason=m["reason"],
        rejected_by=json.loads(m["rejected_by"]),
        latency_ms=None if latency_ns is None else round(latency_ns / _NS_PER_MS, 2),
        deadline_ms=round((m["deadline_ns"] - m["trigger_ns"]) / _NS_PER_MS, 2),
        disposition=m["disposition"],
        image=m["image"],
        finding_count=m["finding_count"],
    )


def _timing(row: Row[tuple[object, ...]]) -> TimingFact:
    m = row._mapping

    def after_ms(name: str) -> float | None:
        at_ns = m[name]
        return None if not at_ns else round((at_ns - m["trigger_ns"]) / _NS_PER_MS, 2)

    return TimingFact(
        ready_ms=after_ms("ready_ns"),
        judged_ms=after_ms("judged_ns"),
        closed_ms=round((m["closed_ns"] - m["trigger_ns"]) / _NS_PER_MS, 2),
        published_ms=after_ms("published_ns"),
        deadline_ms=round((m["deadline_ns"] - m["trigger_ns"]) / _NS_PER_MS, 2),
    )


def _finding(row: Row[tuple[object, ...]]) -> FindingFact:
    m = row._mapping
    names = ("camera", "defect_class", "score", "x0", "y0", "x1", "y1")
    return FindingFact(**{name: m[name] for name in names})
