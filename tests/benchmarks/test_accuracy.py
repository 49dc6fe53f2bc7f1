# SPDX-License-Identifier: AGPL-3.0-or-later
"""The accuracy runs name recipes, protocols and texts that exist; the bars stand beside what was measured."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.accuracy.__main__ import ABOUT, TOLD, main, row, runs, train_commands
from training.options import read
from training.protocols import protocol_named
from training.recipe import load_training_recipe


@pytest.mark.parametrize("name", sorted(runs()))
def test_a_run_is_one_that_the_product_accepts(name: str, tmp_path: Path):
    run = runs()[name]
    protocol_named(run["protocol"])
    assert set(run["wanted"]) <= set(TOLD)
    assert "about" not in run or (ABOUT / run["about"]).is_file()
    for gpu in (False, True):
        stages = [run["gpu"]] if gpu else [*run.get("before", ()), run["recipe"]]
        given = argparse.Namespace(gpu=gpu, out=tmp_path / "out", start=tmp_path / "w", threads=1, key_dir=None)
        asked = [read(command[3:]) for command in train_commands(run, tmp_path, given)]
        assert [one.recipe for one in asked] == stages
        assert all((one.seed, one.resume) == (0, True) for one in asked)
        assert asked[-1].out == given.out
        # each goes on from the one before it, the first from what the person gave
        assert [one.start for one in asked] == [given.start, *(one.out for one in asked[:-1])]
        networks = {(recipe.network, recipe.channels) for recipe in map(load_training_recipe, stages)}
        assert len(networks) == 1


def test_a_row_says_what_is_met_and_how_sure_it_is():
    run = {"published": "0.9", "wanted": {"map50": 0.7, "auroc": 0.9}}
    part = {
        "escapes": 0,
        "defective": 37,
        "escape_upper_95": 0.0778,
        "overkill": 1,
        "good": 9,
        "overkill_upper_95": 0.5,
    }
    sure = {"low": 0.5, "high": 0.8, "groups": 9, "method": "bootstrap over groups"}
    told = row(
        "x", run, {"pictures": 4, "map50": 0.65, "map50_two_sided_95": sure, "auroc": 0.95, "part": part}
    )
    assert "0.6500  two-sided 95 % 0.500 to 0.800  wanted 0.7: not met" in told
    assert "0.9500  wanted 0.9: met" in told
    assert "escapes 0 of 37 (at most 7.78%)" in told


def test_without_the_data_it_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("GATESIGHT_DATA", raising=False)
    assert main(["deeppcb", "--out", str(tmp_path)]) == 3
    assert "GATESIGHT_DATA" in capsys.readouterr().err
