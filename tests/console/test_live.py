# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking at the station: levels, counts, previews, and the socket that carries them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.websockets import WebSocketDisconnect

from inspection.board import Board, GateCounter, ProcessState
from inspection.types import StationState
from station_app import live
from station_app.history import History, Search
from station_app.watch import Watch
from tests.console.conftest import ORIGIN, Room
from tests.console.filled import EPOCH, FilledStation


@pytest.fixture
def own_station(tmp_path: Path) -> Iterator[FilledStation]:
    """A station whose board a test may disturb."""
    filled = FilledStation(tmp_path)
    filled.start()
    filled.fill(3)
    yield filled
    filled.close()


@pytest.fixture
def watch(own_station: FilledStation) -> Iterator[Watch]:
    history = History(own_station.config.records_db, own_station.config.camera)
    watch = Watch(own_station.config, history)
    yield watch
    watch.close()
    history.close()


def _board(station: FilledStation) -> Board:
    assert station.board is not None
    return station.board


def test_a_running_station_looks_like_one(own_station: FilledStation, watch: Watch) -> None:
    own_station.beat()
    look = watch.look()
    assert look.station.level == "running"
    assert (look.station.line.armed, look.station.line.plc_alive, look.station.line.epoch) == (
        True,
        True,
        EPOCH,
    )
    assert look.station.counts.triggers == 3
    assert [p.seq for p in look.recent] == [1, 2, 3]
    assert {p.label for p in look.station.processes} >= {"Gate", "Camera LINESIM-0", "Camera LINESIM-1"}


def test_silence_is_noticed_process_by_process(own_station: FilledStation, watch: Watch) -> None:
    own_station.beat()
    long_ago = time.monotonic_ns() - 10_000_000_000
    _board(own_station).row("camera:LINESIM-1").beat(long_ago)
    station = watch.look().station
    assert station.level == "degraded"
    assert station.sentence.startswith("Camera LINESIM-1: No sign of life for 10 s")
    for name in _board(own_station).names:
        _board(own_station).row(name).beat(long_ago)
    station = watch.look().station
    assert station.level == "down"
    assert not station.line.armed
    assert station.parts_per_s == 0.0


@pytest.mark.parametrize(
    ("alive", "state", "words"),
    [
        (0, StationState.INITIALIZED, "No PLC is connected"),
        (1, StationState.READY, "waiting for the PLC to arm"),
        (1, StationState.HALTED, "Halted: not inspecting"),
    ],
)
def test_a_station_that_waits_says_for_whom(
    own_station: FilledStation, watch: Watch, alive: int, state: StationState, words: str
) -> None:
    gate = _board(own_station).row("gate")
    gate.set(GateCounter.PLC_ALIVE, alive)
    gate.set(GateCounter.ARMED, 0)
    gate.set(GateCounter.STATION_STATE, state)
    own_station.beat()
    station = watch.look().station
    assert station.level == "waiting"
    assert words in station.sentence


def test_a_process_that_reports_trouble_is_quoted(own_station: FilledStation, watch: Watch) -> None:
    _board(own_station).row("inspector").report(ProcessState.FAULT, "The engine hung.")
    own_station.beat()
    station = watch.look().station
    assert (station.level, station.sentence) == ("degraded", "Inspector and engine: The engine hung.")


def test_a_new_board_is_followed_and_a_missing_one_is_down(own_station: FilledStation, watch: Watch) -> None:
    own_station.beat()
    assert watch.look().station.counts.triggers == 3
    board = Board.create(own_station.config.board_path, own_station.config.board_rows())
    for name in board.names:
        board.row(name).claim(ProcessState.READY)
    board.row("gate").set(GateCounter.TRIGGERS, 77)
    assert watch.look().station.counts.triggers == 77
    board.close()
    shutil.rmtree(own_station.config.shm_dir)
    look = watch.look()
    assert look.station.level == "down"
    assert look.previews == ()
    assert [p.seq for p in look.recent] == [1, 2, 3]


def test_a_page_that_is_no_board_is_down_not_an_error(own_station: FilledStation, watch: Watch) -> None:
    own_station.config.board_path.unlink()
    own_station.config.board_path.write_bytes(b"x" * 8192)
    assert watch.look().station.level == "down"


def test_preview_and_its_findings_belong_together(own_station: FilledStation, watch: Watch) -> None:
    for _ in range(5):
        own_station.part()
        for preview in watch.look().previews:
            assert (
                preview.facts["ordinal"] == own_station.ordinal or preview.facts["outcome"] == "not_inspected"
            )
            assert preview.jpeg[:2] == b"\xff\xd8"


def test_a_picture_newer_than_its_sidecar_waits(own_station: FilledStation, watch: Watch) -> None:
    first = {p.serial: p.facts["ordinal"] for p in watch.look().previews}
    picture = own_station.config.previews_dir / "LINESIM-0.jpg"
    sidecar = picture.with_suffix(".json")
    picture.write_bytes(b"\xff\xd8 of the next part")
    stamp = sidecar.stat().st_mtime_ns - 1_000_000_000
    os.utime(sidecar, ns=(stamp, stamp))
    seen = {p.serial: p for p in watch.look().previews}
    assert seen["LINESIM-0"].facts["ordinal"] == first["LINESIM-0"]
    assert b"of the next part" not in seen["LINESIM-0"].jpeg


def test_reasons_and_defects_are_counted_for_the_newest_run_only(
    own_station: FilledStation, watch: Watch
) -> None:
    part_id = own_station.part()
    own_station.disturb(part_id, outcome="not_inspected", reason="shed", rejected_by="[]")
    station = watch.look().station
    assert ("shed", 1) in station.reasons


def test_rate_comes_from_the_gates_counter(own_station: FilledStation, watch: Watch) -> None:
    gate = _board(own_station).row("gate")
    own_station.beat()
    watch.look()
    gate.set(GateCounter.TRIGGERS, 103)
    assert watch.look().station.parts_per_s > 0
    gate.set(GateCounter.TRIGGERS, 2)  # the gate has restarted: no negative rate
    assert watch.look().station.parts_per_s == 0.0


def _next(socket, kind: str) -> dict:
    """The next text message of a kind; others are passed over."""
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"])
        if message.get("text") and (said := json.loads(message["text"]))["type"] == kind:
            return said


def test_socket_tells_station_parts_rejects_and_pictures(room: Room) -> None:
    room.log_in()
    room.station.part()
    with room.client.websocket_connect("/live", headers={"origin": ORIGIN}) as socket:
        assert _next(socket, "station")["station"]["name"] == "Flange line 2"
        parts = _next(socket, "parts")
        assert parts["reset"]
        assert parts["parts"][-1]["id"] == room.console.history.page(Search(), size=1).parts[0].id
        assert _next(socket, "rejects")["rejects"][0]["part"]["outcome"] == "reject"
        packed = socket.receive_bytes()
    length = int.from_bytes(packed[:4], "big")
    header = json.loads(packed[4 : 4 + length])
    assert header["serial"].startswith("LINESIM-")
    assert packed[4 + length : 6 + length] == b"\xff\xd8"


def test_socket_sends_each_new_part_once(room: Room) -> None:
    room.log_in()
    with room.client.websocket_connect("/live", headers={"origin": ORIGIN}) as socket:
        first = _next(socket, "parts")["parts"]
        new = room.station.part()
        fresh = _next(socket, "parts")
        assert not fresh["reset"]
        assert [p["id"] for p in fresh["parts"]] == [new]
        assert new not in {p["id"] for p in first}


def test_socket_closes_when_the_session_ends(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_SESSION_CHECK_S", 0.0)
    room.log_in()
    with room.client.websocket_connect("/live", headers={"origin": ORIGIN}) as socket:
        _next(socket, "station")
        room.console.accounts.reset_password()
        with pytest.raises(WebSocketDisconnect) as closed:
            _next(socket, "never said")
    assert closed.value.code == 4401


def test_many_viewers_share_one_look(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.log_in()
    looks = 0
    look = Watch.look

    def counted(watch: Watch):
        nonlocal looks
        looks += 1
        return look(watch)

    monkeypatch.setattr(Watch, "look", counted)
    monkeypatch.setattr(live, "_FRESH_S", 3600.0)
    for _ in range(5):
        assert room.client.get("/api/v1/station").status_code == 200
    assert looks <= 1
