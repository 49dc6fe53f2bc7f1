# SPDX-License-Identifier: AGPL-3.0-or-later
"""Notes of a report: a bundle that was not made for the parts, a machine that did not keep up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspection.twin.report_notes import fit_notes, pace_notes
from inspection.twin.source import Photograph
from inspection.types import Box

MARK = Box(x0_px=1, y0_px=2, x1_px=4, y1_px=6)


def report(**reasons: int) -> dict[str, Any]:
    return {
        "triggers": 1000,
        "rate": 60.0,
        "not_inspected_by_reason": reasons,
        "world": {"world_late": 0},
        "bins": {"pass": 1000},
    }


def test_a_bundle_for_other_parts_is_said_so() -> None:
    (told,) = fit_notes(["open", "short"], None)
    assert "open, short" in told
    assert "scratch" in told
    assert fit_notes(["scratch", "other"], None) == []


def test_photographs_are_compared_by_their_marks() -> None:
    marked = [Photograph(path=Path("a.png"), defective=True, marks=(("short", MARK),))]
    bare = [Photograph(path=Path("a.png"), defective=True)]
    assert fit_notes(["open", "short"], marked) == []
    assert "short" in fit_notes(["scratch"], marked)[0]
    assert fit_notes(["scratch"], bare) == []


def test_a_machine_that_did_not_keep_up_is_said_so() -> None:
    (told,) = pace_notes(report(shed=100, deadline_missed=20, trigger_missed=50))
    assert "did not keep up with 60 parts a second: 120 of 1000" in told
    assert pace_notes(report(shed=2, deadline_missed=3, trigger_missed=50)) == []


def test_parts_that_nobody_drew_or_numbered_are_said_so() -> None:
    late = {**report(), "world": {"world_late": 4}, "bins": {"pass": 990, "untracked": 6}}
    drawn, numbered = pace_notes(late)
    assert "4 parts had no picture" in drawn
    assert "6 parts came by while the line was not armed" in numbered
