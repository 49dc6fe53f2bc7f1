# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole station as processes: it gets ready, says why when it cannot, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspection.board import Board, GateCounter, ProcessState
from inspection.config import load_config
from inspection.records.database import open_writer
from inspection.twin.line import free_port
from inspection.types import StationFault, StationState

pytestmark = [pytest.mark.serial, pytest.mark.timeout(180)]

CAMERA = """
[[camera]]
serial = "LS0001"
width_px = 320
height_px = 336
view_px = [0, 0, 320, 320]
"""


def write_station(folder: Path, port: int, camera: str = CAMERA) -> Path:
    (folder / "recipe.json").write_text(
        json.dumps(
            {
                "name": "part",
                "version": 1,
                "id": 1,
                "views": [{"name": "top"}],
                "classes": {"scratch": {"min_score": 0.5}},
            }
        )
    )
    (folder / "script.json").write_text(json.dumps({"classes": ["scratch"], "steps": []}))
    (folder / "bundle").mkdir(exist_ok=True)
    path = folder / "station.toml"
    path.write_text(
        f"""
[station]
name = "test"
data_dir = "var"
recipe = "recipe.json"
bundle = "bundle"
simulated = true
[line]
pulses_per_mm = 10
min_pitch_mm = 30
max_speed_mm_s = 500
travel_mm = 300
gate_window_mm = 20
deadline_ms = 280
[modbus]
port = {port}
[engine]
kind = "scripted"
script = "script.json"
[records]
min_free_mb = 0
journal_segment_mb = 1
{camera}
"""
    )
    return path


@pytest.fixture
def feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for the simulated cameras: their locks must not meet another test's."""
    folder = tmp_path / "feeds"
    folder.mkdir()
    monkeypatch.setenv("LINESIM_DIR", str(folder))
    return folder


def start(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "inspection.station", "--config", str(path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    _, err = process.communicate(timeout=60)
    return err


def wait_for_state(path: Path, state: StationState, limit_s: float = 90) -> None:
    config = load_config(path)
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        try:
            board = Board.attach(config.board_path)
        except StationFault:
            time.sleep(0.05)
            continue
        reached = board.row("gate").get(GateCounter.STATION_STATE) == state
        board.close()
        if reached:
            return
        time.sleep(0.05)
    raise AssertionError(f"the station did not reach {state.name}")


@pytest.fixture
def running(tmp_path: Path, feeds: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    path = write_station(tmp_path, free_port())
    process = start(path)
    try:
        wait_for_state(path, StationState.READY)
        yield path, process
    finally:
        finish(process)


def test_it_gets_ready_and_leaves_nothing_behind(tmp_path: Path, feeds: Path) -> None:
    path = write_station(tmp_path, free_port())
    process = start(path)
    wait_for_state(path, StationState.READY)
    shm = load_config(path).shm_dir
    assert shm.is_dir()
    err = finish(process)
    assert process.returncode == 0, err
    assert "deadline 280" in err  # the arithmetic was printed
    assert not shm.exists()


def test_a_second_station_on_the_same_folder_is_refused(running: tuple[Path, subprocess.Popen[str]]) -> None:
    path, first = running
    second = start(path)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 3
    assert "Another station already runs" in err
    assert first.poll() is None
    wait_for_state(path, StationState.READY, limit_s=5)


def test_a_killed_supervisor_takes_its_children_along_and_comes_back(
    running: tuple[Path, subprocess.Popen[str]],
) -> None:
    path, _ = running
    config = load_config(path)
    board = Board.attach(config.board_path)
    pids = {name: board.row(name).pid for name in board.names}
    board.close()
    os.kill(pids["supervisor"], signal.SIGKILL)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            board = Board.attach(config.board_path)
        except StationFault:
            time.sleep(0.05)
            continue
        now = {name: board.row(name).pid for name in board.names}
        ready = board.row("gate").get(GateCounter.STATION_STATE) == StationState.READY
        board.close()
        if ready and not set(now.values()) & set(pids.values()):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the station did not come back")
    assert not [name for name, pid in pids.items() if _runs(pid)]


def wait_for_text(path: Path, words: str, limit_s: float = 60) -> str:
    """Until the gate says it on the board; its whole sentence."""
    config = load_config(path)
    until = time.monotonic() + limit_s
    text = ""
    while time.monotonic() < until:
        try:
            board = Board.attach(config.board_path)
        except StationFault:
            time.sleep(0.05)
            continue
        text = board.row("gate").text
        board.close()
        if words in text:
            return text
        time.sleep(0.05)
    raise AssertionError(f"the gate does not say {words!r} but {text!r}")


@pytest.mark.parametrize("role", ["camera:LS0001", "inspector"])
def test_a_recipe_edited_while_the_station_runs_never_rules_half_of_it(
    running: tuple[Path, subprocess.Popen[str]], role: str
) -> None:
    path, _ = running
    recipe = path.with_name("recipe.json")
    before = recipe.read_text()
    recipe.write_text(before.replace("0.5", "0.9"))
    os.kill(_pid_of(path, role), signal.SIGKILL)
    said = wait_for_text(path, "was changed while the station runs")
    assert str(recipe) in said
    board = Board.attach(load_config(path).board_path)
    state = board.row("gate").get(GateCounter.STATION_STATE)
    board.close()
    assert state in (StationState.PREOPERATIONAL, StationState.INITIALIZED)
    recipe.write_text(before)
    wait_for_state(path, StationState.READY)


def _pid_of(path: Path, role: str) -> int:
    board = Board.attach(load_config(path).board_path)
    pid = board.row(role).pid
    board.close()
    return pid


def _kill_supervisor_and_hold_the_launcher(path: Path, launcher: subprocess.Popen[str]) -> None:
    board = Board.attach(load_config(path).board_path)
    until = time.monotonic() + 60  # the recorder may come after the gate; only then the station counts as ready
    while any(board.row(name).state != ProcessState.READY for name in board.names):
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.5)  # the supervisor looks every 20 ms
    pids = [board.row(name).pid for name in board.names]
    supervisor = board.row("supervisor").pid
    board.close()
    launcher.send_signal(signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    until = time.monotonic() + 20
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_refusal_after_the_station_was_ready_is_tried_again_until_it_passes(
    tmp_path: Path, feeds: Path
) -> None:
    port = free_port()
    path = write_station(tmp_path, port)
    recipe = path.with_name("recipe.json")
    good = recipe.read_text()
    process = start(path)
    try:
        wait_for_state(path, StationState.READY)
        _kill_supervisor_and_hold_the_launcher(path, process)
        recipe.write_text("{")  # the new supervisor itself refuses this
        process.send_signal(signal.SIGCONT)
        _wait_until_said(process, "The recipe", "starting it again")
        with socket.socket() as other:  # and this its gate refuses
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            recipe.write_text(good)
            _wait_until_said(process, "gate ended with exit code 3", str(port))
        wait_for_state(path, StationState.READY)
    finally:
        finish(process)
    assert process.returncode == 0


def _wait_until_said(process: subprocess.Popen[str], *words: str) -> None:
    """Each of the words, in this order, on what the launcher and its supervisor write."""
    assert process.stderr is not None
    waiting = list(words)
    while waiting:
        line = process.stderr.readline()
        assert line, f"ended without saying {waiting[0]!r}"
        while waiting and waiting[0] in line:
            waiting.pop(0)


def test_a_launcher_that_waits_before_starting_again_can_still_be_stopped(
    running: tuple[Path, subprocess.Popen[str]],
) -> None:
    path, process = running
    path.with_name("recipe.json").write_text("{")
    _kill_supervisor_and_hold_the_launcher(path, process)
    process.send_signal(signal.SIGCONT)
    while True:  # until the quick restarts are used up
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line
        if "starting it again in 8" in line:
            break
    before_s = time.monotonic()
    process.terminate()
    assert process.wait(30) == 0
    assert time.monotonic() - before_s < 7


def _runs(pid: int) -> bool:
    """Whether it still does anything; an orphan that init has not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("deadline_ms = 280", "deadline_ms = 2800"), "impossible"),
        (("deadline_ms = 280", "deadlin_ms = 280"), "unknown key line.deadlin_ms"),
        (('bundle = "bundle"', 'bundle = "nowhere"'), "no model bundle"),
        (('serial = "LS0001"', 'serial = "LS0077"'), "LS0077"),
        (("view_px", 'producer = "gone.cti"\nview_px'), "gone.cti"),
        (('recipe = "recipe.json"', 'recipe = "station.toml"'), "is not valid"),
        (('script = "script.json"', ""), "limits the class 'scratch', which the bundle scripted does not know"),
    ],
)
def test_what_cannot_work_is_said_in_one_sentence(
    tmp_path: Path, feeds: Path, change: tuple[str, str], words: str
) -> None:
    path = write_station(tmp_path, free_port())
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    process = start(path)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 3
    last = err.strip().splitlines()[-1]
    assert words in last
    assert "Traceback" not in err


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path, feeds: Path) -> None:
    path = write_station(tmp_path, free_port())
    config = load_config(path)
    engine = open_writer(config.records_db)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    before = config.records_db.read_bytes()
    process = start(path)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 3
    last = err.strip().splitlines()[-1]
    assert str(config.records_db) in last
    assert "newer version" in last
    assert config.records_db.read_bytes() == before


def test_a_port_in_use_is_named(tmp_path: Path, feeds: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = start(write_station(tmp_path, port))
        _, err = process.communicate(timeout=90)
    assert process.returncode == 3
    assert str(port) in err.strip().splitlines()[-1]
