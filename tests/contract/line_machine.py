# SPDX-License-Identifier: AGPL-3.0-or-later
"""What may happen on a line, as hypothesis rules; `line_machine` makes the machine for one code bundle."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inspection.types import Outcome, Reason
from tests.contract.code import Code
from tests.contract.line import DEADLINE_MS, MIN_PITCH, RECIPES, WINDOW, Line
from tests.contract.line_checks import verify_fates
from tests.contract.pictures import BAND_MS, FIRE_LIMIT_MS, MS, Taken

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
    "earliest instant": {"taken": (Taken("earliest", -BAND_MS * MS), Taken())},
    "latest instant": {"taken": (Taken(), Taken("latest", BAND_MS * MS))},
    "picture from too early": {"taken": (Taken(), Taken("earliest", -BAND_MS * MS - 1))},
    "picture from too late": {"taken": (Taken("latest", BAND_MS * MS + 1), Taken())},
    "neighbour's picture under this part's count": {"taken": (Taken("edge", -60 * MS),) * 2},
    "picture that came late, unstamped": {"taken": (Taken("latest", 60 * MS, stamped=False), Taken())},
    "picture that came before, unstamped": {
        "taken": (Taken("earliest", -BAND_MS * MS - 1, stamped=False), Taken())
    },
    "last instant at which a part may be fired at": {
        "taken": (Taken("earliest", FIRE_LIMIT_MS * MS - 1), Taken())
    },
    "fired too late": {"taken": (Taken("earliest", FIRE_LIMIT_MS * MS), Taken())},
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

    @initialize(
        encoder=ENCODER_STARTS,
        newest=FIRST_NUMBERS,
        room=st.sampled_from([3, 15]),
        fired=st.sampled_from([frozenset(), frozenset(), frozenset({0})]),
    )
    def start(self, encoder: int, newest: int, room: int, fired: frozenset[int]) -> None:
        self.line = Line(self.code, encoder_start=encoder, newest=newest, most_in_flight=room, fired=fired)
        self.line.arm()

    # --- parts

    @rule(
        parts=st.lists(
            st.tuples(st.integers(MIN_PITCH - 2, 45), OUTCOMES, st.integers(0, 30)),
            min_size=1,
            max_size=5,
        ),
        sync_each=st.booleans(),
    )
    def parts_go_through(self, parts: list[tuple[int, Outcome, int]], sync_each: bool) -> None:
        self._be_armed()
        for step, outcome, think_ms in parts:
            self.line.run(step)
            self.line.trigger()
            self.line.read_triggers()
            self.line.run(think_ms, speed=0)
            self.line.judge(len(self.line.lives()) - 1, outcome)
            if sync_each:
                self.line.sync()
        self.line.sync()

    @rule(held_ms=st.sampled_from([4, 5, 6, 50, 89, 90, 91, 150, 190]), seen_ms=st.integers(0, 20))
    def trigger_lies_in_its_socket_while_the_loop_stands_still(self, held_ms: int, seen_ms: int) -> None:
        """The part is as old as it may be: its deadline, and the time to photograph it, have run meanwhile."""
        self._be_armed()
        self.line.run(MIN_PITCH)
        self.line.trigger()
        self.line.run(held_ms, speed=0, frozen=True)
        self.line.read_triggers()
        self.line.run(seen_ms, speed=0)
        self.line.judge(self._index(0), Outcome.PASS)
        self.line.sync()

    @rule(step=st.integers(MIN_PITCH, 45), outcome=OUTCOMES)
    def part_is_judged_and_its_record_waits(self, step: int, outcome: Outcome) -> None:
        self._be_armed()
        self.line.run(step)
        self.line.trigger()
        self.line.read_triggers()
        self.line.judge(len(self.line.lives()) - 1, outcome)

    @rule(outcomes=st.lists(OUTCOMES, min_size=2, max_size=3), then=OUTCOMES, gap=st.sampled_from([-1, 0, 1]))
    def parts_wait_behind_an_open_one(self, outcomes: list[Outcome], then: Outcome, gap: int) -> None:
        """Later parts are decided first, one of them twice; their records reach the disk before the first."""
        self._be_armed()
        self.line.run(DEADLINE_MS)  # nothing older is open
        for index in range(1 + len(outcomes)):
            self.line.run(MIN_PITCH + (gap if index == len(outcomes) else 1))
            self.line.trigger()
        self.line.read_triggers()
        for back, outcome in enumerate(outcomes):
            self.line.judge(self._index(back), outcome)
        self.line.judge(self._index(0), then)
        self.line.sync()
        self.line.judge(self._index(len(outcomes)), Outcome.PASS)
        self.line.sync()

    @rule(
        step=st.sampled_from([0, 1, MIN_PITCH - 1, MIN_PITCH, MIN_PITCH, MIN_PITCH + 1, 60]),
        write_slot=st.sampled_from([True, True, True, False]),
    )
    def part_comes(self, step: int, write_slot: bool) -> None:
        self.line.run(step)
        self.line.trigger(write_slot=write_slot)

    @rule(steps=st.lists(st.integers(18, 25), min_size=2, max_size=5), skip=st.integers(0, 12))
    def parts_come_between_two_polls(self, steps: list[int], skip: int) -> None:
        for index, step in enumerate(steps):
            self.line.run(step, frozen=True)
            self.line.trigger(write_slot=index != skip)

    # --- verdicts

    @precondition(lambda self: self.line.lives())
    @rule(back=st.integers(0, 5), outcome=OUTCOMES)
    def verdict_comes(self, back: int, outcome: Outcome) -> None:
        self.line.judge(self._index(back), outcome)

    @rule(flaws=st.lists(st.sampled_from(sorted(FLAWS)), min_size=1, max_size=3), outcome=OUTCOMES)
    def flawed_verdicts_come(self, flaws: list[str], outcome: Outcome) -> None:
        self._be_armed()
        for flaw in flaws:
            self.line.run(MIN_PITCH)
            self.line.trigger()
            self.line.read_triggers()
            self.line.judge(self._index(0), outcome, **FLAWS[flaw])
        self.line.sync()

    @rule(most=st.sampled_from([1, 1000]))
    def disk_catches_up(self, most: int) -> None:
        self.line.sync(most)

    @precondition(lambda self: self.line.lives())
    @rule(
        back=st.integers(0, 2),
        off_ns=st.sampled_from([-1, 0, 0, 1]),
        deed=st.sampled_from(["judge", "sync", "both", "tick"]),
        outcome=st.sampled_from([Outcome.PASS, Outcome.REJECT]),
    )
    def something_happens_at_the_deadline(self, back: int, off_ns: int, deed: str, outcome: Outcome) -> None:
        index = self._index(back)
        self.line.run_until(self.line.lives()[index].deadline_ns + off_ns)
        if deed in ("judge", "both"):
            self.line.judge(index, outcome)
        if deed in ("sync", "both"):
            self.line.sync()
        if deed == "tick":
            self.line.tick()

    @rule(off_ns=st.sampled_from([-1, 0, 1]), outcome=OUTCOMES, on_disk=st.booleans())
    def only_verdict_comes_at_the_deadline(self, off_ns: int, outcome: Outcome, on_disk: bool) -> None:
        self._be_armed()
        self.line.run(DEADLINE_MS)
        self.line.trigger()
        self.line.read_triggers()
        self.line.run_until(self.line.lives()[-1].deadline_ns + off_ns)
        self.line.judge(self._index(0), outcome)
        if on_disk:
            self.line.sync()

    # --- time and trouble

    @rule(ms=st.sampled_from([1, 5, 20, DEADLINE_MS]), speed=st.sampled_from([0, 1, 1]))
    def time_passes(self, ms: int, speed: int) -> None:
        self.line.run(ms, speed=speed)

    @rule(
        trouble=st.one_of(
            st.tuples(st.just("something_fails"), FAULTS),
            st.tuples(st.just("station_freezes"), st.sampled_from([30, 90, 150, 300])),
            st.tuples(st.just("station_is_killed"), st.integers(0, 3)),
            st.tuples(st.just("encoder_slips"), st.sampled_from([-400, -30, -21, -1, 5, 5000])),
            st.tuples(st.just("recipe_changes"), st.none()),
            st.tuples(st.just("plc_takes_arm_back"), st.none()),
        )
    )
    def trouble(self, trouble: tuple[str, Any]) -> None:
        kind, argument = trouble
        getattr(self, "_" + kind)(argument)

    @rule(skipped=st.sampled_from([7, 8, 13, 14, 15, 15, 16]))
    def numbers_are_skipped(self, skipped: int) -> None:
        for _ in range(skipped):
            self.line.position += MIN_PITCH
            self.line.trigger(write_slot=False)
        self.line.read_triggers()

    @rule(jump=st.sampled_from([-40, -3, -2, -1, 15, 16, 500]), armed_at_once=st.booleans())
    def trigger_number_jumps(self, jump: int, armed_at_once: bool) -> None:
        self.line.read_triggers()  # a PLC that takes back numbers which nobody has read yet is out of contract
        self.line.plc.newest = max(0, self.line.plc.newest + jump)
        self.line.write_plc()
        self.line.read_triggers()
        if armed_at_once:
            self._be_armed()

    @rule(slip=st.sampled_from([-400, -100]))
    def encoder_slips_under_open_parts(self, slip: int) -> None:
        self._be_armed()
        for step in (25, 25, 25):
            self.line.run(step)
            self.line.trigger()
        self.line.slip += slip
        self.part_comes(25, True)
        self.line.read_triggers()

    @rule(step=st.integers(0, 30), slip=st.sampled_from([0, 0, -500]))
    def line_is_armed_anew_between_two_parts(self, step: int, slip: int) -> None:
        self._be_armed()
        self.parts_go_through([(25, Outcome.PASS, 5)], sync_each=True)
        self.line.disarm(Reason.PLC_LOST)
        self.line.arm()
        self.line.slip += slip
        self.parts_go_through([(step, Outcome.PASS, 5)], sync_each=True)

    def _something_fails(self, reason: Reason) -> None:
        self.line.fault(reason)

    def _station_freezes(self, ms: int) -> None:
        self.line.run(ms, frozen=True)
        if ms >= 200:  # the PLC saw the heartbeat stand still and diverts what it has
            self.line.plc.drop()
            self.line.read_triggers()
            self.line.disarm(Reason.PLC_LOST)

    def _station_is_killed(self, triggers_meanwhile: int) -> None:
        self.line.restart()
        for _ in range(triggers_meanwhile):
            self.line.position += 30
            self.line.trigger()

    def _encoder_slips(self, slip: int) -> None:
        self.line.slip += slip

    def _recipe_changes(self, _: None) -> None:
        self.line.change_recipe()

    def _plc_takes_arm_back(self, _: None) -> None:
        self.line.plc.drop()
        self.line.disarm(Reason.PLC_LOST)

    @precondition(lambda self: not self.line.station.armed)
    @rule()
    def line_is_armed(self) -> None:
        self.line.arm()

    def _be_armed(self) -> None:
        """What was triggered so far is read first: it may be a jump, and then the line has to re-arm."""
        self.line.read_triggers()
        if not self.line.station.armed:
            self.line.arm()

    def _index(self, back: int) -> int:
        return max(0, len(self.line.lives()) - 1 - back)

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
