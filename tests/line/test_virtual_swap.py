# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bundles swapped every few parts on the virtual line: nothing is lost, mixed or stamped wrongly."""

from __future__ import annotations

import pytest

from inspection.tracker import Tracker
from inspection.types import Reason
from tests.line.swapping_line import BROKEN_SWAPS, SwappingLine
from tests.line.test_virtual_line import TROUBLES, check
from tests.line.virtual_line import Trouble


@pytest.mark.parametrize("every_ms", [90.0, 400.0, 2500.0])
def test_swaps_on_a_busy_line_lose_no_part_and_mix_no_views(every_ms: float) -> None:
    line = SwappingLine(parts=600, seed=3, every_ms=every_ms)
    line.run()
    bins = check(line)
    assert bins["not_inspected"] == bins["untracked"] == 0
    assert line.bundle_faults() == []
    assert line.swaps > 5


@pytest.mark.parametrize("name", ["pictures", "triggers", "disk", "cable", "processes", "everything"])
def test_no_trouble_together_with_a_swap_passes_a_wrong_part_or_a_wrong_stamp(name: str) -> None:
    line = SwappingLine(parts=700, seed=11, trouble=TROUBLES[name], every_ms=300.0)
    line.run()
    bins = check(line)
    faults = [f for f in line.bundle_faults() if "distrusts" not in f]
    assert faults == []
    assert bins["pass"] > 200
    distrusted = sum(Reason.BUNDLE_CHANGED in r.reasons for r in line.verdicts().values())
    assert distrusted < 0.02 * line.parts  # only around a death of gate or inspector
    assert line.swaps > 5


@pytest.mark.parametrize("name", BROKEN_SWAPS)
def test_every_inspector_that_swaps_wrongly_is_caught(name: str) -> None:
    line = BROKEN_SWAPS[name](parts=400, seed=6, every_ms=300.0)
    line.run()
    assert line.bundle_faults() != []


def test_a_gate_that_does_not_look_at_the_stamp_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong stamp then reaches the journal, and the auditor sees it there."""
    distrust = Tracker._distrust

    def blind(self: Tracker, part: object, judged: object) -> Reason | None:
        reason = distrust(self, part, judged)  # type: ignore[arg-type]
        return None if reason is Reason.BUNDLE_CHANGED else reason

    monkeypatch.setattr(Tracker, "_distrust", blind)
    line = BROKEN_SWAPS["StampsTheOldHash"](parts=300, seed=6, every_ms=300.0)
    line.run()
    assert any("stamped with" in fault for fault in line.bundle_faults())


def test_a_dropped_picture_costs_its_part_only_whichever_engine_it_was_for() -> None:
    trouble = Trouble(drop_frames=0.05)
    plain = SwappingLine(parts=600, seed=8, trouble=trouble, every_ms=1e9)
    swapped = SwappingLine(parts=600, seed=8, trouble=trouble, every_ms=200.0)
    plain.run()
    swapped.run()
    assert check(plain) == check(swapped)
    assert swapped.swaps > 10
