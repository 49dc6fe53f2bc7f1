# SPDX-License-Identifier: AGPL-3.0-or-later
"""Six promises of records, configuration and restarts, each a check of one module (real, or with a bug).

The oracles are independent: plain dictionaries of what was written, SHA-256 of the bytes, the syntax tree.
"""

from __future__ import annotations

import ast
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from cameras.ring import Ring
from inspection.board import Board
from inspection.child import ChildContext
from inspection.config import load_config
from inspection.journal import Journal, follow
from inspection.journal_records import Published, Record, Started, VerdictRecord
from inspection.link import Link, link_pair
from inspection.messages import ImageHandOver, ViewSeen
from inspection.records import schema as t
from inspection.records.database import open_reader, open_writer
from inspection.storage.images import ImageStore
from inspection.types import Box, Epoch, Finding, FrameRef, Ordinal, Outcome, Reason, Seq, StationFault, Verdict
from tests.contract.code import ROOT

EPOCH, PARTS, CAMERAS = 7, 9, 2
TRIGGER_UTC_NS = 1_790_000_000_000_000_000
STATION = """\
[station]
name = "cell"
data_dir = "var"
recipe = "recipe.json"
bundle = "bundle"
[line]
pulses_per_mm = 10
min_pitch_mm = 30
max_speed_mm_s = 500
travel_mm = 300
gate_window_mm = 20
deadline_ms = 280
[modbus]
port = 0
[engine]
threads = 1
[records]
min_free_mb = 0
[console]
port = 8000
[[camera]]
serial = "A"
width_px = 32
height_px = 32
[[camera]]
serial = "B"
width_px = 32
height_px = 32
"""
TABLES = ("[station]", "[line]", "[modbus]", "[engine]", "[records]", "[console]", "[[camera]]")


def load_config_text(folder: Path, text: str, config: Any = None) -> Any:
    """station.toml from a text."""
    path = folder / "station.toml"
    path.write_text(text)
    return (config.load_config if config else load_config)(path)


def finding(ordinal: int, camera: int) -> Finding:
    """One whose place says whose it is."""
    box = Box(x0_px=ordinal, y0_px=camera, x1_px=ordinal + 4, y1_px=camera + 4)
    return Finding(defect_class="pit", score=0.5, box=box, camera=camera)


def records(epoch: int = EPOCH) -> list[Record]:
    """A run in which each part has a finding on each camera."""
    out: list[Record] = [
        Started(epoch=epoch, recipe_sha256="r", bundle_sha256="b", utc_ns=1, monotonic_ns=2, station="cell")
    ]
    for n in range(1, PARTS + 1):
        out.append(
            VerdictRecord(
                epoch=epoch,
                ordinal=n,
                seq=n,
                encoder=n,
                trigger_ns=100,
                deadline_ns=400,
                trigger_utc_ns=TRIGGER_UTC_NS + n,
                outcome=Outcome.REJECT,
                reasons=(Reason.DEFECT,),
                rejected_by=("pit",),
                findings=tuple(finding(n, c) for c in range(CAMERAS)),
                views=tuple(ViewSeen(c, n, n, 10, 20, b"") for c in range(CAMERAS)),
                recipe_sha256="r",
                bundle_sha256="b",
                closed_ns=300,
            )
        )
        out.append(Published(epoch=epoch, ordinal=n, seq=n, published_ns=350))
    return out


def write(folder: Path, some: list[Record]) -> None:
    """A journal of these."""
    journal = Journal(folder, segment_bytes=256 * 1024)
    last = max(journal.append(record) for record in some)
    journal.sync_until(last)
    assert journal.wait_durable(last, 10)
    journal.close()


def digest_of(ordinal: int, camera: int) -> str:
    """Name of that part's picture."""
    return hashlib.sha256(f"{ordinal}/{camera}".encode()).hexdigest()


# --- 1: no record is lost between journal and database
def every_record_arrives(projection: ModuleType, folder: Path) -> None:
    """In small batches, the projection made anew after each, as after a kill."""
    write(folder / "journal", records())
    for _ in range(30):
        engine = open_writer(folder / "records.sqlite")
        made = projection.Projection(engine, ["A", "B"])
        follower = follow(folder / "journal", made.position())
        made.apply(follower.poll(2))
        follower.close()
        engine.dispose()
    _expect_rows(folder / "records.sqlite")


def _expect_rows(database: Path) -> None:
    engine = open_reader(database)
    with engine.connect() as c:
        found = c.execute(select(t.parts.c.ordinal, t.parts.c.published_ns)).all()
    engine.dispose()
    assert sorted(tuple(row) for row in found) == [(n, 350) for n in range(1, PARTS + 1)]


def a_locked_database_costs_no_record(recorder: ModuleType, folder: Path) -> None:
    """Somebody holds the database's lock while records come; what was read meanwhile is read again."""
    with _recorder(recorder, folder) as (made, _):
        write(folder / "var" / "journal", records())
        lock = open_writer(folder / "var" / "records.sqlite")
        with made._engine.connect() as c:
            c.exec_driver_sql("PRAGMA busy_timeout=50")  # the pool's one connection: not ten seconds a test
        with lock.begin():
            made.turn()
        lock.dispose()
        made._retry_at_s = 0.0
        made.drain()
        made._engine.dispose()
        _expect_rows(folder / "var" / "records.sqlite")


@contextmanager
def _recorder(recorder: ModuleType, folder: Path) -> Iterator[tuple[Any, Link]]:
    """The recorder itself, in this process, over a journal folder, two rings and a link."""
    config = load_config_text(folder, STATION)
    config.previews_dir.mkdir(parents=True)
    board = Board.create(config.board_path, config.board_rows())
    rings = [Ring.create(config.ring_path(c.serial), 4, 32 * 32) for c in config.camera]
    ours, theirs = (Link(end) for end in link_pair())
    made = recorder.Recorder(
        ChildContext(config=config, row=board.row("recorder"), board=board, links={"inspector": theirs})
    )
    try:
        yield made, ours
    finally:
        made._follower.close()
        made._engine.dispose()
        for ring in (*rings, *made._rings):
            ring.close()
        ours.close()
        theirs.close()
        board.close()
        for path in sorted(config.shm_dir.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        config.shm_dir.rmdir()


# --- 2: a picture's name is the hash of its bytes, when it is written and when it is read
def pictures_are_what_their_names_say(images: ModuleType, folder: Path) -> None:
    """Two pictures that begin alike, one of them altered on disk later."""
    store = images.ImageStore(folder)
    pictures = [b"the same beginning " * 100 + bytes([n]) for n in range(3)]
    for data in pictures:
        name = store.put(data, "jpg")
        assert name == hashlib.sha256(data).hexdigest()
        assert store.get(name, "jpg") == data
    store.path(name, "jpg").write_bytes(pictures[0])
    with pytest.raises(images.PictureAltered):
        store.get(name, "jpg")


# --- 3: a finding is drawn on the picture that it was found on
def findings_stay_on_their_pictures(projection: ModuleType, folder: Path) -> None:
    """Pictures that come before and after their records; one of an older run with the same numbers."""
    engine = open_writer(folder / "records.sqlite")
    made = projection.Projection(engine, ["A", "B"])

    def picture(ordinal: int, camera: int, *, digest: str = "", stored: int = TRIGGER_UTC_NS) -> dict[str, Any]:
        return {
            "epoch": EPOCH,
            "ordinal": ordinal,
            "camera": camera,
            "sha256": digest or digest_of(ordinal, camera),
            "type": "jpg",
            "bytes": 1,
            "width": 32,
            "height": 32,
            "stored_utc_ns": stored,
            "retention": "reject",
        }

    year_ns = 365 * 24 * 3600 * 10**9
    write(folder / "journal", records())
    made.pictures([picture(n, c) for n in (1, 2, 3) for c in range(CAMERAS)])
    made.pictures([picture(n, 1, digest="f" * 64, stored=TRIGGER_UTC_NS - year_ns) for n in (4, 5)])
    follower = follow(folder / "journal")
    made.apply(follower.poll(100))
    follower.close()
    made.pictures([picture(n, c) for n in (6, 7) for c in range(CAMERAS)])
    made.pictures([picture(8, 1)])
    with engine.connect() as c:
        statement = select(t.parts.c.ordinal, t.views.c.camera, t.views.c.image_sha256).join_from(
            t.parts, t.views
        )
        shown = {(n, camera): digest for n, camera, digest in c.execute(statement)}
        boxes = c.execute(
            select(t.parts.c.ordinal, t.findings.c.camera, t.findings.c.x0, t.findings.c.y0).join_from(
                t.parts, t.findings
            )
        ).all()
    engine.dispose()
    kept = {(n, c) for n in (1, 2, 3, 6, 7) for c in range(CAMERAS)} | {(8, 1)}
    wanted = {
        (n, c): digest_of(n, c) if (n, c) in kept else None for n in range(1, PARTS + 1) for c in range(CAMERAS)
    }
    assert shown == wanted
    assert all((n, camera) == (x0, y0) for n, camera, x0, y0 in boxes)
    assert len(boxes) == PARTS * CAMERAS


def previews_carry_their_own_findings(archive: ModuleType, folder: Path) -> None:
    """One camera's preview never lists what the other one saw."""
    config = load_config_text(folder, STATION)
    config.previews_dir.mkdir(parents=True)
    rings = [Ring.create(config.ring_path(c.serial), 4, 32 * 32) for c in config.camera]
    try:
        made = archive.Archive(config, rings, ImageStore(config.images_dir))
        both = tuple(finding(5, c) for c in range(CAMERAS))
        for camera, ring in enumerate(rings):
            slot = ring.acquire()
            assert slot is not None
            np.copyto(ring.pixels(slot), np.uint8(100 + camera))
            generation = ring.publish(slot)
            ring.hand_over(slot, generation)
            frame = FrameRef(
                camera=camera, slot=slot, generation=generation, frame_id=1, encoder_pulses=1, exposure_ns=1,
                ready_ns=1, width_px=32, height_px=32, pixel_format=0x01080001,
            )  # fmt: skip
            verdict = Verdict(outcome=Outcome.REJECT, reasons=(Reason.DEFECT,), findings=both)
            made.take(ImageHandOver(frame, Epoch(EPOCH), Ordinal(5), Seq(5), Outcome.REJECT, verdict))
        for camera, entry in enumerate(config.camera):
            told = (config.previews_dir / f"{entry.serial}.json").read_text()
            assert f'"camera": {camera}' in told
            assert f'"camera": {1 - camera}' not in told
        rows = made.rows()
        assert [row["camera"] for row in rows] == [0, 1]
        assert len({row["sha256"] for row in rows}) == CAMERAS
    finally:
        for ring in rings:
            ring.close()
        for path in sorted(config.shm_dir.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        config.shm_dir.rmdir()


# --- 4: an unknown key of station.toml is refused, in every table
def unknown_keys_are_refused(config: ModuleType, folder: Path) -> None:
    """A misspelt limit would else silently be the default."""
    load_config_text(folder, STATION, config)
    for table in TABLES:
        wrong = STATION.replace(table, f"{table}\ndeadline_mz = 1", 1)
        with pytest.raises(StationFault, match=r"unknown key.*deadline_mz"):
            load_config_text(folder, wrong, config)
    with pytest.raises(StationFault, match="unknown key"):
        load_config_text(folder, STATION + "\n[lines]\nx = 1\n", config)


# --- 5: the wall clock is for records, never for a deadline
_DECIDING = (
    *("gate*", "gates/*", "tracker", "pairing", "judging", "inspect*", "scheduler", "timing"),
    *("station", "children", "board", "heartbeat"),
)
WALL_CLOCK_FREE = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for pattern in _DECIDING
    for path in (ROOT / "inspection").glob(f"{pattern}.py")
)
_WALL = {"time", "time_ns", "localtime", "now", "utcnow", "CLOCK_REALTIME"}


def wall_clock_only_dates_records(text: str) -> None:
    """Each reading of the wall clock in this source is the value of something whose name ends in `utc_ns`."""
    tree = ast.parse(text)
    allowed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and (node.arg or "").endswith("utc_ns"):
            allowed |= {id(inner) for inner in ast.walk(node.value)}
        if isinstance(node, ast.Assign) and all(
            isinstance(target, ast.Name) and target.id.endswith("utc_ns") for target in node.targets
        ):
            allowed |= {id(inner) for inner in ast.walk(node.value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _WALL and id(node) not in allowed:
            assert not isinstance(node.value, ast.Name) or node.value.id not in {"time", "datetime"}, (
                f"line {node.lineno} reads the wall clock, and not to date a record"
            )
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "datetime"}:
            assert not {alias.name for alias in node.names} & _WALL, f"line {node.lineno} hides the wall clock"


# --- 6: a restart has another epoch
def a_restart_has_another_epoch(gate: ModuleType) -> None:
    """Even when chance draws the same number again, and at both ends of the range."""
    for last in (1, 2, 65535):
        draws = iter([last - 1, last - 1, 41])
        gate.secrets = SimpleNamespace(randbelow=lambda _, it=draws: next(it))
        try:
            assert gate.new_epoch(last) == 42
        finally:
            gate.secrets = secrets
    seen = {gate.new_epoch(None) for _ in range(200)}
    assert len(seen) > 150
    assert all(1 <= epoch <= 65535 for epoch in seen)
