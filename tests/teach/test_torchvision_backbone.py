# SPDX-License-Identifier: AGPL-3.0-or-later
"""torchvision's networks as backbones: the weights that were brought, all of them, and centred as they want."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.anomaly.features import Frame, Looking
from training.anomaly.teaching import Wishes, _backbone
from training.environment import prepare
from training.teach import main

NETWORK = "resnet18"


@pytest.fixture(scope="module")
def network() -> Any:
    prepare()
    import torch
    from torchvision.models import get_model

    torch.manual_seed(3)
    return get_model(NETWORK, weights=None).eval()


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(network.state_dict(), path)
    return path


def refused(order: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(order) == 3
    return capsys.readouterr().err


def asked_for(parts: Path, out: Path, weights: Path, network: str) -> list[str]:
    return ["--good", str(parts / "good"), "--out", str(out), "--backbone", str(weights), "--network", network]


def test_its_features_are_those_of_torch(network: Any, weights: Path, parts: Path, tmp_path: Path):
    import torch

    wishes = Wishes(good=parts / "good", out=tmp_path, backbone=weights, network=NETWORK)
    backbone, tried = _backbone(wishes, [], None)  # type: ignore[arg-type] - nothing is tried, so nothing is read
    assert (backbone.strides, backbone.channels, tried) == ((8, 16), (128, 256), {})
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    cells = Looking(backbone, Frame(width_px=128, height_px=96, stride=8), threads=1).features(pixels)
    mean, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    picture = torch.from_numpy(((pixels / 255 - mean) / spread).transpose(2, 0, 1)[None].astype(np.float32))
    with torch.no_grad():
        x = network.maxpool(network.relu(network.bn1(network.conv1(picture))))
        fine = network.layer2(network.layer1(x))[0].numpy()
    np.testing.assert_allclose(cells[:, :128].T.reshape(fine.shape), fine, atol=1e-3)


def test_a_bundle_names_the_weights_it_came_from(weights: Path, parts: Path, tmp_path: Path):
    few = tmp_path / "few" / "good"
    few.mkdir(parents=True)
    for path in sorted((parts / "good").rglob("*.png"))[:10]:
        shutil.copy(path, few)
    order = asked_for(few.parent, tmp_path / "t", weights, NETWORK)
    # random kernels see little: what is tried here is the way, not the network
    assert (
        main([*order, "--least-separation", "0", "--bank", "100", "--threads", "1", "--key-dir", str(tmp_path)])
        == 0
    )
    card = json.loads((tmp_path / "t" / "bundle" / "card.json").read_text())
    facts = card["training"]["backbone"]
    assert facts["name"] == "resnet18, mine.pth"
    assert facts["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert facts["centred"] is True


def test_weights_of_another_network_are_refused(
    weights: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said = refused(asked_for(parts, tmp_path / "t", weights, "resnet50"), capsys)
    assert "not its weights" in said or "not the weights of resnet50" in said
    assert not (tmp_path / "t").exists()


def test_half_a_network_is_refused(
    network: Any, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    import torch

    tensors = {name: t for name, t in network.state_dict().items() if not name.startswith("layer3")}
    torch.save(tensors, tmp_path / "half.pth")
    said = refused(asked_for(parts, tmp_path / "t", tmp_path / "half.pth", NETWORK), capsys)
    assert "holds no tensor 'layer3" in said


def test_a_trunk_without_its_classifier_is_enough(network: Any, parts: Path, tmp_path: Path):
    import torch

    torch.save({n: t for n, t in network.state_dict().items() if n[:3] != "fc."}, tmp_path / "trunk.pth")
    wishes = Wishes(good=parts / "good", out=tmp_path, backbone=tmp_path / "trunk.pth", network=NETWORK)
    assert _backbone(wishes, [], None)[0].channels == (128, 256)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("resnet19", "mine.pth"), "torchvision has no classifier 'resnet19'"),
        ((NETWORK, "absent.pth"), "absent.pth cannot be read"),
        ((NETWORK, "absent.safetensors"), "absent.safetensors cannot be read"),
    ],
)
def test_what_is_not_there_is_said(
    asked: tuple[str, str], sentence: str, weights: Path, parts: Path, capsys: pytest.CaptureFixture[str]
):
    network, name = asked
    out = weights.parent / "never"
    assert sentence in refused(asked_for(parts, out, weights.parent / name, network), capsys)
    assert not out.exists()


def test_a_network_needs_its_weights(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    order = ["--good", str(parts / "good"), "--out", str(tmp_path / "t"), "--network", NETWORK]
    assert "--network resnet18 needs --backbone FILE" in refused(order, capsys)
