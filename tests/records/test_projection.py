# SPDX-License-Identifier: AGPL-3.0-or-later
"""The records database is a projection of the journal: exact, resumable, rebuildable, never half-migrated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError

from inspection.journal import Journal, follow
from inspection.journal_records import (
    DispositionRecord,
    LineEvent,
    Published,
    Record,
    Started,
    Stopped,
    VerdictRecord,
)
from inspection.messages import ViewSeen
from inspection.records import schema as t
from inspection.records.database import open_reader, open_writer
from inspection.records.projection import Projection
from inspection.records.retention import keep_within
from inspection.storage.images import ImageStore, PictureAltered
from inspection.types import Box, Disposition, Finding, Outcome, Reason, StationFault

TRIGGER_UTC_NS = 1_790_000_000_000_000_000


def started(epoch: int) -> Started:
    return Started(
        epoch=epoch, recipe_sha256="r" * 64, bundle_sha256="b" * 64, utc_ns=1, monotonic_ns=2, station="cell"
    )


def verdict(ordinal: int, outcome: Outcome, epoch: int = 7, *, seen: bool = True) -> VerdictRecord:
    box = Box(x0_px=1, y0_px=2, x1_px=5, y1_px=9)
    finding = Finding(defect_class="pit", score=0.75, box=box, camera=1)
    view = ViewSeen(1, 40 + ordinal, 12345, 10, 20, b"strip")
    return VerdictRecord(
        epoch=epoch,
        ordinal=ordinal,
        seq=ordinal,
        encoder=4_000_000_000,
        trigger_ns=100,
        deadline_ns=400,
        trigger_utc_ns=TRIGGER_UTC_NS + ordinal,
        outcome=outcome,
        reasons=(Reason.DEFECT if outcome == Outcome.REJECT else Reason.NONE,),
        rejected_by=("pit",) if outcome == Outcome.REJECT else (),
        findings=(finding,) if seen and outcome == Outcome.REJECT else (),
        views=(view,) if seen else (),
        recipe_sha256="r" * 64,
        bundle_sha256="b" * 64,
        closed_ns=300,
    )


def write(folder: Path, records: list[Record]) -> None:
    journal = Journal(folder, segment_bytes=256 * 1024)
    last = -1
    for record in records:
        last = journal.append(record)
    journal.sync_until(last)
    assert journal.wait_durable(last, 10)
    journal.close()


def project(database: Path, folder: Path) -> None:
    engine = open_writer(database)
    projection = Projection(engine, ["A", "B"])
    follower = follow(folder, projection.position())
    while entries := follower.poll(3):
        projection.apply(entries)
    follower.close()
    engine.dispose()


RUN: list[Record] = [
    started(7),
    verdict(1, Outcome.PASS),
    Published(epoch=7, ordinal=1, seq=1, published_ns=350),
    verdict(2, Outcome.REJECT),
    Published(epoch=7, ordinal=2, seq=2, published_ns=360),
    DispositionRecord(epoch=7, seq=2, disposition=Disposition.DIVERTED_CONFIRMED, utc_ns=5),
    verdict(3, Outcome.PASS),
    verdict(3, Outcome.NOT_INSPECTED, seen=False),  # superseded: its record came too late
    LineEvent(epoch=7, kind="state", text="ready", utc_ns=6),
    Stopped(epoch=7, utc_ns=9),
]


def test_rows_say_what_the_journal_says(tmp_path: Path) -> None:
    write(tmp_path / "journal", RUN)
    project(tmp_path / "records.sqlite", tmp_path / "journal")
    reader = open_reader(tmp_path / "records.sqlite")
    with reader.connect() as c:
        parts = c.execute(select(t.parts).order_by(t.parts.c.ordinal)).all()
        assert [p.outcome for p in parts] == ["pass", "reject", "not_inspected"]
        assert [p.published_ns for p in parts] == [350, 360, None]
        assert parts[1].disposition == 2
        assert parts[1].encoder == 4_000_000_000
        assert json.loads(parts[1].rejected_by) == ["pit"]
        found = c.execute(select(t.findings)).one()
        assert (found.part_id, found.camera, found.x1, found.y1) == (parts[1].id, 1, 5, 9)
        views = c.execute(select(t.views).order_by(t.views.c.part_id)).all()
        assert [(v.serial, v.strip) for v in views] == [("B", b"strip")] * 3
        assert c.execute(select(t.events.c.text)).scalar() == "ready"
        assert c.execute(select(t.runs.c.stopped_utc_ns)).scalar() == 9
    reader.dispose()


def test_following_in_two_goes_equals_one(tmp_path: Path) -> None:
    write(tmp_path / "journal", RUN[:5])
    project(tmp_path / "records.sqlite", tmp_path / "journal")
    journal = Journal(tmp_path / "journal", segment_bytes=256 * 1024)
    for record in RUN[5:]:
        last = journal.append(record)
    assert journal.wait_durable(last, 10)
    journal.close()
    project(tmp_path / "records.sqlite", tmp_path / "journal")
    project(tmp_path / "records.sqlite", tmp_path / "journal")
    engine = open_reader(tmp_path / "records.sqlite")
    with engine.connect() as c:
        assert c.execute(select(func.count()).select_from(t.parts)).scalar() == 3
        assert c.execute(select(func.count()).select_from(t.events)).scalar() == 1
    engine.dispose()


def test_the_same_epoch_in_a_later_run_is_another_run(tmp_path: Path) -> None:
    write(
        tmp_path / "journal",
        [started(7), verdict(1, Outcome.PASS), started(9), started(7), verdict(1, Outcome.REJECT)],
    )
    project(tmp_path / "records.sqlite", tmp_path / "journal")
    engine = open_reader(tmp_path / "records.sqlite")
    with engine.connect() as c:
        rows = c.execute(select(t.parts.c.run_id, t.parts.c.outcome).order_by(t.parts.c.id)).all()
    assert [tuple(r) for r in rows] == [(1, "pass"), (3, "reject")]
    engine.dispose()


def test_pictures_join_whichever_comes_first(tmp_path: Path) -> None:
    engine = open_writer(tmp_path / "records.sqlite")
    projection = Projection(engine, ["A", "B"])
    write(tmp_path / "journal", RUN)

    def picture(ordinal: int, digest: str) -> dict[str, object]:
        return {
            "epoch": 7,
            "ordinal": ordinal,
            "camera": 1,
            "sha256": digest * 64,
            "type": "jpg",
            "bytes": 9,
            "width": 32,
            "height": 33,
            "stored_utc_ns": TRIGGER_UTC_NS + 10**9,
            "retention": "pass",
        }

    projection.pictures([picture(1, "a")])
    follower = follow(tmp_path / "journal")
    projection.apply(follower.poll(100))
    follower.close()
    projection.pictures([picture(2, "b")])
    with engine.connect() as c:
        rows = c.execute(select(t.views.c.image_sha256, t.views.c.width).order_by(t.views.c.part_id)).all()
    assert [tuple(r) for r in rows] == [("a" * 64, 32), ("b" * 64, 32), (None, None)]
    engine.dispose()


def test_a_picture_of_another_year_is_not_drawn_under_the_same_epoch_and_ordinal(tmp_path: Path) -> None:
    """Epochs are 16 bits and come again; the part of today was not kept, the one of long ago was."""
    engine = open_writer(tmp_path / "records.sqlite")
    projection = Projection(engine, ["A", "B"])
    picture = {"epoch": 7, "ordinal": 1, "camera": 1, "type": "jpg", "bytes": 9, "width": 32, "height": 33}
    long_ago = {**picture, "sha256": "a" * 64, "stored_utc_ns": -(10**17), "retention": "reject"}
    projection.pictures([long_ago])
    write(tmp_path / "journal", RUN)
    follower = follow(tmp_path / "journal")
    projection.apply(follower.poll(100))
    follower.close()
    projection.pictures([long_ago])
    with engine.connect() as c:
        assert set(c.execute(select(t.views.c.image_sha256)).scalars()) == {None}
    engine.dispose()


def test_a_batch_that_fails_half_way_leaves_no_row_and_is_taken_again_whole(tmp_path: Path) -> None:
    """The run that began inside the lost batch must not be remembered: later parts would hang on it."""
    engine = open_writer(tmp_path / "records.sqlite")
    projection = Projection(engine, ["A", "B"])
    write(tmp_path / "journal", RUN)
    follower = follow(tmp_path / "journal")
    entries = follower.poll(100)
    follower.close()
    with engine.begin() as c:
        c.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON findings BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    with pytest.raises(DatabaseError, match="full"):
        projection.apply(entries)
    with engine.begin() as c:
        for table in (t.runs, t.parts, t.events, t.cursor):
            assert c.execute(select(func.count()).select_from(table)).scalar() == 0
        c.exec_driver_sql("DROP TRIGGER refuse")
    projection.apply(entries)
    with engine.connect() as c:
        assert c.execute(select(func.count()).select_from(t.parts)).scalar() == 3
        assert c.execute(select(t.parts.c.disposition).where(t.parts.c.seq == 2)).scalar() == 2
    engine.dispose()


def test_over_budget_passed_parts_lose_their_pictures_first(tmp_path: Path) -> None:
    engine = open_writer(tmp_path / "records.sqlite")
    projection = Projection(engine, ["A", "B"])
    write(tmp_path / "journal", RUN)
    follower = follow(tmp_path / "journal")
    projection.apply(follower.poll(100))
    follower.close()
    store = ImageStore(tmp_path / "images")
    rows = []
    for ordinal, retention in ((2, "reject"), (1, "pass"), (3, "pass")):
        data = bytes([ordinal]) * 1000
        rows.append(
            {
                "epoch": 7,
                "ordinal": ordinal,
                "camera": 1,
                "sha256": store.put(data, "jpg"),
                "type": "jpg",
                "bytes": len(data),
                "width": 1,
                "height": 1,
                "stored_utc_ns": TRIGGER_UTC_NS + ordinal,
                "retention": retention,
            }
        )
    projection.pictures(rows)
    assert keep_within(engine, store, 3000) == 0
    assert keep_within(engine, store, 1000) == 2
    with engine.connect() as c:
        left = c.execute(select(t.views.c.image_sha256).order_by(t.views.c.part_id)).scalars().all()
    assert [digest is not None for digest in left] == [False, True, False]
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == 1
    engine.dispose()


def test_migrations_make_exactly_the_declared_tables(tmp_path: Path) -> None:
    engine = open_writer(tmp_path / "records.sqlite")
    with engine.connect() as c:
        assert compare_metadata(MigrationContext.configure(c), t.metadata) == []
    engine.dispose()


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    engine = open_writer(path)
    with engine.begin() as c:
        c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    before = path.read_bytes()
    with pytest.raises(StationFault, match=r"newer version.*9999.*rebuilt from the journal"):
        open_writer(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StationFault, match="move it away"):
        open_writer(path)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    open_writer(tmp_path / "records.sqlite").dispose()
    engine = open_reader(tmp_path / "records.sqlite")
    with pytest.raises(DatabaseError, match="readonly"), engine.begin() as c:
        c.exec_driver_sql("DELETE FROM parts")
    engine.dispose()


def test_a_migration_killed_half_way_leaves_nothing(tmp_path: Path) -> None:
    """Killed after the last table but before the version is stamped: all of it must be gone again."""
    path = tmp_path / "records.sqlite"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from inspection.records import database\n"
        "name, real = database.MIGRATIONS[0]\n"
        "def kill(op):\n"
        "    real(op)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "database.MIGRATIONS[0] = (name, kill)\n"
        "database.open_writer(Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    engine = open_reader(path)
    with engine.connect() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0
    engine.dispose()
    open_writer(path).dispose()


def test_the_image_store_keeps_bytes_under_their_own_name(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    digest = store.put(b"picture", "jpg")
    assert store.put(b"picture", "jpg") == digest
    assert store.get(digest, "jpg") == b"picture"
    assert len(list(tmp_path.rglob("*.jpg"))) == 1
    assert store.remove(digest, "jpg") == 7
    assert store.get(digest, "jpg") is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 63, "A" * 64, "", "a" * 64 + "/x"])
def test_the_image_store_opens_no_other_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="Not the name"):
        ImageStore(tmp_path).get(name, "jpg")


def test_a_failed_write_leaves_no_half_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        ImageStore(tmp_path).put(b"picture", "jpg")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_bytes_that_are_not_the_recorded_ones_are_not_given_out(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    digest = store.put(b"picture", "jpg")
    store.path(digest, "jpg").write_bytes(b"another")
    with pytest.raises(PictureAltered, match="altered on disk"):
        store.get(digest, "jpg")
