# SPDX-License-Identifier: AGPL-3.0-or-later
"""Thousands of parts in seconds: no trouble of camera, engine, disk, cable or process passes a wrong part."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from inspection.twin import contract as c
from inspection.types import Outcome
from tests.line.broken_stations import BROKEN
from tests.line.virtual_line import DEFECTIVE_EVERY, Trouble, VirtualLine

TROUBLES: dict[str, Trouble] = {
    "none": Trouble(),
    "pictures": Trouble(drop_frames=0.02, late_frames=0.01, double_frames=0.01),
    "triggers": Trouble(skip_triggers=0.03),
    "engine": Trouble(slow_engine=0.03, broken_engine=0.02),
    "disk": Trouble(slow_disk=0.02),
    "cable": Trouble(cable_cuts=0.01),
    "processes": Trouble(inspector_deaths=0.004, gate_deaths=0.003, gate_freezes=0.005),
    "everything": Trouble(
        drop_frames=0.01, late_frames=0.005, double_frames=0.005, skip_triggers=0.01, slow_engine=0.01,
        broken_engine=0.01, slow_disk=0.01, cable_cuts=0.004, inspector_deaths=0.002, gate_deaths=0.002,
        gate_freezes=0.003,
    ),
}  # fmt: skip


def check(line: VirtualLine) -> Counter[str]:
    truth = line.truth()
    verdicts = line.verdicts()
    assert len(truth.parts) == line.parts
    assert truth.false_pass == []
    assert truth.late_pass == []
    assert not any(truth.breaches.values()), truth.breaches
    assert line.mispaired() == []
    bins = Counter(f["bin"] for f in truth.parts)
    for fact in truth.parts:
        record: Any = verdicts.get((fact["epoch"], fact["seq"]))
        if fact["bin"] == "pass":
            assert fact["number"] % DEFECTIVE_EVERY, f"defective part {fact['number']} passed"
            assert fact["number"] not in line.lost_pictures
            assert record is not None
            assert record.outcome is Outcome.PASS
        if fact["number"] in line.lost_pictures or not fact["told"]:
            assert record is None or record.outcome is Outcome.NOT_INSPECTED, fact
            assert fact["verdict"] in (0, c.VERDICT_NOT_INSPECTED), fact
    return bins


@pytest.mark.parametrize("name", TROUBLES)
def test_no_trouble_lets_a_wrong_part_through(name: str) -> None:
    line = VirtualLine(parts=1500, seed=len(name), trouble=TROUBLES[name])
    line.run()
    bins = check(line)
    if name == "none":
        assert bins["not_inspected"] == bins["untracked"] == 0
        assert bins["reject"] == -(-1500 // DEFECTIVE_EVERY)
    else:
        assert bins["not_inspected"] + bins["untracked"] > 10, "no trouble came"
        assert bins["pass"] > 500, "the line is not supposed to reject everything"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_ten_times_five_thousand_parts_in_every_trouble(seed: int) -> None:
    line = VirtualLine(parts=5000, seed=100 + seed, trouble=TROUBLES["everything"])
    line.run()
    check(line)


@pytest.mark.parametrize("name", BROKEN)
def test_every_seeded_bug_of_a_station_is_caught(name: str) -> None:
    trouble = Trouble(drop_frames=0.03, skip_triggers=0.03)
    line = BROKEN[name](parts=400, seed=6, trouble=trouble)
    line.run()
    with pytest.raises(AssertionError):
        check(line)


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [VirtualLine(parts=300, seed=9, trouble=TROUBLES["everything"]) for _ in range(2)]
    for line in runs:
        line.run()
    assert runs[0].facts == runs[1].facts
