# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recorder: follows the journal into the records database and keeps the pictures; never in a verdict's way.

Everything here may be late, locked, full or dead without the line noticing: the journal goes on, and the
database is brought up to date, or rebuilt, from it. Pictures are shed first when the disk fills or the work
piles up; each one shed is counted.
"""

from __future__ import annotations

import selectors
import shutil
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable

from sqlalchemy.exc import DatabaseError, OperationalError

from cameras.ring import Ring
from inspection.archive import Archive
from inspection.board import ProcessState, RecorderCounter
from inspection.child import ChildContext, run_child
from inspection.journal_format import START
from inspection.journal_reader import Follower
from inspection.journal_records import JournalCorrupt
from inspection.journal_retention import read_anchor, removable, retire
from inspection.messages import ImageHandOver, ShadowJudged, SlotsLeft
from inspection.records.database import open_writer
from inspection.records.disagreements import keep
from inspection.records.projection import Projection
from inspection.records.retention import keep_within
from inspection.storage.images import ImageStore

_POLL_S = 0.05
_BATCH = 200
_RETRY_S = 1.0
_DISK_LOOK_S = 2.0
_JOURNAL_LOOK_S = 10.0
_SHADOW_WAITING = 2000
_DAY_NS = 86_400 * 1_000_000_000


class Recorder:
    """One turn at a time: drain pictures, follow the journal, look at the disk, beat."""

    def __init__(self, context: ChildContext) -> None:
        config = context.config
        self._context = context
        self._row = context.row
        self._link = context.links["inspector"]
        self._rings = [Ring.attach(config.ring_path(c.serial)) for c in config.camera]
        self._store = ImageStore(config.images_dir)
        self._store.sweep_leftovers()
        self._archive = Archive(config, self._rings, self._store)
        self._projection, self._follower = self._open_projection()
        self._shadowed: deque[ShadowJudged] = deque(maxlen=_SHADOW_WAITING)
        self._retry_at_s = 0.0
        self._disk_at_s = 0.0
        self._journal_at_s = 0.0

    def _open_projection(self) -> tuple[Projection, Follower]:
        config = self._context.config
        self._engine = open_writer(config.records_db)
        projection = Projection(self._engine, [c.serial for c in config.camera])
        self._applied = position = projection.position()
        if (anchor := read_anchor(config.journal_dir)) and position.segment < anchor.first_segment:
            text = (
                f"records {'before' if position == START else 'between what the database had and'} number"
                f" {anchor.first_index} are not in this database: their journal segments were removed before it"
                " was made; a copy of the earlier database has them"
            )
            projection.note("retention", text, time.time_ns())
            sys.stderr.write(f"recorder: {text}\n")
        return projection, Follower(config.journal_dir, position)

    def turn(self) -> None:
        """One pass over all there is to do; bounded, so that the heartbeat keeps its pace."""
        self._row.beat()
        self._take_pictures()
        self._take_shadow()
        self._use_database(self._follow)
        self._use_database(self._register_pictures)
        self._use_database(self._keep_shadow)
        now_s = time.monotonic()
        if now_s >= self._disk_at_s:
            self._disk_at_s = now_s + _DISK_LOOK_S
            self._look_at_disk()
            self._use_database(self._retire_pictures)
        if now_s >= self._journal_at_s:
            self._journal_at_s = now_s + _JOURNAL_LOOK_S
            self._use_database(self._retire_segments)

    def _use_database(self, step: Callable[[], None]) -> None:
        """One step, unless the database was locked a moment ago: each wait for a lock is ten silent seconds,
        and three in a row would be taken for a hung process.
        """
        if time.monotonic() >= self._retry_at_s:
            self._row.beat()
            self._guarded(step)

    def _take_pictures(self) -> None:
        for _ in range(64):
            message = self._link.receive()
            if message is None:
                break
            if isinstance(message, ImageHandOver):
                self._archive.take(message)
            elif isinstance(message, SlotsLeft):
                self._archive.take_back(message)
        self._row.set(RecorderCounter.IMAGES_STORED, self._archive.stored)
        self._row.set(RecorderCounter.IMAGES_SHED, self._archive.shed)
        self._row.set(RecorderCounter.PREVIEWS, self._archive.previews)

    def _take_shadow(self) -> None:
        """What the shadow says; where it says more than the database takes, the oldest goes."""
        link = self._context.links.get("shadow")
        for _ in range(64 if link is not None else 0):
            message = link.receive() if link is not None else None
            if message is None:
                break
            if isinstance(message, ShadowJudged):
                self._shadowed.append(message)

    def _keep_shadow(self) -> None:
        if answers := list(self._shadowed):
            keep(self._engine, answers)
            self._shadowed.clear()

    def _follow(self) -> None:
        entries = self._follower.poll(_BATCH)
        self._projection.apply(entries)
        if entries:
            self._applied = entries[-1].position
        self._row.add(RecorderCounter.RECORDS, len(entries))
        self._row.set(RecorderCounter.LAG_BYTES, self._follower.lag_bytes())

    def _register_pictures(self) -> None:
        if rows := self._archive.rows():
            self._projection.pictures(rows)
            self._archive.registered(len(rows))

    def _retire_pictures(self) -> None:
        keep_within(self._engine, self._store, self._context.config.records.keep_mb * 2**20)

    def _retire_segments(self) -> None:
        """Old journal segments, of which the database holds everything, and holds it on disk."""
        config = self._context.config
        records, folder = config.records, config.journal_dir
        now_ns = time.time_ns()
        going = removable(
            folder,
            self._projection.position(),
            keep_bytes=records.journal_keep_mb * 2**20,
            keep_ns=int(records.journal_keep_days * _DAY_NS),
            now_utc_ns=now_ns,
        )
        if not going or not self._projection.is_on_disk():
            return
        try:
            retire(folder, going, now_utc_ns=now_ns)
        except OSError as e:  # a full or failing disk: the anchor goes first, so nothing is lost; tried again
            sys.stderr.write(f"recorder: old journal segments cannot be removed ({e})\n")
            return
        self._projection.note("retention", f"journal segments {going[0]} to {going[-1]} were removed", now_ns)

    def _guarded(self, step: Callable[[], None]) -> None:
        """A database that is locked is tried again; one that is corrupt is set aside and rebuilt."""
        try:
            step()
        except OperationalError as e:
            if isinstance(e.orig, sqlite3.OperationalError):
                self._row.add(RecorderCounter.RETRIES)
                self._row.report(ProcessState.DEGRADED, f"records database: {e.orig}; trying again")
                self._retry_at_s = time.monotonic() + _RETRY_S
                self._rewind()
                return
            raise
        except DatabaseError as e:
            self._set_aside(f"{e.orig}")
        except JournalCorrupt as e:
            # Restarting the projection is the remedy the journal reader names; the journal itself stays.
            self._row.report(ProcessState.DEGRADED, str(e))
            self._retry_at_s = time.monotonic() + 10 * _RETRY_S
        else:
            if self._row.state == ProcessState.DEGRADED and not self._archive.disk_is_full:
                self._row.report(ProcessState.READY, "")

    def _rewind(self) -> None:
        """What was polled but not committed is read again. The database is not asked: it is locked just now."""
        self._follower.close()
        self._follower = Follower(self._context.config.journal_dir, self._applied)

    def _set_aside(self, why: str) -> None:
        self._engine.dispose()  # a file that is still open must not be renamed, and its descriptors must go
        path = self._context.config.records_db
        aside = path.with_suffix(f".corrupt-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        self._follower.close()
        self._projection, self._follower = self._open_projection()
        self._row.report(
            ProcessState.DEGRADED, f"records database was damaged ({why}); kept as {aside.name}, rebuilding"
        )

    def _look_at_disk(self) -> None:
        records = self._context.config.records
        free_mb = shutil.disk_usage(self._context.config.station.data_dir).free // 2**20
        self._row.set(RecorderCounter.DISK_FREE_MB, free_mb)
        was_full = self._archive.disk_is_full
        self._archive.disk_is_full = free_mb < records.min_free_mb
        if self._archive.disk_is_full:
            self._row.report(
                ProcessState.DEGRADED,
                f"only {free_mb} MB free where records.min_free_mb is {records.min_free_mb}: pictures are not "
                "kept; free some space",
            )
        elif was_full:
            self._row.report(ProcessState.READY, "")

    def drain(self) -> None:
        """Before stopping: bring the database up to what the journal holds."""
        for _ in range(1000):
            self._row.beat()
            before = self._follower.position
            self._take_pictures()
            self._guarded(self._follow)
            self._guarded(self._register_pictures)
            if self._follower.position == before:
                return

    def run(self) -> int:
        """Until SIGTERM."""
        self._row.report(ProcessState.READY, "")
        with selectors.DefaultSelector() as selector:
            selector.register(self._link, selectors.EVENT_READ)
            while not self._context.stop.is_set():
                selector.select(_POLL_S)
                self.turn()
        self.drain()
        self.close()
        return 0

    def close(self) -> None:
        """Release the database, the journal and the rings."""
        self._follower.close()
        self._engine.dispose()
        for ring in self._rings:
            ring.close()


def main(argv: list[str] | None = None) -> int:
    """Process entry; see inspection.child."""
    return run_child("recorder", lambda context: Recorder(context).run(), argv)


if __name__ == "__main__":
    sys.exit(main())
