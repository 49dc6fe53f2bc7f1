# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every child process does alike: the pinned configuration, last words, one place for the unforeseen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspection.board import Board, ProcessState
from inspection.child import EXIT_FAULT, EXIT_OTHER
from inspection.config import StationConfig, load_config
from inspection.pins import Pins
from tests.station.test_station import write_station

ROLES = ["recorder", "gate", "inspector", "camera"]


@pytest.fixture
def station(tmp_path: Path) -> Iterator[tuple[Path, StationConfig, Board]]:
    path = write_station(tmp_path, 0)
    config = load_config(path)
    config.shm_dir.mkdir(parents=True)
    board = Board.create(config.board_path, config.board_rows())
    yield path, config, board
    board.close()
    config.board_path.unlink()
    config.shm_dir.rmdir()


def run(path: Path, role: str, body: str, pins: Pins | None) -> subprocess.CompletedProcess[str]:
    """A real child of the station whose body is one expression over its `context`."""
    code = "import sys\nfrom inspection.child import run_child\n"
    code += f"sys.exit(run_child({role!r}, lambda context: {body}))"
    more = ["--pins", pins.text] if pins else []
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(path), "--camera", "0", *more],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("role", ROLES)
def test_what_nobody_foresaw_is_said_on_board_and_log_by_every_child(
    station: tuple[Path, StationConfig, Board], role: str
) -> None:
    path, _, board = station
    done = run(path, role, "1 // 0", None)
    assert done.returncode == EXIT_OTHER
    assert "Traceback" in done.stderr  # a person who mends it needs the place
    assert (
        done.stderr.strip().splitlines()[-1].endswith("ZeroDivisionError: integer division or modulo by zero")
    )
    row = board.row("camera:LS0001" if role == "camera" else role)
    assert row.state is ProcessState.FAULT
    assert "ZeroDivisionError" in row.text


def test_no_child_has_a_catch_all_of_its_own(repository: Path) -> None:
    for name in (
        "cameras/worker.py",
        "inspection/inspector.py",
        "inspection/recorder.py",
        "inspection/gate.py",
    ):
        assert "except Exception" not in (repository / name).read_text(), name


def test_a_comment_changes_nothing(station: tuple[Path, StationConfig, Board]) -> None:
    path, config, _ = station
    pins = Pins.of(config)
    path.write_text("# seen by nobody\n" + path.read_text())
    recipe = path.with_name("recipe.json")
    recipe.write_text(json.dumps(json.loads(recipe.read_text()), indent=3))
    assert run(path, "recorder", "context.recipe() and 0", pins).returncode == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "body"),
    [
        ("station.toml", "deadline_ms = 280", "deadline_ms = 270", "0"),
        ("recipe.json", "0.5", "0.6", "context.recipe() and 0"),
        (
            "bundle/manifest.json",
            "",
            "{}",
            "context.check_bundle(__import__('hashlib').sha256(b'{}').hexdigest())",
        ),
    ],
)
def test_a_child_refuses_what_was_changed_since_its_supervisor_started(
    station: tuple[Path, StationConfig, Board], file: str, old: str, new: str, body: str
) -> None:
    path, config, board = station
    pins = Pins.of(config)
    changed = path.parent / file
    text = changed.read_text() if changed.exists() else ""
    assert old in text
    changed.write_text(text.replace(old, new) if old else new)
    done = run(path, "recorder", body, pins)
    assert done.returncode == EXIT_FAULT, done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(changed.parent if "bundle" in file else changed) in sentence
    assert "was changed while the station runs" in sentence
    assert "stop the station and start it again" in sentence
    assert board.row("recorder").state is not ProcessState.READY
    done = run(path, "recorder", body, Pins.of(load_config(path)))
    assert done.returncode == 0  # the next supervisor takes it


@pytest.mark.parametrize(
    "error",
    [
        "OSError(28, 'No space left on device')",
        "__import__('sqlite3').OperationalError('database or disk is full')",
    ],
)
def test_a_full_disk_is_one_sentence_and_no_riddle(
    station: tuple[Path, StationConfig, Board], error: str
) -> None:
    path, config, board = station
    done = run(path, "recorder", f"(_ for _ in ()).throw({error})", None)
    assert done.returncode == EXIT_FAULT
    (sentence,) = done.stderr.strip().splitlines()
    assert f"the disk of {config.station.data_dir} is full" in sentence
    assert "free some space" in sentence
    assert board.row("recorder").text == sentence
