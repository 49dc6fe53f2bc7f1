# SPDX-License-Identifier: AGPL-3.0-or-later
"""Kill -9 of station processes on a running line, one after the other; suite and soak run the same code."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import dataclass

from inspection.board import ProcessState
from inspection.twin.line import BoardReading, SimulatedLine, kill_process
from inspection.types import StationState

PATIENCE_S = {"supervisor": 20.0, "inspector": 20.0}
PATIENCE_OTHERS_S = 10.0
_YARDSTICK = "import cv2, fastapi, harvesters.core, onnxruntime, sqlalchemy"
_YARDSTICK_S = 2.0  # what importing these takes on two cores that have nothing else to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill: whom, and how long until the line was armed again with that process ready. None: never.

    `slowness`: how many times slower than an idle box of two cores this one was just then; restarting is mostly
    importing, and other work on the machine is no fault of the station.
    """

    role: str
    back_s: float | None
    slowness: float

    @property
    def in_time(self) -> bool:
        limit_s = PATIENCE_S.get(self.role, PATIENCE_OTHERS_S) * self.slowness
        return self.back_s is not None and self.back_s <= limit_s


def slowness() -> float:
    """At least 1: measured, by starting a process like those of the station."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", _YARDSTICK], check=True)
    return max(1.0, (time.monotonic() - began) / _YARDSTICK_S)


def is_whole(line: SimulatedLine) -> BoardReading | None:
    """The board when every process is ready, the station executes and the PLC has armed it; else None."""
    reading = line.read_board()
    if reading is None or any(s is not ProcessState.READY for s in reading.states.values()):
        return None
    if reading.gate["station_state"] != StationState.CONTINUOUS_EXECUTION:
        return None
    plc, world = line.plc_status(), line.world_status()
    return reading if plc["phase"] == "armed" and all(world["acquiring"]) else None


def kill_one(line: SimulatedLine, role: str) -> Kill:
    """Kill one process by its role and wait until the line is whole again."""
    slow = slowness()
    before = line.read_board()
    assert before is not None, "no board before the kill"
    killed_at = time.monotonic()
    kill_process(before.pids[role])

    def back() -> bool:
        reading = is_whole(line)
        return reading is not None and reading.pids[role] != before.pids[role]

    came = line.run(40.0 * slow, back)
    return Kill(role=role, back_s=round(time.monotonic() - killed_at, 2) if came else None, slowness=slow)


def kill_many(line: SimulatedLine, count: int, seed: int, pause_s: float = 0.5) -> list[Kill]:
    """Kill `count` processes at random, each kind once before any comes again; stops at the first not back."""
    chance = random.Random(seed)
    kills: list[Kill] = []
    waiting: list[str] = []
    while len(kills) < count:
        reading = line.read_board()
        assert reading is not None
        if not waiting:
            waiting = sorted({role.partition(":")[0] for role in reading.pids})
            chance.shuffle(waiting)
        kind = waiting.pop()
        role = chance.choice(sorted(role for role in reading.pids if role.partition(":")[0] == kind))
        kills.append(kill_one(line, role))
        if kills[-1].back_s is None:
            break
        line.run(pause_s + chance.random())
    return kills
