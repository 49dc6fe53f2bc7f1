# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recorder on its own: what it does when its database is damaged under its hands."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError

from cameras.ring import Ring, SlotState
from inspection.board import Board, ProcessState, RecorderCounter
from inspection.child import ChildContext
from inspection.config import StationConfig, load_config
from inspection.journal import Journal, verify
from inspection.journal_format import list_segments
from inspection.link import Link, link_pair
from inspection.messages import SlotsLeft
from inspection.recorder import Recorder
from inspection.records import schema as t
from inspection.records.database import open_reader, open_writer
from inspection.types import Outcome
from tests.records.test_projection import RUN, started, verdict, write
from tests.station.test_station import write_station


@pytest.fixture
def context(tmp_path: Path) -> Iterator[ChildContext]:
    config = load_config(write_station(tmp_path, 0))
    config.previews_dir.mkdir(parents=True)
    board = Board.create(config.board_path, config.board_rows())
    ring = Ring.create(config.ring_path("LS0001"), 3, 320 * 336)
    ours, theirs = link_pair()
    links = {"inspector": Link(theirs), "peer": Link(ours)}  # the test is the inspector
    yield ChildContext(config=config, row=board.row("recorder"), board=board, links=links)
    for link in links.values():
        link.close()
    ring.close()
    board.close()
    for path in (config.ring_path("LS0001"), config.board_path):
        path.unlink()
    config.previews_dir.rmdir()
    config.shm_dir.rmdir()


def _open_files() -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(fd.readlink()))
        except OSError:
            continue
    return found


def test_a_locked_database_is_waited_for_once_a_turn(context: ChildContext) -> None:
    """Each wait is ten silent seconds, and after twenty the supervisor takes the recorder for hung."""
    write(context.config.journal_dir, RUN)
    recorder = Recorder(context)
    with recorder._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=20")  # of the pool's one connection
    lock = open_writer(context.config.records_db)
    with lock.begin():
        recorder.turn()
    lock.dispose()
    assert context.row.get(RecorderCounter.RETRIES) == 1
    recorder._retry_at_s = 0.0
    recorder.drain()
    with recorder._engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(t.parts)).scalar() == 3
    recorder.close()


def test_a_damaged_database_is_set_aside_rebuilt_and_let_go_of(context: ChildContext) -> None:
    config = context.config
    write(config.journal_dir, RUN)
    recorder = Recorder(context)
    recorder.turn()

    def damaged() -> None:
        raise DatabaseError("SELECT", None, sqlite3.DatabaseError("database disk image is malformed"))

    for _ in range(3):  # a dying disk does it again and again
        recorder._guarded(damaged)
    assert context.row.state is ProcessState.DEGRADED
    assert "malformed" in context.row.text
    assert not [name for name in _open_files() if ".corrupt-" in name]
    assert len(list(config.station.data_dir.glob("records.corrupt-*"))) >= 3
    recorder.turn()
    reader = open_reader(config.records_db)
    with reader.connect() as connection:
        assert connection.execute(select(func.count()).select_from(t.parts)).scalar() == 3
    reader.dispose()
    recorder.close()


def test_a_slot_that_a_killed_inspector_never_spoke_of_comes_back(context: ChildContext) -> None:
    (serial,) = (camera.serial for camera in context.config.camera)
    ring = Ring.attach(context.config.ring_path(serial))
    recorder = Recorder(context)
    slot = ring.acquire()
    assert slot is not None
    generation = ring.publish(slot)
    ring.hand_over(slot, generation)
    other = ring.acquire()
    assert other is not None
    ring.publish(other)
    context.links["peer"].send(SlotsLeft(camera=0, slots=((slot, generation), (slot, generation - 1))))
    recorder.turn()
    assert ring.state(slot) == SlotState.FREE
    assert ring.state(other) == SlotState.READY  # not its own
    recorder.close()
    ring.close()


def test_old_segments_go_once_the_database_has_them_and_a_new_database_says_what_it_lacks(
    context: ChildContext,
) -> None:
    config = context.config
    journal = Journal(config.journal_dir, segment_bytes=64 * 1024)
    journal.append(started(7))
    for i in range(1, 1300):
        index = journal.append(verdict(i, Outcome.PASS))
        if i % 50 == 0:
            assert journal.wait_durable(index, 10)
    journal.close()
    segments = len(list_segments(config.journal_dir))
    assert segments > 5
    eager = config.model_copy(update={"records": config.records.model_copy(update={"journal_keep_days": 1e-9})})
    recorder = Recorder(dataclasses.replace(context, config=eager))
    recorder.turn()  # one batch is read, and the first segment is behind it: that one may go already
    assert [number for number, _ in list_segments(config.journal_dir)] == list(range(2, segments + 1))
    recorder.drain()
    assert recorder._projection.position().segment == segments
    recorder._journal_at_s = 0.0
    recorder.turn()
    assert [number for number, _ in list_segments(config.journal_dir)] == [segments - 2, segments - 1, segments]
    removed = verify(config.journal_dir).first_index
    recorder.close()
    said = [f"journal segments {a} to {b} were removed" for a, b in ((1, 1), (2, segments - 3))]
    assert events(config) == said
    config.records_db.rename(config.records_db.with_name("lost.sqlite"))
    again = Recorder(context)
    again.drain()
    again.close()
    assert len(events(config)) == 1
    assert f"records before number {removed} are not in this database" in events(config)[0]


def events(config: StationConfig) -> list[str]:
    reader = open_reader(config.records_db)
    with reader.connect() as connection:
        texts = connection.execute(select(t.events.c.text)).scalars().all()
    reader.dispose()
    return list(texts)
