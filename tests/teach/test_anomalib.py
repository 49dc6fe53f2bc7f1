# SPDX-License-Identifier: AGPL-3.0-or-later
"""anomalib's models behind our own protocol. `make anomalib` runs these with its 45 packages."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.teach.test_teach import highest
from training.teach import main
from weights.bundle import load_bundle

with_anomalib = pytest.mark.skipif(
    importlib.util.find_spec("anomalib") is None,
    reason="gatesight[anomalib] is not installed; `make anomalib` runs these in an environment of their own",
)
PADIM = ["--anomalib", "padim", "--option", "backbone=resnet18", "--option", 'layers=["layer1","layer2"]']
RANDOM = ["--option", "pre_trained=false"]
LOOSE = ["--least-separation", "0.4", "--overkill", "0.1", "--threads", "1"]


@pytest.fixture(scope="module")
def few(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve of the good parts: six models are fitted a time."""
    folder = tmp_path_factory.mktemp("few")
    for path in sorted((parts / "good").rglob("*.png"))[:12]:
        shutil.copy(path, folder)
    return folder


def order(good: Path, out: Path, *more: str) -> list[str]:
    keys = str(out.parent / "keys")
    return ["--good", str(good), "--out", str(out), *LOOSE, *more, "--key-dir", keys]


@pytest.mark.skipif(importlib.util.find_spec("anomalib") is not None, reason="gatesight[anomalib] is installed")
def test_without_it_one_sentence_says_what_to_install(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(order(few, tmp_path / "t", *PADIM)) == 3
    assert "install gatesight[anomalib]" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


@with_anomalib
def test_the_station_runs_padim_and_finds_the_gouge(few: Path, parts: Path, tmp_path: Path):
    assert main(order(few, tmp_path / "t", *PADIM, *RANDOM)) == 0
    bundle = load_bundle(tmp_path / "t" / "bundle", [tmp_path / "keys"])
    good, bad = highest(bundle, parts / "unseen"), highest(bundle, parts / "spoilt")
    assert np.median(bad) > max(good)
    assert bundle.card.training["parity"]["verdict_flips"] == 0
    assert bundle.card.training["method"]["name"].endswith("padim")


@with_anomalib
def test_the_same_seed_makes_the_same_bundle(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = []
    for name in ("a", "b"):
        assert main([*order(few, tmp_path / name, *PADIM, *RANDOM), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["sha256"])
    assert found[0] == found[1]


@with_anomalib
def test_a_backbone_that_sees_nothing_is_not_teachable(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([*order(few, tmp_path / "t", *PADIM, *RANDOM), "--least-separation", "0.999"]) == 3
    assert "not teachable: with anomalib's padim" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


@with_anomalib
def test_weights_fill_the_whole_backbone_or_are_refused(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from torch import save
    from torchvision.models import get_model

    tensors = get_model("resnet18", weights=None).state_dict()
    save({n: t for n, t in tensors.items() if not n.startswith("layer2")}, tmp_path / "half.pth")
    assert main(order(few, tmp_path / "t", *PADIM, "--backbone", str(tmp_path / "half.pth"))) == 3
    assert "holds no tensor 'layer2" in capsys.readouterr().err
    save(tensors, tmp_path / "whole.pth")
    assert main(order(few, tmp_path / "t", *PADIM, "--backbone", str(tmp_path / "whole.pth"))) == 0


@with_anomalib
@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["--anomalib", "nosuch"], "cannot be made"),
        (["--anomalib", "padim", "--option", "layer=3"], "cannot be made"),
        (["--anomalib", "padim", "--option", "backbone"], "write NAME=VALUE"),
        (["--anomalib", "dfkde", "--option", "backbone=resnet18", *RANDOM], "no map"),
        (["--option", "a=1"], "belongs to --anomalib"),
    ],
)
def test_what_cannot_be_done_is_said(
    asked: list[str], sentence: str, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(order(few, tmp_path / "t", *asked)) == 3
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
