# SPDX-License-Identifier: AGPL-3.0-or-later
"""The station's own watch: what it cannot do it says and tries again, and it looks only when there is news."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datasets.cli import main as data
from datasets.store import open_home
from inspection.board import Board, ProcessState
from inspection.child import ChildContext
from inspection.config import load_config
from inspection.records.database import open_writer
from inspection.watching import Watcher, main
from tests.weights.conftest import STATION, Bench
from weights.registry import Registry


def promoted(bench: Bench) -> None:
    registry = Registry(bench.registry, [bench.trusted])
    registry.adopt(bench.folder / "first", who="Ada", why="configured")
    second = registry.add(bench.folder / "second", who="Ada", why="candidate")
    registry.promote(second, who="Ada", why="better", expected_active=bench.shas["first"], facts={})


@pytest.fixture
def station(bench: Bench) -> Path:
    return bench.station(STATION + '\n[watch]\ndataset = "home"\n')


def test_what_it_cannot_do_stands_on_the_board_and_is_tried_again(bench: Bench, station: Path) -> None:
    config = load_config(station)
    board = Board.create(bench.folder / "board", ["watch"])
    row = board.row("watch")
    context = ChildContext(config=config, row=row, board=board, links={})
    watcher = Watcher(context, bench.folder / "home")
    watcher.turn()
    assert (row.state, "no dataset home" in row.text) == (ProcessState.DEGRADED, True)
    open_home(bench.folder / "home", create=True).close()
    watcher.turn()
    assert (row.state, row.text) == (ProcessState.READY, "no bundle was promoted over another one")
    promoted(bench)
    watcher.turn()
    assert (row.state, "data audit" in row.text) == (ProcessState.DEGRADED, True)
    config.records_db.parent.mkdir(parents=True, exist_ok=True)
    open_writer(config.records_db).dispose()
    words = ["audit", "--passes", "0.1", "--config", str(station), "--who", "Ada"]
    assert data(words) == 0
    watcher.turn()
    assert row.state is ProcessState.READY
    assert row.text.startswith("overkill: none since the promotion")
    config.records_db.unlink()
    watcher.turn()
    assert row.state is ProcessState.READY, "nobody has said anything since: there is nothing to look at"
    context.stop.set()
    assert watcher.run() == 0
    board.close()


def test_by_hand_it_reads_the_same_reviews(
    bench: Bench, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(station), "--json"]) == 3
    assert "no dataset home" in json.loads(capsys.readouterr().out)["error"]
    promoted(bench)
    open_writer(load_config(station).records_db).dispose()
    assert data(["audit", "--passes", "0.1", "--config", str(station)]) == 0
    capsys.readouterr()
    assert main(["--config", str(station), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["withdrawn"], found["judged"], found["waiting"]) == (True, False, 0, 0)
    bench.station(STATION)
    assert main(["--config", str(station)]) == 3
    assert "watch.dataset" in capsys.readouterr().err
