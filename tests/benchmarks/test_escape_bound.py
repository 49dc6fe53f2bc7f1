# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two hundred random calibration splits keep the promised bound on escapes; careless limits do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import escape_bound
from training.thresholds import Chosen, counts

STEPS = np.linspace(0, 1, 121)


def _set(parts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One data set of drawn scores that overlap: what matters is the law of the splits, not the detector."""
    chance = np.random.default_rng(seed)
    defective = np.arange(parts) % 2 == 0
    scores = np.where(defective, chance.beta(4, 1.5, parts), chance.beta(1.2, 5, parts))
    return scores[:, None] >= STEPS[None], defective


def test_both_promises_are_kept_in_184_of_200_splits_and_the_overkill_stands_beside():
    rejected, defective = _set(800, 3)
    found = escape_bound.run(rejected, defective, splits=200, at_most=0.05, seed=1)
    assert found["next_parts"]["kept_on_the_other_half"] >= 184
    assert found["risk"]["kept_by_the_whole_set"] >= 184
    for promise in ("next_parts", "risk"):
        assert found[promise]["without_limits"] == 0
        assert 0 < found[promise]["overkill_mean"] <= found[promise]["overkill_worst"] < 0.5
        assert found[promise]["escape_rate_mean"] > 0.01  # not kept by giving the gate away


def test_limits_that_just_met_the_target_where_they_were_chosen_keep_nothing(monkeypatch: pytest.MonkeyPatch):
    def careless(rejected: np.ndarray, defective: np.ndarray, *, at_most: float) -> Chosen:
        escapes, overkill = counts(rejected, defective)
        bad = int(defective.sum())
        step = int(np.flatnonzero(escapes <= at_most * bad)[-1])
        return Chosen(
            step=step, escapes=int(escapes[step]), defective=bad, overkill=int(overkill[step]), good=1
        )

    monkeypatch.setattr(escape_bound, "hold_escapes", careless)
    rejected, defective = _set(800, 3)
    found = escape_bound.run(rejected, defective, splits=200, at_most=0.05, seed=1)
    assert found["risk"]["kept_by_the_whole_set"] < 184


def test_the_command_on_the_shipped_bundle_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "bound.json"
    arguments = [
        "--rendered",
        "3000700",
        "--parts",
        "150",
        "--views",
        "1",
        "--share",
        "0.6",
        "--at-most",
        "0.12",
    ]
    assert escape_bound.main([*arguments, "--json", str(out)]) == 0
    told = json.loads(out.read_text())
    (found,) = told["runs"]
    assert found["splits"] == 200
    assert found["next_parts"]["kept_on_the_other_half"] >= 184
    assert json.loads(capsys.readouterr().out) == told


def test_bad_input_is_one_sentence(capsys: pytest.CaptureFixture[str]):
    assert escape_bound.main(["--data", "gone.json"]) == 3
    assert capsys.readouterr().err.count("\n") == 1
