# SPDX-License-Identifier: AGPL-3.0-or-later
"""What may happen on a line, as hypothesis rules; `line_machine(code)` builds the machine for one code bundle."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inspection.types import Outcome, Reason
from tests.contract.code import Code
from tests.contract.line import DEADLINE_MS, MIN_PITCH, MS, RECIPES, WINDOW, Line, verify_fates

OUTCOMES = st.sampled_from([Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.REJECT, Outcome.NOT_INSPECTED])
ENCODER_STARTS = st.sampled_from([0, 2**32 - 1, 2**32 - 30, 2**32 - 200, 2**31 - 60, 2**32 - 900])
FIRST_NUMBERS = st.sampled_from([0, 1, 100, 65519, 65530, 65534, 65535, 65535 * 2 - 5])
FAULTS = st.sampled_from([Reason.CAMERA_LOST, Reason.ENGINE_HUNG, Reason.INSPECTOR_LOST, Reason.JOURNAL_FAULT])
# What can be wrong with a verdict, as arguments of Line.judge.
FLAWS: dict[str, dict[str, Any]] = {
    "edge": {"offsets": (WINDOW, -WINDOW)},
    "neighbour's picture": {"offsets": (0, WINDOW + 1)},
    "picture of a whole pitch before": {"offsets": (-MIN_PITCH, -MIN_PITCH)},
    "picture from half a roll-over away": {"offsets": (0, 2**31)},
    "picture without encoder": {"offsets": (None, 0)},
    "view missing": {"offsets": (0,), "cameras": (0,)},
    "view twice": {"cameras": (1, 1)},
    "view of a third camera": {"offsets": (0, 0, 0), "cameras": (0, 1, 2)},
    "another recipe": {"recipe": RECIPES[1]},
    "another epoch": {"epoch": 65535},
    "another number": {"seq_off": 1},
    "another part": {"ordinal_off": 1},
    "a part that never was": {"ordinal_off": 500},
}


class LineMachine(RuleBasedStateMachine):
    code: Code

    @initialize(encoder=ENCODER_STARTS, newest=FIRST_NUMBERS, room=st.sampled_from([3, 15]))
    def start(self, encoder: int, newest: int, room: int) -> None:
        self.line = Line(self.code, encoder_start=encoder, newest=newest, most_in_flight=room)
        self.line.arm()

    # --- parts

    @precondition(lambda self: self.line.station.armed)
    @rule(step=st.integers(MIN_PITCH, 45), outcome=OUTCOMES, think_ms=st.integers(0, 30), on_disk=st.booleans())
    def part_is_judged(self, step: int, outcome: Outcome, think_ms: int, on_disk: bool) -> None:
        self.line.run(step)
        self.line.trigger()
        self.line.read_triggers()
        self.line.run(think_ms, speed=0)
        if self.line.lives():
            self.line.judge(len(self.line.lives()) - 1, outcome)
        if on_disk:
            self.line.sync()

    @rule(step=st.sampled_from([0, 1, MIN_PITCH - 1, MIN_PITCH, MIN_PITCH + 1, 60]), write_slot=st.booleans())
    def part_comes(self, step: int, write_slot: bool) -> None:
        self.line.run(step)
        self.line.trigger(write_slot=write_slot)

    @rule(steps=st.lists(st.integers(15, 30), min_size=2, max_size=5), skip=st.integers(0, 7))
    def parts_come_between_two_polls(self, steps: list[int], skip: int) -> None:
        for index, step in enumerate(steps):
            self.line.run(step, frozen=True)
            self.line.trigger(write_slot=index != skip)

    @rule(count=st.sampled_from([7, 8, 13, 14, 15, 16]))
    def numbers_are_skipped(self, count: int) -> None:
        self.line.run(25)
        for _ in range(count):
            self.line.position += MIN_PITCH
            self.line.trigger(write_slot=False)
        self.line.read_triggers()

    # --- verdicts

    @precondition(lambda self: self.line.lives())
    @rule(back=st.integers(0, 6), outcome=OUTCOMES, flaw=st.sampled_from([None, None, *FLAWS]))
    def verdict_comes(self, back: int, outcome: Outcome, flaw: str | None) -> None:
        index = max(0, len(self.line.lives()) - 1 - back)
        self.line.judge(index, outcome, **(FLAWS[flaw] if flaw else {}))

    @rule(most=st.sampled_from([1, 1000]))
    def disk_catches_up(self, most: int) -> None:
        self.line.sync(most)

    @precondition(lambda self: self.line.lives())
    @rule(
        back=st.integers(0, 3),
        off_ns=st.sampled_from([-1, 0, 0, 1]),
        deed=st.sampled_from(["judge", "sync", "both", "tick"]),
    )
    def something_happens_at_the_deadline(self, back: int, off_ns: int, deed: str) -> None:
        index = max(0, len(self.line.lives()) - 1 - back)
        self.line.run_until(self.line.lives()[index].deadline_ns + off_ns)
        if deed in ("judge", "both"):
            self.line.judge(index, Outcome.PASS)
        if deed in ("sync", "both"):
            self.line.sync()
        if deed == "tick":
            self.line.tick()

    # --- time

    @rule(ms=st.sampled_from([1, 5, 20, DEADLINE_MS]), speed=st.sampled_from([0, 1]))
    def time_passes(self, ms: int, speed: int) -> None:
        self.line.run(ms, speed=speed)

    @rule(ms=st.sampled_from([30, 90, 150, 300]))
    def station_freezes(self, ms: int) -> None:
        self.line.run(ms, frozen=True)
        if ms >= 200:  # the PLC saw the heartbeat stand still and diverts what it has
            self.line.plc.drop()
            self.line.read_triggers()
            self.line.disarm(Reason.PLC_LOST)

    # --- trouble

    @rule(reason=FAULTS)
    def something_fails(self, reason: Reason) -> None:
        self.line.fault(reason)

    @rule()
    def plc_takes_arm_back(self) -> None:
        self.line.plc.drop()
        self.line.disarm(Reason.PLC_LOST)

    @precondition(lambda self: not self.line.station.armed)
    @rule()
    def line_is_armed(self) -> None:
        self.line.arm()

    @rule(dead_for=st.integers(0, 3))
    def station_is_killed(self, dead_for: int) -> None:
        self.line.restart()
        for _ in range(dead_for):
            self.line.position += 30
            self.line.trigger()

    @rule(jump=st.sampled_from([-40, -3, -1, 15, 16, 500]))
    def trigger_number_jumps(self, jump: int) -> None:
        plc = self.line.plc
        plc.newest = max(0, plc.newest + jump)
        self.line._write_plc()
        self.line.read_triggers()
        if not self.line.station.armed:
            plc.drop()
            self.line.arm()

    @rule(slip=st.sampled_from([-400, -30, -21, -1, 5, 5000]))
    def encoder_slips(self, slip: int) -> None:
        self.line.slip += slip

    @rule()
    def recipe_changes(self) -> None:
        self.line.change_recipe()

    # --- what must hold

    @invariant()
    def belt_is_right(self) -> None:
        if hasattr(self, "line"):
            self.line.verify_belt()

    def teardown(self) -> None:
        if hasattr(self, "line"):
            self.line.run(2 * DEADLINE_MS)
            self.line.sync()
            self.line.run(2 * DEADLINE_MS)
            station = self.line.station
            assert len(station.published) == len(station.history.lives), "a trigger without an outcome"
            verify_fates(station)
            self.line.verify_belt()


def line_machine(code: Code) -> type[LineMachine]:
    return type("LineMachineOfThisCode", (LineMachine,), {"code": code})


def bounded(max_examples: int, *, shrink: bool) -> settings:
    """Same examples on every machine and every day."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink) if shrink else (Phase.explicit, Phase.generate)
    return settings(
        max_examples=max_examples,
        stateful_step_count=35,
        derandomize=True,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
