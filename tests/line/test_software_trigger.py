# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole station as processes, with a camera that has no trigger line: PLC trigger to verdict register."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cameras.simulator.feed import Feed
from inspection.board import Board, CameraCounter, GateCounter
from inspection.config import StationConfig, load_config
from inspection.journal import read
from inspection.journal_records import VerdictRecord
from inspection.twin.line import free_port
from inspection.types import Outcome, Reason, StationFault, StationState
from tests.gate.rig import Plc, until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(240)]

WIDTH, HEIGHT, STRIP = 64, 72, 8
PULSES_A_PART = 1000
LOST, DEFECTIVE, PARTS = 4, 6, 8
# Frame ids: 1 is the probe at the start; the lost picture uses one, and another probe follows it.
DEFECTIVE_FRAME = DEFECTIVE + 2
CONFIG = f"""
[station]
name = "untriggered"
data_dir = "var"
recipe = "recipe.json"
bundle = "bundle"
simulated = true
[line]
pulses_per_mm = 10
min_pitch_mm = 50
max_speed_mm_s = 20
travel_mm = 200
gate_window_mm = 20
deadline_ms = 3000
[modbus]
port = {{port}}
[engine]
kind = "scripted"
script = "script.json"
[records]
min_free_mb = 0
journal_segment_mb = 1
[[camera]]
serial = "LS0001"
width_px = {WIDTH}
height_px = {HEIGHT}
view_px = [0, 0, {WIDTH}, {HEIGHT - STRIP}]
strip_px = [0, {HEIGHT - STRIP}, {WIDTH}, {STRIP}]
trigger = "software"
settings = [["ExposureTime", 500.0]]
"""


@dataclass
class Untriggered:
    """A running station, its PLC, and what its camera looks at."""

    config: StationConfig
    plc: Plc
    feed: Feed
    process: subprocess.Popen[str]

    def counters(self) -> tuple[dict[str, int], dict[str, int]]:
        """Of gate and camera."""
        board = Board.attach(self.config.board_path)
        try:
            gate, camera = board.row("gate"), board.row("camera:LS0001")
            return ({c.name: gate.get(c) for c in GateCounter}, {c.name: camera.get(c) for c in CameraCounter})
        finally:
            board.close()

    def part(self, number: int) -> Outcome:
        """Bring one part under the camera; what the register says of it."""
        picture = np.full((HEIGHT, WIDTH), 20 * number, np.uint8)
        assert self.feed.push(picture, PULSES_A_PART * number, wait_s=5.0)
        self.plc.trigger(number, PULSES_A_PART * number)
        outcome = until(lambda: self.plc.outcome(number), f"part {number} has no outcome")
        assert outcome is not None
        return outcome


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Untriggered]:
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    for name, value in (("DIR", str(feeds)), ("WIDTH", str(WIDTH)), ("HEIGHT", str(HEIGHT))):
        monkeypatch.setenv(f"LINESIM_{name}", value)
    finding = {"class": "scratch", "score": 0.9, "box": [10, 10, 30, 20]}
    steps = [{"frame_id": [DEFECTIVE_FRAME], "findings": [finding]}]
    (tmp_path / "script.json").write_text(json.dumps({"classes": ["scratch"], "steps": steps}))
    recipe = {
        "name": "part", "version": 1, "id": 1, "views": [{"name": "top"}],
        "classes": {"scratch": {"min_score": 0.5}},
    }  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "bundle").mkdir()
    path, port = tmp_path / "station.toml", free_port()
    path.write_text(CONFIG.format(port=port))
    config = load_config(path)
    feed = Feed(feeds, "LS0001", WIDTH, HEIGHT, slots=32)
    command = [sys.executable, "-m", "inspection.station", "--config", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    plc: Plc | None = None
    try:
        until(lambda: _is_ready(config, process), "the station is never Ready", 90)
        plc = Plc(port)
        yield Untriggered(config, plc, feed, process)
    finally:
        if plc is not None:
            plc.close()
        process.terminate()
        process.communicate(timeout=60)
        feed.close()


def _is_ready(config: StationConfig, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, "the station ended"
    try:
        board = Board.attach(config.board_path)
    except StationFault:
        return False
    ready = board.row("gate").get(GateCounter.STATION_STATE) == StationState.READY
    board.close()
    return ready


def test_parts_are_photographed_by_the_station_and_each_is_judged_by_its_own_picture(
    station: Untriggered,
) -> None:
    station.plc.arm()
    outcomes = {}
    for number in range(1, PARTS + 1):
        if number == LOST:
            station.feed.drop_next(1)
        outcomes[number] = station.part(number)
        if number == LOST:  # the frame counter is measured anew; parts that come meanwhile are not inspected
            until(lambda: station.counters()[1]["DELIVERED"] == LOST + 1, "no probe after a lost picture")
    special = {LOST: Outcome.NOT_INSPECTED, DEFECTIVE: Outcome.REJECT}
    assert outcomes == {n: special.get(n, Outcome.PASS) for n in range(1, PARTS + 1)}

    until(lambda: station.counters()[1]["TRIGGERS"] == PARTS + 2, "the camera's books are not written", 10)
    gate, camera = station.counters()
    assert gate["TRIGGERS"] == PARTS == gate["PASS"] + gate["REJECT"] + gate["NOT_INSPECTED"]
    assert (camera["DELIVERED"], camera["UNEXPLAINED_ID_GAP"]) == (PARTS + 1, 1)  # all but one, two probes

    records = [entry.record for entry in read(station.config.journal_dir)]
    verdicts = {r.seq: r for r in records if isinstance(r, VerdictRecord)}
    for number, record in verdicts.items():
        if number == LOST:
            assert (record.reasons, record.views) == ((Reason.FRAME_MISSING,), ())
        else:
            (view,) = record.views
            assert view.strip == bytes([20 * number]) * (WIDTH * STRIP)
            assert view.encoder_pulses == PULSES_A_PART * number
    assert verdicts.keys() == outcomes.keys()
