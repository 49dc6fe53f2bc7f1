# SPDX-License-Identifier: AGPL-3.0-or-later
"""One contract over every camera: ours simulated, a stranger's (viky, from the genicam wheel) and the fake.

What a camera's nodes do not permit is skipped; the list of what is skipped is printed and pinned in
pinned.json, so that a clause can not fall silent unnoticed. A missing producer is a failure, never a skip.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from cameras.simulator.build import build
from tests.cameras.contract import clauses, clauses_clock  # noqa: F401 - registers the clauses
from tests.cameras.contract.kit import CLAUSES
from tests.cameras.contract.rigs import RIGS, ROOT

# free-running cameras drop pictures when they are starved of processor time: not beside other tests
pytestmark = pytest.mark.serial

PINNED: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "pinned.json").read_text())


@cache
def _report(rig: str) -> dict[str, dict[str, str]]:
    """Outcome of every clause over one rig, run once in a process of its own."""
    if rig == "linesim":
        build()
    command = [sys.executable, "-m", "tests.cameras.contract.runner", "--rig", rig]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LINESIM_")}
    child = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    report = {line["clause"]: line for line in lines}
    died = {"outcome": "failed", "text": f"the process ended with {child.returncode}: {child.stderr[-2000:]}"}
    return {name: report.get(name, died) for name in CLAUSES}


@pytest.mark.parametrize("name", CLAUSES)
@pytest.mark.parametrize("rig", RIGS)
def test_camera_keeps_the_contract(rig: str, name: str) -> None:
    result = _report(rig)[name]
    if result["outcome"] == "skipped":
        assert PINNED[rig].get(name) == result["text"], "skipped, and not pinned as such"
        pytest.skip(f"{rig} lacks {result['text']}")
    assert result["outcome"] == "passed", result["text"]


@pytest.mark.parametrize("rig", RIGS)
def test_list_of_skipped_clauses_is_the_pinned_one(rig: str, capsys: pytest.CaptureFixture[str]) -> None:
    skipped = {name: r["text"] for name, r in _report(rig).items() if r["outcome"] == "skipped"}
    with capsys.disabled():
        for name, lacking in skipped.items():
            print(f"\ncamera contract: {rig} skips {name}: it lacks {lacking}", end="")
    assert skipped == PINNED[rig]


def test_simulated_camera_skips_nothing_and_the_stranger_runs_most() -> None:
    assert PINNED["linesim"] == {}
    assert len(PINNED["viky"]) < len(CLAUSES) / 2
