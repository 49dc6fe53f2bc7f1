# SPDX-License-Identifier: AGPL-3.0-or-later
"""The PLC's program on a virtual clock against a toy station, and its truth against seeded bugs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from inspection.twin import contract as c
from inspection.twin.belt import Belt, BeltPlan
from inspection.twin.soft_plc import Phase, PlcPlan, SoftPlc
from inspection.twin.truth import register_truth
from tests.twin.toy_station import BUGS, ToyStation

MS = 1_000_000
SCAN = 10 * MS


class Line:
    """A belt, a PLC and a toy station on one virtual clock."""

    def __init__(
        self, *, parts: int = 100, rate: float = 10.0, seed: int = 1, bug: str = "", **plan: Any
    ) -> None:
        pitch = 100.0
        belt = Belt(
            BeltPlan(
                seed=seed, rate_parts_per_s=rate, pitch_mm=pitch, min_pitch_mm=60.0,
                travel_mm=rate * pitch * 0.5, pulses_per_mm=20.0,
            )
        )  # fmt: skip
        self.facts: list[dict[str, Any]] = []
        self.belt = belt
        self.plc = SoftPlc(belt, PlcPlan(parts=parts, seed=seed, **plan), self._log)
        self.station: ToyStation | None = ToyStation(4711, bug=bug)
        self.now = 1_000 * MS

    def _log(self, fact: str, **fields: Any) -> None:
        self.facts.append({"fact": fact, **fields})

    def step(self) -> list[int]:
        self.now += SCAN
        words = self.plc.scan(self.now)
        if self.station is None:
            self.plc.lost(self.now, "gone")
        else:
            self.station.write(self.now, words)
            self.plc.received(self.now + MS, self.station.read(self.now + MS))
        return words

    def run_until(self, condition: Any, limit: int = 20_000) -> None:
        for _ in range(limit):
            if condition():
                return
            self.step()
        raise AssertionError("the line never got there")

    def arm_and_start(self) -> None:
        self.run_until(lambda: self.plc.phase is Phase.ARMED)
        self.plc.t0_ns = self.now

    def truth(self) -> Any:
        return register_truth(self.facts, deadline_ns=280 * MS, poll_ns=SCAN, scan_ns=SCAN)

    def bins(self) -> Counter[str]:
        return Counter(f["bin"] for f in self.facts if f["fact"] == "part")


def test_a_healthy_station_gets_every_part_into_its_bin() -> None:
    line = Line(parts=100)
    line.arm_and_start()
    line.run_until(lambda: line.plc.finished)
    assert line.bins() == {"pass": 86, "reject": 14}
    truth = line.truth()
    assert (truth.false_pass, truth.late_pass) == ([], [])
    assert not any(truth.breaches.values())
    assert [p["number"] for p in truth.parts] == list(range(100))


def test_skipped_triggers_use_a_number_and_are_diverted_as_not_inspected() -> None:
    line = Line(parts=300, skip_share=0.05, seed=3)
    line.arm_and_start()
    line.run_until(lambda: line.plc.finished)
    skipped = [f for f in line.facts if f["fact"] == "part" and not f["told"]]
    assert len(skipped) == line.plc.counts.skipped > 3
    assert {f["bin"] for f in skipped} == {"not_inspected"}
    assert line.station is not None
    assert line.station.triggers.count(0) == len(skipped)
    assert len(line.station.triggers) == 300
    assert not any(line.truth().breaches.values())


def test_numbers_wrap_from_65535_to_1() -> None:
    line = Line(parts=60, first_seq=65530)
    line.arm_and_start()
    line.run_until(lambda: line.plc.finished)
    seqs = [f["seq"] for f in line.facts if f["fact"] == "part"]
    assert seqs[:8] == [65530, 65531, 65532, 65533, 65534, 65535, 1, 2]
    assert line.bins()["not_inspected"] == 0
    assert not any(line.truth().breaches.values())


def test_arm_is_raised_only_with_the_epoch_echoed_and_the_station_ready() -> None:
    line = Line()
    assert line.station is not None
    line.station.image[c.IN_STATE] = c.STATE_INITIALIZED
    words = [line.step() for _ in range(50)]
    assert not any(w[c.OUT_CONTROL] & c.CONTROL_ARM for w in words)
    line.station.image[c.IN_STATE] = c.STATE_READY
    words = [line.step() for _ in range(30)]
    raised = next(i for i, w in enumerate(words) if w[c.OUT_CONTROL] & c.CONTROL_ARM)
    assert words[raised][c.OUT_EPOCH_ECHO] == 4711
    assert line.plc.phase is Phase.ARMED


def test_parts_that_pass_an_unarmed_line_are_untracked_and_diverted() -> None:
    line = Line(parts=10)
    assert line.station is not None
    line.station.image[c.IN_STATE] = c.STATE_INITIALIZED
    line.plc.t0_ns = line.now
    line.run_until(lambda: line.plc.finished)
    assert line.bins() == {"untracked": 10}
    assert line.station.triggers == []


def test_a_state_other_than_continuous_lowers_arm_and_the_line_arms_again() -> None:
    line = Line(parts=100)
    line.arm_and_start()
    line.run_until(lambda: line.plc.counts.parts == 20)
    assert line.station is not None
    line.station.image[c.IN_STATE] = c.STATE_INITIALIZED
    line.step()
    assert line.step()[c.OUT_CONTROL] & c.CONTROL_ARM == 0
    line.station.image[c.IN_STATE] = c.STATE_READY
    line.run_until(lambda: line.plc.phase is Phase.ARMED)
    line.run_until(lambda: line.plc.finished)
    assert line.bins()["untracked"] > 0
    assert line.bins()["pass"] > 60


def test_a_frozen_heartbeat_diverts_even_parts_with_a_pass() -> None:
    line = Line(parts=100)
    line.arm_and_start()
    line.run_until(lambda: line.plc.counts.parts == 20)
    assert line.station is not None
    line.station.alive = False
    frozen = line.now
    line.run_until(lambda: line.now - frozen > 1_000 * MS)
    late = [f for f in line.facts if f["fact"] == "part" and f["decided_ns"] > frozen + 280 * MS]
    assert late
    assert {f["bin"] for f in late} <= {"not_inspected", "reject", "untracked"}
    assert {f["disposition"] for f in late if f["verdict"] == c.VERDICT_PASS} <= {c.DIVERTED_BY_GATE}


def test_parts_of_a_station_that_was_restarted_are_diverted() -> None:
    line = Line(parts=100)
    line.arm_and_start()
    line.run_until(lambda: line.plc.counts.parts == 30)
    line.station = None
    for _ in range(3):
        line.step()
    line.station = ToyStation(815)
    restarted = line.now
    line.run_until(lambda: line.plc.finished)
    old = [f for f in line.facts if f["fact"] == "part" and f["epoch"] == 4711 and f["decided_ns"] > restarted]
    assert old
    assert "pass" not in {f["bin"] for f in old}
    assert {f["why"] for f in old if f["verdict"] == c.VERDICT_PASS} <= {"station restarted", "station lost"}
    assert line.truth().false_pass == []
    assert line.bins()["pass"] > 40


def test_a_burst_of_verdicts_is_read_from_the_ring_without_loss() -> None:
    line = Line(parts=200, rate=35.0)
    assert line.station is not None
    line.station.latency_ns, line.station.burst_ns = 10 * MS, 350 * MS
    line.arm_and_start()
    line.run_until(lambda: line.plc.finished)
    reads = {f["verdict_ns"] for f in line.facts if f["fact"] == "part"}
    assert len(reads) < 30
    assert line.bins()["not_inspected"] == 0


@pytest.mark.parametrize("bug", BUGS)
def test_truth_catches_what_a_broken_station_does(bug: str) -> None:
    line = Line(parts=200, bug=bug, skip_share=0.05, seed=5)
    line.arm_and_start()
    line.run_until(lambda: line.plc.finished)
    truth = line.truth()
    assert truth.false_pass == []  # the gate itself never falls for it
    seen = {**truth.breaches, "late_pass": len(truth.late_pass)}
    caught_by = {
        "wrong_slot": "broken_slots", "bad_check": "broken_slots", "next_seq": "unasked",
        "pass_after_reject": "changed_outcome", "pass_for_skipped": "unasked", "late_pass": "late_pass",
    }  # fmt: skip
    if bug == "other_epoch":
        assert line.bins()["not_inspected"] > 20
    else:
        assert seen[caught_by[bug]] > 0


def test_a_pass_that_stood_there_while_the_plc_could_not_read_is_a_late_read_and_no_late_pass() -> None:
    line = Line(parts=60)
    line.arm_and_start()
    line.run_until(lambda: line.plc.counts.parts == 30)
    station, blind_until = line.station, line.now + 390 * MS
    assert station is not None
    while line.now < blind_until:
        line.now += SCAN
        station.write(line.now, line.plc.scan(line.now))
        station.read(line.now)
        line.plc.lost(line.now, "no answer")
    line.run_until(lambda: line.plc.finished)
    truth = line.truth()
    assert truth.late_read
    assert truth.late_pass == truth.false_pass == []


def test_truth_catches_a_gate_that_passes_without_a_verdict() -> None:
    line = Line(parts=50)
    line.arm_and_start()
    line.run_until(lambda: line.plc.finished)
    rejected = next(f for f in line.facts if f["fact"] == "part" and f["bin"] == "reject")
    rejected["bin"] = "pass"
    silent = next(f for f in line.facts if f["fact"] == "slot" and f["words"][2] == c.VERDICT_PASS)
    line.facts.remove(silent)
    assert len(line.truth().false_pass) == 2


def test_a_pass_read_after_the_gate_moved_is_no_excuse() -> None:
    line = Line(parts=50)
    line.arm_and_start()
    line.run_until(lambda: line.plc.finished)
    part = next(f for f in line.facts if f["fact"] == "part" and f["bin"] == "pass")
    part["decided_ns"] = part["verdict_ns"] - 1
    assert line.truth().false_pass == [part["number"]]
