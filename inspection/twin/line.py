# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole simulated line: real station, painted parts, camera side, soft PLC; started, watched and stopped.

The demo and the whole-line tests use the same class. The station is started as any user would start it, from a
station.toml; this file reads its status board for display and for counters, and kills nothing unless asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from cameras.simulator.build import build
from inspection.board import Board, CameraCounter, GateCounter, InspectorCounter, ProcessState
from inspection.config import StationConfig, load_config
from inspection.twin import layout
from inspection.twin.children import TalkingChild
from inspection.twin.layout import FrameShape, LineOptions
from inspection.twin.source import Photograph, PhotographSource, check_pictures, is_colour, read_photographs
from inspection.types import StationFault
from weights.bundle import Bundle, load_bundle

DRAWN_FRAME = FrameShape(width_px=320, height_px=336)
_POLL_S = 0.05
_LEAD_IN_NS = 500_000_000
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardReading:
    """All counters of the station's board at one moment."""

    at_ns: int
    gate: dict[str, int]
    inspector: dict[str, int]
    cameras: dict[str, dict[str, int]]
    pids: dict[str, int]
    states: dict[str, ProcessState]
    incarnations: dict[str, int]
    texts: dict[str, str]
    cpu_s: dict[str, float]  # processor time of each process so far


def read_board(config: StationConfig) -> BoardReading | None:
    """The board as it stands; None while there is no station."""
    try:
        board = Board.attach(config.board_path)
    except StationFault:
        return None
    try:
        rows = {name: board.row(name) for name in board.names}
        return BoardReading(
            at_ns=time.monotonic_ns(),
            gate={c.name.lower(): rows["gate"].get(c) for c in GateCounter},
            inspector={c.name.lower(): rows["inspector"].get(c) for c in InspectorCounter},
            cameras={
                name.removeprefix("camera:"): {c.name.lower(): row.get(c) for c in CameraCounter}
                for name, row in rows.items()
                if name.startswith("camera:")
            },
            pids={name: row.pid for name, row in rows.items()},
            states={name: row.state for name, row in rows.items()},
            incarnations={name: row.incarnation for name, row in rows.items()},
            texts={name: row.text for name, row in rows.items()},
            cpu_s={name: _cpu_s(row.pid) for name, row in rows.items()},
        )
    finally:
        board.close()


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class SimulatedLine:
    """One run. `start` returns with the belt running; `finish` stops everything in order; always `close` it."""

    def __init__(self, options: LineOptions, data_dir: Path, say: Say = lambda _: None) -> None:
        self.options = options
        self.data_dir = data_dir.resolve()
        self._say = say
        self.started_utc_ns = time.time_ns()
        self.t0_ns = 0
        self.belt_stopped_ns = 0
        self.board_at_start: BoardReading | None = None
        self.board_at_end: BoardReading | None = None
        self.frame = DRAWN_FRAME
        self._children: dict[str, TalkingChild] = {}
        self._shared = Path(tempfile.mkdtemp(prefix="gatesight-twin-", dir="/dev/shm"))
        self.last_world_status: dict[str, Any] = {}
        self.bundle: Bundle | None = None
        self.photographs: list[Photograph] | None = None  # None: parts are drawn
        self.config: StationConfig | None = None

    # --- files
    @property
    def plc_log(self) -> Path:
        """Facts of the PLC."""
        return self.data_dir / "twin" / "plc.jsonl"

    @property
    def world_log(self) -> Path:
        """Facts of the camera side."""
        return self.data_dir / "twin" / "world.jsonl"

    def prepare(self) -> StationConfig:
        """Check what was asked for and write all files; StationFault with one sentence."""
        options = self.options
        self.bundle = load_bundle(options.bundle, options.trusted)
        if options.coco is not None:
            self._say(f"Reading the pictures of {options.coco}.")
            self.photographs = photographs = read_photographs(options.coco)
            check_pictures(photographs)
            colour = self.bundle.card.picture_channels == 3 and is_colour(photographs)
            source = PhotographSource(photographs, seed=options.seed, colour=colour)
            self.frame = FrameShape(width_px=source.width_px, height_px=source.height_px, colour=colour)
        port = options.modbus_port or free_port()
        station_file = self.data_dir / "station.toml"
        try:
            for folder in (self.data_dir, self.data_dir / "twin", self.data_dir / "run" / "log"):
                folder.mkdir(parents=True, exist_ok=True)
            if station_file.exists() and "simulated = true" not in station_file.read_text(encoding="utf-8"):
                raise StationFault(
                    f"{station_file} belongs to a real station: give the demo another --data-dir."
                )
            station_file.write_text(
                layout.station_toml(options, self.frame, self.data_dir, port), encoding="utf-8"
            )
            recipe = layout.recipe_json(self.bundle.recipe, options.views, str(options.bundle))
            (self.data_dir / "recipe.json").write_text(recipe, encoding="utf-8")
            for name, plan in (
                ("plc", layout.plc_plan(options, port)),
                ("camera", layout.camera_plan(options, self.frame, self._shared)),
            ):
                (self.data_dir / "twin" / f"{name}.json").write_text(json.dumps(plan), encoding="utf-8")
        except OSError as e:
            raise StationFault(f"Cannot write to {self.data_dir} ({e.strerror}): give --data-dir.") from e
        self.config = load_config(station_file)
        return self.config

    # --- life
    def start(self) -> None:
        """Start everything, wait until the PLC has armed the station, and let the belt run."""
        self.launch()
        self.wait_armed()
        self.run_belt()

    def launch(self) -> None:
        """Start all processes; the belt stands still."""
        if self.config is None:
            self.prepare()
        self._say("Checking the simulated camera's producer; it is built when something changed.")
        build()
        twin, log = self.data_dir / "twin", self.data_dir / "run" / "log"
        camera_plan = str(twin / "camera.json")
        self._begin("world", ["--plan", camera_plan, "--log", str(self.world_log)])
        self._await(lambda: bool(self._children["world"].listen()), 20, "The camera side")
        self._begin("painter", ["--plan", camera_plan])
        self._say("Starting the station: gate, inspector, recorder, cameras.")
        self._children["station"] = TalkingChild(
            "station",
            "inspection.station",
            ["--config", str(self.data_dir / "station.toml")],
            log / "launcher.log",
            environment={
                "LINESIM_DIR": str(self._shared),
                "LINESIM_CAMERAS": str(self.options.views),
                "LINESIM_WIDTH": str(self.frame.width_px),
                "LINESIM_HEIGHT": str(self.frame.height_px),
            },
            talks=False,
            death_signal=signal.SIGTERM,
        )
        self._begin("plc", ["--plan", str(twin / "plc.json"), "--log", str(self.plc_log)])

    def wait_armed(self, patience_s: float = 120.0, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Wait until pictures are ready and the PLC has armed the station, or somebody interrupts."""
        self._await(lambda: interrupted() or self._is_ready(), patience_s, "The station")

    def run_belt(self) -> None:
        """Let the belt run: from here on parts come."""
        self.board_at_start = self.read_board()
        self.t0_ns = time.monotonic_ns() + _LEAD_IN_NS
        for name in ("world", "plc"):
            self._children[name].send(t0_ns=self.t0_ns)

    def _begin(self, name: str, arguments: list[str]) -> None:
        log = self.data_dir / "run" / "log" / f"twin-{name}.log"
        self._children[name] = TalkingChild(name, f"inspection.twin.{name}", arguments, log)

    def _is_ready(self) -> bool:
        plc, world = self.plc_status(), self.world_status()
        return plc.get("phase") == "armed" and bool(world.get("ready")) and all(world["acquiring"])

    def _await(self, condition: Callable[[], bool], patience_s: float, what: str) -> None:
        until = time.monotonic() + patience_s
        while not condition():
            self.check()
            if time.monotonic() > until:
                raise StationFault(f"{what} was not ready within {patience_s:.0f} s: {self._diagnosis()}")
            time.sleep(_POLL_S)

    def _diagnosis(self) -> str:
        reading = None if self.config is None else read_board(self.config)
        if reading is None:
            return "no status board. " + self._children["station"].last_words()
        rows = [f"{n} {s.name.lower()} {reading.texts[n]}".strip() for n, s in reading.states.items()]
        world = self.world_status()
        rows.append(f"painted ahead: {world.get('ready')}, cameras acquiring: {world.get('acquiring')}")
        return f"PLC {self.plc_status().get('phase')}; " + "; ".join(rows)

    def check(self) -> None:
        """StationFault with the child's own last words when one that must live is gone."""
        for name, child in self._children.items():
            if not child.running:
                words = child.last_words().removeprefix("gatesight: ")
                raise StationFault(words or f"{name} ended with exit code {child.process.returncode}")

    def plc_status(self) -> dict[str, Any]:
        """Newest status of the PLC."""
        return self._children["plc"].listen() if "plc" in self._children else {}

    def world_status(self) -> dict[str, Any]:
        """Newest status of the camera side."""
        return self._children["world"].listen() if "world" in self._children else {}

    def read_board(self) -> BoardReading | None:
        """The station's board now."""
        return None if self.config is None else read_board(self.config)

    @property
    def launcher_pid(self) -> int:
        """Process id of the station's launcher."""
        return self._children["station"].process.pid

    @property
    def finished(self) -> bool:
        """All parts of a bounded run have passed the gate."""
        return bool(self.plc_status().get("finished"))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let the line run for a while, or until a condition; True when the condition came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            if until():
                return True
            time.sleep(_POLL_S)
        return until()

    def finish(self) -> None:
        """Stop the belt, take the counters, lower Arm, stop the station. Afterwards the report can be made."""
        self.belt_stopped_ns = time.monotonic_ns()
        if self.config is not None:
            self._drain(self.config)
        for name in ("plc", "world"):
            if name in self._children:
                self._children[name].send(stop=True)
                if self._children[name].wait(5.0) is None:
                    self._say(f"{name} does not end; it is killed.")
                if name == "world":
                    self.last_world_status = self.world_status()
                self._children[name].stop(1.0)
        if self.config is not None:
            self.board_at_end = read_board(self.config)  # Arm is lowered: nothing is in flight any more
        station = self._children.get("station")
        if station is not None and not station.stop(25.0):
            raise StationFault("The station did not stop within 25 s of being asked to; it was killed.")

    def _drain(self, config: StationConfig) -> None:
        """A bounded run is over when the gate has nothing in flight and all edges are delivered."""
        if not self.finished:
            return
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            reading = read_board(config)
            if reading is not None and reading.gate["in_flight"] == 0:
                break
            time.sleep(_POLL_S)
        time.sleep(0.2)  # a last frame's counters are written after its verdict

    def close(self) -> None:
        """Whatever happened: no child and no shared memory is left."""
        for name in ("plc", "world", "painter", "station"):
            child = self._children.pop(name, None)
            if child is not None:
                child.stop(15.0 if name == "station" else 1.0)
        shutil.rmtree(self._shared, ignore_errors=True)
        if self.config is not None:
            shutil.rmtree(self.config.shm_dir, ignore_errors=True)

    def __enter__(self) -> SimulatedLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def with_free_port(options: LineOptions) -> LineOptions:
    """The options with a Modbus port fixed now, so that it can be told to people."""
    return replace(options, modbus_port=options.modbus_port or free_port())


def kill_process(pid: int) -> bool:
    """SIGKILL to one process by its id; False when it was gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
