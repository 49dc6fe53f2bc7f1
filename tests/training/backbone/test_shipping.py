# SPDX-License-Identifier: AGPL-3.0-or-later
"""The exported backbone: what torch computes, and the file that ships is the one that its card describes."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from inspection.types import StationFault
from training.backbone.batches import draw_batch
from training.backbone.export import LIMIT_BYTES, MODEL, fold, parity, ship
from training.backbone.run import learn, new_run, save
from training.backbone.scenes import draw_bank
from training.backbone.settings import Settings, load_settings

NAMES = ["stride4", "stride8", "stride16"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps, so that the batch norms have statistics worth folding."""
    from dataclasses import asdict

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    settings: Settings = load_settings("tiny")
    bank = draw_bank(settings.seed, settings.classes, settings.parts)
    run = new_run(settings, torch.device("cpu"))
    for number in range(3):
        learn(run, draw_batch(settings.seed, number, bank, settings.scenes, settings.side_px))
    save(run, folder)
    (folder / "settings.json").write_text(json.dumps(asdict(settings)))
    return folder


def test_the_file_answers_as_torch_does_at_any_size_and_batch(run_folder: Path, tmp_path: Path) -> None:
    card = ship(run_folder / "checkpoint.pt", tmp_path, None)
    assert card["parity"]["largest_relative_difference"] < 1e-4
    session = ort.InferenceSession(tmp_path / MODEL, providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == NAMES
    for shape in ((1, 3, 48, 96), (2, 3, 64, 64)):
        maps = session.run(
            NAMES, {"images": np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)}
        )
        for stride, found in zip((4, 8, 16), maps, strict=True):
            assert np.asarray(found).shape[::2] == (shape[0], shape[2] // stride)
            assert np.asarray(found).shape[3] == shape[3] // stride


def test_parity_catches_another_network(run_folder: Path, tmp_path: Path) -> None:
    from training.backbone.export import read_run

    ship(run_folder / "checkpoint.pt", tmp_path, None)
    _, network, _ = read_run(run_folder / "checkpoint.pt")
    assert parity(network, tmp_path / MODEL) < 1e-4
    network.stem[1].running_mean += 0.2  # a norm that was folded wrongly
    assert parity(network, tmp_path / MODEL) > 1e-3
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fold(network).modules())


def test_the_same_weights_give_the_same_bytes(run_folder: Path, tmp_path: Path) -> None:
    first = ship(run_folder / "checkpoint.pt", tmp_path / "a", None)
    second = ship(run_folder / "checkpoint.pt", tmp_path / "b", None)
    assert first == second


def test_a_state_without_its_settings_is_refused(run_folder: Path, tmp_path: Path) -> None:
    shutil.copy(run_folder / "checkpoint.pt", tmp_path)
    with pytest.raises(StationFault, match=r"settings\.json is missing"):
        ship(tmp_path / "checkpoint.pt", tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_the_shipped_backbone_is_the_one_its_card_describes(repository: Path) -> None:
    folder = repository / "weights" / "backbone"
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    data = (folder / MODEL).read_bytes()
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    assert len(data) == card["bytes"] <= LIMIT_BYTES
    assert card["licence"] == "AGPL-3.0-or-later"
    assert {p.name for p in folder.iterdir()} == {MODEL, "card.json"}
    model = onnx.load_model_from_string(data)
    assert not model.functions
    assert {p.key: p.value for p in model.metadata_props} == {"gatesight.scale": "1"}
    assert all(i.domain in ("", "ai.onnx") for i in model.opset_import)
    assert all(t.data_location != onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    assert [o.name for o in model.graph.output] == NAMES == sorted(card["outputs"], key=lambda n: int(n[6:]))
    maps = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(
        NAMES, {"images": np.full((1, 3, 64, 96), 128, np.float32)}
    )
    for name, found in zip(NAMES, maps, strict=True):
        about = card["outputs"][name]
        assert np.asarray(found).shape == (1, about["channels"], 64 // about["stride"], 96 // about["stride"])


def test_the_shipped_backbone_goes_into_the_wheel(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    assert "backbone/*" in project["tool"]["setuptools"]["package-data"]["weights"]
    assert "backbone/recipes/*" in project["tool"]["setuptools"]["package-data"]["training"]
