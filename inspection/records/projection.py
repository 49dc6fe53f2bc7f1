# SPDX-License-Identifier: AGPL-3.0-or-later
"""Journal entries -> rows, in one transaction a batch, together with the cursor that says how far it got.

Because the cursor moves in the same transaction, a killed recorder neither skips nor doubles a record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select, update

from inspection.journal_format import START, Position
from inspection.journal_reader import Entry
from inspection.journal_records import (
    BundleInUse,
    DispositionRecord,
    LineEvent,
    PartIdentified,
    Published,
    Started,
    Stopped,
    VerdictRecord,
)
from inspection.messages import ViewSeen
from inspection.records import schema as t
from inspection.types import Finding, Outcome, Reason

OUTCOME_NAMES = {
    Outcome.PASS: "pass",
    Outcome.REJECT: "reject",
    Outcome.NOT_INSPECTED: "not_inspected",
}


# Epochs are 16 bits and come again after enough starts: the picture of another year's part must not be drawn
# under this one's findings. Both times are the wall clock's, read within a second or so.
_TOGETHER_NS = 3600 * 1_000_000_000


class Projection:
    """Applies entries to the records database. Owned by the recorder; not for several threads."""

    def __init__(self, engine: Engine, serials: Sequence[str]) -> None:
        self._engine = engine
        self._serials = list(serials)

    def position(self) -> Position:
        """Where the journal is to be followed from."""
        with self._engine.begin() as connection:
            row = connection.execute(select(t.cursor.c.segment, t.cursor.c.offset)).first()
        return Position(segment=row.segment, offset=row.offset) if row else START

    def is_on_disk(self) -> bool:
        """Whether every committed row has reached the database file itself, and not only its unsynced log."""
        raw = self._engine.raw_connection()
        try:
            cursor = raw.cursor()
            busy, log, done = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            cursor.close()
        finally:
            raw.close()
        return not busy and log == done

    def note(self, kind: str, text: str, utc_ns: int) -> None:
        """A sentence of the recorder's own among the events: it stands in no journal."""
        with self._engine.begin() as connection:
            connection.execute(insert(t.events).values(utc_ns=utc_ns, epoch=0, kind=kind, text=text))

    def apply(self, entries: Sequence[Entry]) -> None:
        """All of them, and the cursor, or none."""
        if not entries:
            return
        with self._engine.begin() as connection:
            for entry in entries:
                self._apply_one(connection, entry)
            at = entries[-1].position
            connection.execute(delete(t.cursor))
            connection.execute(insert(t.cursor).values(id=1, segment=at.segment, offset=at.offset))

    def _apply_one(self, connection: Connection, entry: Entry) -> None:
        record = entry.record
        match record:
            case Started():
                connection.execute(
                    insert(t.runs).values(
                        journal_index=entry.index,
                        epoch=record.epoch,
                        started_utc_ns=record.utc_ns,
                        station=record.station,
                        recipe_sha256=record.recipe_sha256,
                        bundle_sha256=record.bundle_sha256,
                    )
                )
            case BundleInUse():
                self._update_run(
                    connection,
                    record.epoch,
                    recipe_sha256=record.recipe_sha256,
                    bundle_sha256=record.bundle_sha256,
                )
            case VerdictRecord():
                self._verdict(connection, entry.index, record)
            case Published():
                self._update_part(connection, record.epoch, record.ordinal, published_ns=record.published_ns)
            case DispositionRecord():
                self._update_by_seq(connection, record.epoch, record.seq, disposition=int(record.disposition))
            case PartIdentified():
                self._update_by_seq(connection, record.epoch, record.seq, part_id=record.part_id)
            case LineEvent():
                connection.execute(
                    insert(t.events).values(
                        utc_ns=record.utc_ns, epoch=record.epoch, kind=record.kind, text=record.text
                    )
                )
            case Stopped():
                self._update_run(connection, record.epoch, stopped_utc_ns=record.utc_ns)
            case _:
                pass  # Continued, Armed, PartOpened: nothing the tables show

    def _update_run(self, connection: Connection, epoch: int, **values: object) -> None:
        run_id = self._run_of(connection, epoch)
        connection.execute(update(t.runs).where(t.runs.c.id == run_id).values(**values))

    def _run_of(self, connection: Connection, epoch: int) -> int | None:
        """Newest run of that epoch: recovery closes parts of the run before the one that just started."""
        return connection.execute(
            select(t.runs.c.id).where(t.runs.c.epoch == epoch).order_by(t.runs.c.id.desc()).limit(1)
        ).scalar()

    def _run_without_start(self, connection: Connection, index: int, record: VerdictRecord) -> int:
        """A run whose Started record went with an old segment: what its first part says of it must do."""
        return _insert_id(
            connection,
            insert(t.runs).values(
                journal_index=index,
                epoch=record.epoch,
                started_utc_ns=record.trigger_utc_ns,
                station="",
                recipe_sha256=record.recipe_sha256,
                bundle_sha256=record.bundle_sha256,
            ),
        )

    def _verdict(self, connection: Connection, index: int, record: VerdictRecord) -> None:
        run_id = self._run_of(connection, record.epoch)
        if run_id is None:
            run_id = self._run_without_start(connection, index, record)
        earlier = connection.execute(
            select(t.parts.c.id).where(t.parts.c.run_id == run_id, t.parts.c.ordinal == record.ordinal)
        ).scalar()
        values = _part_values(record)
        if earlier is not None:  # superseded before it was published: the last record counts
            connection.execute(update(t.parts).where(t.parts.c.id == earlier).values(**values))
            if not record.views and not record.findings:
                return  # the closing record of a recovery repeats no pictures
            connection.execute(delete(t.findings).where(t.findings.c.part_id == earlier))
            connection.execute(delete(t.views).where(t.views.c.part_id == earlier))
            part_id = earlier
        else:
            part_id = _insert_id(connection, insert(t.parts).values(run_id=run_id, **values))
        self._insert_seen(connection, part_id, record)

    def _insert_seen(self, connection: Connection, part_id: int, record: VerdictRecord) -> None:
        if record.findings:
            connection.execute(insert(t.findings), [_finding_values(part_id, f) for f in record.findings])
        if not record.views:
            return
        kept = connection.execute(
            select(t.images).where(
                t.images.c.epoch == record.epoch,
                t.images.c.ordinal == record.ordinal,
                _stored_with(record.trigger_utc_ns),
            )
        ).all()
        pictures = {row.camera: row for row in kept}
        for view in record.views:
            values = self._view_values(part_id, view)
            if (row := pictures.get(view.camera)) is not None:
                values |= _picture_values(row.sha256, row.type, row.width, row.height)
            connection.execute(insert(t.views).values(**values))

    def _view_values(self, part_id: int, view: ViewSeen) -> dict[str, object]:
        return {
            "part_id": part_id,
            "camera": view.camera,
            "serial": self._serials[view.camera] if view.camera < len(self._serials) else "",
            "frame_id": view.frame_id,
            "encoder": view.encoder_pulses,
            "exposure_ns": view.exposure_ns,
            "strip": view.strip or None,
        }

    def _update_part(self, connection: Connection, epoch: int, ordinal: int, **values: object) -> None:
        run_id = self._run_of(connection, epoch)
        connection.execute(
            update(t.parts).where(t.parts.c.run_id == run_id, t.parts.c.ordinal == ordinal).values(**values)
        )

    def _update_by_seq(self, connection: Connection, epoch: int, seq: int, **values: object) -> None:
        """The PLC speaks in sequence numbers, which wrap: its newest part of that run is meant."""
        run_id = self._run_of(connection, epoch)
        part_id = connection.execute(
            select(t.parts.c.id)
            .where(t.parts.c.run_id == run_id, t.parts.c.seq == seq)
            .order_by(t.parts.c.id.desc())
            .limit(1)
        ).scalar()
        if part_id is not None:
            connection.execute(update(t.parts).where(t.parts.c.id == part_id).values(**values))

    def pictures(self, rows: Iterable[dict[str, Any]]) -> None:
        """Stored pictures; a view row that already stands gets its digest, a later one finds it."""
        with self._engine.begin() as connection:
            for row in rows:
                connection.execute(insert(t.images).values(**row))
                part = connection.execute(
                    select(t.parts.c.id, t.parts.c.trigger_utc_ns)
                    .where(t.parts.c.epoch == row["epoch"], t.parts.c.ordinal == row["ordinal"])
                    .order_by(t.parts.c.id.desc())
                    .limit(1)
                ).first()
                if part is not None and abs(row["stored_utc_ns"] - part.trigger_utc_ns) < _TOGETHER_NS:
                    connection.execute(
                        update(t.views)
                        .where(t.views.c.part_id == part.id, t.views.c.camera == row["camera"])
                        .values(**_picture_values(row["sha256"], row["type"], row["width"], row["height"]))
                    )

    def rebuild(self) -> None:
        """Forget everything that follows from the journal; the next `apply` starts at its beginning."""
        with self._engine.begin() as connection:
            for table in (t.findings, t.views, t.parts, t.runs, t.events, t.cursor):
                connection.execute(delete(table))


def _stored_with(trigger_utc_ns: int) -> ColumnElement[bool]:
    return t.images.c.stored_utc_ns.between(trigger_utc_ns - _TOGETHER_NS, trigger_utc_ns + _TOGETHER_NS)


def _insert_id(connection: Connection, statement: object) -> int:
    result = connection.execute(statement)  # type: ignore[call-overload]
    return int(result.inserted_primary_key[0])


def _part_values(record: VerdictRecord) -> dict[str, object]:
    first = record.reasons[0] if record.reasons else Reason.NONE
    return {
        "epoch": record.epoch,
        "ordinal": record.ordinal,
        "seq": record.seq,
        "encoder": record.encoder,
        "trigger_utc_ns": record.trigger_utc_ns,
        "outcome": OUTCOME_NAMES[record.outcome],
        "reason": first.value,
        "rejected_by": json.dumps(list(record.rejected_by)),
        "trigger_ns": record.trigger_ns,
        "deadline_ns": record.deadline_ns,
        "ready_ns": record.ready_ns,
        "judged_ns": record.judged_ns,
        "closed_ns": record.closed_ns,
        "recipe_sha256": record.recipe_sha256,
        "bundle_sha256": record.bundle_sha256,
    }


def _finding_values(part_id: int, finding: Finding) -> dict[str, object]:
    return {
        "part_id": part_id,
        "camera": finding.camera,
        "defect_class": finding.defect_class,
        "score": finding.score,
        "x0": finding.box.x0_px,
        "y0": finding.box.y0_px,
        "x1": finding.box.x1_px,
        "y1": finding.box.y1_px,
    }


def _picture_values(digest: object, kind: object, width: object, height: object) -> dict[str, object]:
    return {"image_sha256": digest, "image_type": kind, "width": width, "height": height}
