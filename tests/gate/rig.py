# SPDX-License-Identifier: AGPL-3.0-or-later
"""A gate process over real sockets: the test plays inspector, cameras and PLC."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pymodbus.client import ModbusTcpClient

from inspection.board import Board, GateCounter, ProcessState
from inspection.config import StationConfig, load_config
from inspection.gates.registers import (
    VERDICT_RING_AT,
    VERDICT_SLOTS,
    VERDICT_WORDS,
    Control,
    Holding,
    Input,
    verdict_check,
)
from inspection.journal import read
from inspection.journal_records import Record
from inspection.link import Link, link_pair
from inspection.messages import BundleReady, Message, PartJudged, PartTriggered, ViewSeen
from inspection.recipe import Recipe, ViewRecipe, write_recipe
from inspection.types import Outcome, PartRef, Reason, StationState, Verdict

PATIENCE_S = 30.0
T = TypeVar("T")
RECIPE = Recipe(name="bracket", version=1, id=12, views=(ViewRecipe(name="top"),))

STATION = """
[station]
name = "test"
data_dir = "{data}"
recipe = "recipe.json"
bundle = "bundle"
simulated = true
{station}
[line]
pulses_per_mm = 10
min_pitch_mm = 20
max_speed_mm_s = 10
travel_mm = 2000
gate_window_mm = 20
deadline_ms = {deadline_ms}
{line}
[modbus]
port = {port}
{modbus}
[[camera]]
serial = "sim0"
width_px = 64
height_px = 64
"""


def until(what: Callable[[], T], why: str, patience_s: float = PATIENCE_S) -> T:
    """Poll until `what()` is true; the first true value."""
    end = time.monotonic() + patience_s
    while not (value := what()):
        assert time.monotonic() < end, f"waited in vain: {why}"
        time.sleep(0.005)
    return value


class Plc:
    """A soft PLC of the test's own: one writing connection with a beating heartbeat, one reading connection."""

    def __init__(self, port: int, *, beats: bool = True) -> None:
        self.words = [0] * 65
        self.beats = beats
        self.errors = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._written = threading.Condition()
        self._writes = 0
        self._writer = ModbusTcpClient("127.0.0.1", port=port, timeout=3, retries=0)
        self._reader = ModbusTcpClient("127.0.0.1", port=port, timeout=3, retries=0)
        self._reader.connect()
        self._thread = threading.Thread(target=self._run, name="test-plc")
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.015):
            with self._lock:
                if self.beats:
                    self.words[Holding.PLC_HEARTBEAT] = (self.words[Holding.PLC_HEARTBEAT] + 1) & 0xFFFF
                words = list(self.words)
            try:
                if not self._writer.connected:
                    self._writer.connect()
                if self._writer.write_registers(0, words).isError():
                    self.errors += 1
            except Exception:  # noqa: BLE001 - pymodbus raises several kinds when the gate is killed
                self.errors += 1
                self._writer.close()
                continue
            with self._written:
                self._writes += 1
                self._written.notify_all()

    def set(self, **words: int) -> None:
        """Set holding words by name and wait until two more writes have gone out."""
        with self._lock:
            for name, value in words.items():
                self.words[Holding[name]] = value
        with self._written:
            goal = self._writes + 2
            assert self._written.wait_for(lambda: self._writes >= goal, PATIENCE_S), "the PLC cannot write"

    def trigger(self, seq: int, encoder: int) -> None:
        """Put one trigger into the ring; its number goes out in the same write."""
        with self._lock:
            at = Holding.TRIGGER_RING + 4 * (seq % 8)
            self.words[at : at + 4] = [seq, encoder >> 16, encoder & 0xFFFF, 0]
            self.words[Holding.NEWEST_TRIGGER_SEQ] = seq

    def dispose(self, seq: int, disposition: int) -> None:
        """Report what became of one part."""
        with self._lock:
            at = Holding.DISPOSITION_RING + 2 * (seq % 8)
            self.words[at : at + 2] = [seq, disposition]
            self.words[Holding.NEWEST_OUTCOME_SEQ] = seq

    def read(self) -> list[int]:
        """All 80 input registers in one FC04."""
        if not self._reader.connected:
            self._reader.connect()
        answer = self._reader.read_input_registers(0, count=80)
        assert not answer.isError(), answer
        return list(answer.registers)

    def state(self) -> int:
        """Input register 4."""
        return self.read()[Input.STATE]

    def outcome(self, seq: int) -> Outcome | None:
        """The verdict ring's word on one part, None while there is none of this epoch."""
        image = self.read()
        slot = VERDICT_RING_AT + VERDICT_WORDS * (seq % VERDICT_SLOTS)
        found, epoch, verdict, check = image[slot : slot + 4]
        if found != seq or epoch != image[Input.EPOCH] or check != verdict_check(seq, epoch, verdict):
            return None
        return Outcome(verdict)

    def arm(self) -> int:
        """Echo the epoch and raise Arm until the station executes; the epoch."""
        until(lambda: self.state() == StationState.READY, "the station is never Ready")
        epoch = self.read()[Input.EPOCH]
        self.set(CONTROL=0, EPOCH_ECHO=epoch)
        self.set(CONTROL=Control.ARM)
        until(lambda: self.state() == StationState.CONTINUOUS_EXECUTION, "Arm has no effect")
        return epoch

    def close(self) -> None:
        """Stop beating, close both connections."""
        self._stop.set()
        self._thread.join()
        self._writer.close()
        self._reader.close()


class GateRig:
    """One gate process with its board, its link and its folder; the test is everything else."""

    def __init__(self, folder: Path, *, deadline_ms: int = 5000, **tables: str) -> None:
        self.folder = folder
        self.config = self._configure(deadline_ms, tables)
        self.config.shm_dir.mkdir(parents=True, exist_ok=True)
        self.board = Board.create(self.config.board_path, self.config.board_rows())
        self.gate_row = self.board.row("gate")
        self._ends = link_pair()
        self.link = Link(self._ends[0])
        self.frozen: set[str] = set()
        self.states = {"inspector": ProcessState.READY, "camera:sim0": ProcessState.READY}
        self._stop = threading.Event()
        for role in self.states:
            self.board.row(role).claim(ProcessState.READY)
        self._beater = threading.Thread(target=self._beat, name="test-devices")
        self._beater.start()
        self.process: subprocess.Popen[str] | None = None
        self._clients: list[Plc] = []

    def _configure(self, deadline_ms: int, tables: dict[str, str]) -> StationConfig:
        path = self.folder / "station.toml"
        blanks = {"station": "", "line": "", "modbus": "", "port": "0"}
        text = STATION.format(data=self.folder / "data", deadline_ms=deadline_ms, **(blanks | tables))
        path.write_text(text + "[records]\njournal_segment_mb = 1\n", encoding="utf-8")
        write_recipe(RECIPE, self.folder / "recipe.json")
        self.path = path
        return load_config(path)

    def _beat(self) -> None:
        while not self._stop.wait(0.02):
            for role, state in self.states.items():
                row = self.board.row(role)
                if role not in self.frozen:
                    row.beat()
                if row.state is not state:
                    row.report(state)

    # --- the process

    def start(self) -> GateRig:
        """Start (again) and wait until its port is known and the station is Ready."""
        incarnation = self.gate_row.incarnation
        assert self.link.send(BundleReady(bundle_sha256="b" * 64, recipe_sha256=RECIPE.sha256))
        fd = self._ends[1].fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inspection.gate", "--config", str(self.path), "--links", f"inspector={fd}"],
            pass_fds=[fd],
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: self._is_ready(self.process, incarnation), "the gate is never Ready")
        return self

    def _is_ready(self, process: subprocess.Popen[str] | None, incarnation: int) -> bool:
        assert process is not None
        assert process.poll() is None, self.gate_row.text
        fresh = self.gate_row.incarnation > incarnation
        return fresh and self.gate_row.get(GateCounter.STATION_STATE) == StationState.READY

    def kill(self) -> None:
        """Kill -9."""
        assert self.process is not None
        self.process.kill()
        if self.process.stderr is not None and not self.process.stderr.closed:
            self.process.communicate()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        assert errors == "", errors
        return self.process.returncode

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """The gate under SIGSTOP."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End everything that this rig made."""
        for client in self._clients:
            client.close()
        if self.process is not None:
            self.kill()
        self._stop.set()
        self._beater.join()
        self.board.close()
        for end in self._ends:
            end.close()
        for path in sorted(self.config.shm_dir.rglob("*"), reverse=True):
            path.unlink()
        self.config.shm_dir.rmdir()

    # --- the other processes

    @property
    def port(self) -> int:
        """Where the gate listens."""
        return self.gate_row.get(GateCounter.MODBUS_PORT)

    def plc(self, *, beats: bool = True) -> Plc:
        """A PLC, closed with the rig."""
        plc = Plc(self.port, beats=beats)
        self._clients.append(plc)
        return plc

    def said(self, kind: type) -> Message:
        """Next message of this kind from the gate to the inspector; others are dropped."""

        def wanted() -> Message | None:
            while (message := self.link.receive()) is not None:
                if isinstance(message, kind):
                    return message
            return None

        found = until(wanted, f"the gate sends no {kind.__name__}")
        assert found is not None
        return found

    def part(self, seq: int) -> PartRef:
        """The part that the gate announces for trigger `seq`."""
        while True:
            message = self.said(PartTriggered)
            assert isinstance(message, PartTriggered)
            if message.part.seq == seq:
                return message.part

    def judge(self, part: PartRef, outcome: Outcome, **changes: object) -> None:
        """The inspector's verdict on a part, with one picture where the part is."""
        now_ns = time.monotonic_ns()
        reject = outcome is Outcome.REJECT
        values: dict[str, object] = {
            "ordinal": part.ordinal,
            "epoch": part.epoch,
            "seq": part.seq,
            "verdict": Verdict(outcome=outcome, reasons=(Reason.DEFECT if reject else Reason.NONE,)),
            "views": (
                ViewSeen(
                    camera=0,
                    frame_id=part.seq,
                    encoder_pulses=part.encoder_pulses,
                    exposure_ns=part.trigger_ns,
                    ready_ns=now_ns,
                    strip=b"strip",
                ),
            ),
            "recipe_sha256": RECIPE.sha256,
            "bundle_sha256": "b" * 64,
            "ready_ns": now_ns,
            "judged_ns": now_ns,
        }
        assert self.link.send(PartJudged(**(values | changes)))  # pyright: ignore[reportArgumentType]

    # --- what is left behind

    def counters(self) -> dict[str, int]:
        """The gate's row."""
        return {counter.name: self.gate_row.get(counter) for counter in GateCounter}

    def records(self, kind: type[Record] | None = None) -> list[Record]:
        """The journal so far, or its records of one kind."""
        found = [entry.record for entry in read(self.config.journal_dir)]
        return [r for r in found if kind is None or isinstance(r, kind)]
