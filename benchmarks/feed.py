# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real inspector process with real board, ring and links, and a feeder that plays camera and gate.

The feeder writes the pictures into the slots once and afterwards only publishes them again: acquisition is
another process's cost, and is measured elsewhere. It answers every verdict with the gate's PartClosed. What the
feeder itself takes of the processor is reported apart (`Fed.feeder_cpu_us`) and never taken off a rate: it runs
beside the inspector, on the same cores, as camera workers and gate do.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cameras.pfnc import code_of
from cameras.ring import Ring
from inspection.board import Board, ProcessState, Row
from inspection.config import StationConfig, load_config
from inspection.link import Link, link_pair
from inspection.messages import FrameReady, PartClosed, PartJudged, PartTriggered
from inspection.types import Epoch, FrameRef, Ordinal, Outcome, PartRef, Seq

_PULSES_A_PART = 1000
_READY_S = 120.0
_DEADLINE_NS = 20_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """One round: what came out, how long it took, and what it cost the inspector."""

    parts: int
    seconds: float
    inspector_cpu_s: float
    feeder_cpu_s: float
    outcomes: dict[str, int]

    @property
    def fps(self) -> float:
        """Pictures a second."""
        return self.parts / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the inspector process a picture, all its threads."""
        return self.inspector_cpu_s / self.parts * 1e6

    @property
    def feeder_cpu_us(self) -> float:
        """Microseconds a picture of the process that plays camera and gate."""
        return self.feeder_cpu_s / self.parts * 1e6


def write_station(
    folder: Path, *, size_px: int, slots: int, bundle: Path, trusted: Path, engine: str, threads: int
) -> Path:
    """A station.toml for one camera whose whole frame is the view."""
    recipe = {"name": "bench", "version": 1, "id": 1, "views": [{"name": "v0"}], "default_limit": {}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    path = folder / f"{engine}-{size_px}.toml"
    path.write_text(
        f"""
[station]
name = "bench"
data_dir = "data-{engine}-{size_px}"
recipe = "recipe.json"
bundle = "{bundle}"
trusted = ["{trusted}"]
[line]
pulses_per_mm = 10
min_pitch_mm = 50
max_speed_mm_s = 500
travel_mm = 30000
gate_window_mm = 60
deadline_ms = {_DEADLINE_NS / 1e6}
[engine]
kind = "{engine}"
threads = {threads}
hang_ms = 10000
[records]
pass_share = 0.0
[[camera]]
serial = "bench"
width_px = {size_px}
height_px = {size_px}
slots = {slots}
"""
    )
    return path


class Feeder:
    """Keeps a ring full (or paced) and counts verdicts."""

    def __init__(
        self, process: subprocess.Popen[bytes], row: Row, ring: Ring, gate: Link, camera: Link
    ) -> None:
        self._process = process
        self.row = row
        self._ring = ring
        self._gate = gate
        self._camera = camera
        self._heard = select.poll()  # one message a call: lighter than reading until there is none
        self._heard.register(gate, select.POLLIN)
        self._ordinal = 0
        self._size_px = 0

    def load(self, pictures: np.ndarray) -> None:
        """Write pictures (n, size, size) into the slots, in turn; once."""
        self._size_px = pictures.shape[1]
        for slot in range(self._ring.slots):
            self._ring.pixels(slot)[: pictures[0].size] = pictures[slot % len(pictures)].ravel()

    def run(self, seconds: float, *, rate_hz: float | None = None, pause_s: float = 0.0) -> Fed:
        """Feed for so long; without a rate, as fast as verdicts free the slots.

        pause_s: sleep so long between two looks for verdicts, instead of waking for each.
        """
        outcomes: dict[str, int] = {}
        cpu_s, own_s, started_s = self.cpu_s(), time.process_time(), time.monotonic()
        sent = received = 0
        now_s = started_s
        while True:
            over = now_s - started_s >= seconds
            if over and received == sent:
                break
            room = self._ring.slots - (sent - received)
            allowed = room if rate_hz is None else int((now_s - started_s) * rate_hz) + 1 - sent
            for _ in range(0 if over else allowed):
                if not self._send():
                    break
                sent += 1
            due_s = 0.5 if rate_hz is None or over else max(0.0, started_s + sent / rate_hz - time.monotonic())
            if self._heard.poll(due_s * 1e3):
                while True:
                    outcome = self._receive()
                    if outcome is not None:
                        received += 1
                        outcomes[outcome] = outcomes.get(outcome, 0) + 1
                    if not pause_s or not self._heard.poll(0):
                        break
            else:
                assert self._process.poll() is None, "the inspector ended"
            if pause_s:
                time.sleep(pause_s)
            now_s = time.monotonic()
        elapsed_s = time.monotonic() - started_s
        assert outcomes.keys() <= {Outcome.PASS.name, Outcome.REJECT.name}, f"not inspected: {outcomes}"
        return Fed(
            parts=received,
            seconds=elapsed_s,
            inspector_cpu_s=self.cpu_s() - cpu_s,
            feeder_cpu_s=time.process_time() - own_s,
            outcomes=outcomes,
        )

    def _receive(self) -> str | None:
        """Read one message; the outcome's name, where it is a verdict."""
        message = self._gate.receive()
        if not isinstance(message, PartJudged):
            return None
        self._gate.send(PartClosed(ordinal=message.ordinal))
        return message.verdict.outcome.name

    def _send(self) -> bool:
        slot = self._ring.acquire()
        if slot is None:
            return False
        self._ordinal += 1
        now_ns = time.monotonic_ns()
        encoder = self._ordinal * _PULSES_A_PART % 2**32
        part = PartRef(
            ordinal=Ordinal(self._ordinal),
            epoch=Epoch(1),
            seq=Seq(self._ordinal % 65535 + 1),
            encoder_pulses=encoder,
            trigger_ns=now_ns,
            deadline_ns=now_ns + _DEADLINE_NS,
        )
        frame = FrameRef(
            camera=0,
            slot=slot,
            generation=self._ring.publish(slot),
            frame_id=self._ordinal,
            encoder_pulses=encoder,
            exposure_ns=now_ns,
            ready_ns=now_ns,
            width_px=self._size_px,
            height_px=self._size_px,
            pixel_format=code_of("Mono8"),
        )
        assert self._gate.send(PartTriggered(part=part))
        assert self._camera.send(FrameReady(frame=frame))
        return True

    def cpu_s(self) -> float:
        """CPU time of all threads of the inspector, from the scheduler's own nanosecond account."""
        total = 0
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    @property
    def pid(self) -> int:
        """The inspector's process id."""
        return self._process.pid


@contextmanager
def fed_inspector(
    config_path: Path, *, program: Sequence[str] = ("inspection.inspector",)
) -> Iterator[tuple[Feeder, StationConfig]]:
    """A ready inspector and its feeder; everything taken down afterwards.

    program: the inspector's module and its first words.
    """
    config = load_config(config_path)
    camera = config.camera[0]
    shutil.rmtree(config.shm_dir, ignore_errors=True)
    config.shm_dir.mkdir(parents=True)
    board = Board.create(config.board_path, config.board_rows())
    ring = Ring.create(config.ring_path(camera.serial), camera.slots, camera.width_px * camera.height_px)
    pairs = {name: link_pair() for name in ("gate", "camera0")}
    theirs = {name: end for name, (_, end) in pairs.items()}
    ours = {name: Link(end) for name, (end, _) in pairs.items()}
    links = ",".join(f"{name}={end.fileno()}" for name, end in theirs.items())
    process = subprocess.Popen(
        [sys.executable, "-m", *program, "--config", str(config_path), "--links", links],
        pass_fds=[end.fileno() for end in theirs.values()],
        env=os.environ | {"OMP_NUM_THREADS": str(config.engine.threads)},
    )
    try:
        row = board.row("inspector")
        end_s = time.monotonic() + _READY_S
        while row.state != ProcessState.READY:
            assert process.poll() is None, f"the inspector ended with {process.returncode}"
            assert time.monotonic() < end_s, "the inspector does not become ready"
            time.sleep(0.01)
        yield Feeder(process, row, ring, ours["gate"], ours["camera0"]), config
    finally:
        process.terminate()
        process.wait(20)
        for end in (*ours.values(), *theirs.values()):
            end.close()
        ring.close()
        board.close()
        shutil.rmtree(config.shm_dir, ignore_errors=True)
