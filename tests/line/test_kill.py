# SPDX-License-Identifier: AGPL-3.0-or-later
"""No kill of a station process lets a wrong part through, loses a count or keeps the line down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inspection.journal_reader import verify
from inspection.twin.audit import audit
from inspection.twin.line import SimulatedLine
from tests.line.killing import Kill, kill_many
from tests.line.toy_bundle import toy_options

pytestmark = pytest.mark.serial


def line_under_fire(folder: Path, kills: int, seed: int) -> tuple[list[Kill], dict[str, Any]]:
    options = toy_options(folder, rate_parts_per_s=8.0, seed=seed)
    with SimulatedLine(options, folder / "data") as line:
        line.start()
        line.run(2.0)
        done = kill_many(line, kills, seed)
        line.finish()
        assert line.config is not None
        verify(line.config.journal_dir)
        return done, audit(line)


def check(kills: list[Kill], wanted: int, report: dict[str, Any]) -> None:
    print(
        *(f"{k.role} {k.back_s} s (x {k.slowness:.1f})" for k in kills), sep="\n"
    )  # shown when it fails, and by -s
    assert report["truth"]["false_pass"] == 0
    assert report["truth"]["late_pass"] == 0
    assert report["truth"]["mispaired"] == 0
    assert report["why_not"] == []
    assert len(kills) == wanted
    assert [k for k in kills if not k.in_time] == []
    assert report["pass"] > 10
    assert len(report["epochs"]) >= 1


@pytest.mark.timeout(900)
def test_five_kills_pass_no_part_and_lose_no_count(tmp_path: Path) -> None:
    kills, report = line_under_fire(tmp_path, 5, seed=2)
    check(kills, 5, report)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_fifty_kills_pass_no_part_and_lose_no_count(tmp_path: Path) -> None:
    kills, report = line_under_fire(tmp_path, 50, seed=20)
    check(kills, 50, report)
