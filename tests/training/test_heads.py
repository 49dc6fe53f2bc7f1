# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every kind of network through export, parity and the check that a station makes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.training import drawn
from training.recipe import TrainingRecipe
from weights.card import parse_card
from weights.onnx_check import check_onnx

_EXPORT = """
import json, sys
from pathlib import Path
from training.environment import prepare
prepare(threads=1)
import numpy as np, torch
from training.checkpoint import write_tensors
from training.export import export_onnx
from training.heads import _MORE_CLASSES, _NETWORKS
from training.recipe import TrainingRecipe
folder = Path(sys.argv[1])
torch.set_num_threads(1)
said = {}
for network, task in (("defect_sem", "segment"), ("yolo26n-seg", "segment"), ("yolo11n", "detect"),
                      ("yolo26n-cls", "classify")):
    torch.manual_seed(0)
    recipe = TrainingRecipe(name="t", network=network, task=task, input_px=96, channels=1, policy="none@1")
    nc = 3 + _MORE_CLASSES.get(recipe.method, 0)
    made = _NETWORKS[recipe.method](recipe.network_path, ch=1, nc=nc, verbose=False)
    with torch.no_grad():
        for _ in range(20):
            made.train()(torch.rand(2, 1, 96, 96))
        for branch in getattr(made.model[-1], "cv3", []):
            branch[-1].bias[:] = -1.0
    write_tensors(folder / "w.safetensors", made.state_dict(), {})
    pictures = [np.random.default_rng(i).integers(0, 255, (96, 96), np.uint8) for i in range(2)]
    said[network] = export_onnx(recipe, 3, folder / "w.safetensors", folder / f"{network}.onnx", pictures)
print(json.dumps(said))
"""


@pytest.mark.serial
def test_each_kind_of_network_answers_as_its_card_says(tmp_path):
    pytest.importorskip("ultralytics", reason="training extras are not installed")
    import onnxruntime as ort

    done = subprocess.run(
        [sys.executable, "-c", _EXPORT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=drawn.ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    parity = json.loads(done.stdout.splitlines()[-1])
    shapes = {
        "defect_sem": ("segment", (1, 3, 48, 48)),
        "yolo26n-seg": ("segment", (1, 3, 24, 24)),
        "yolo11n": ("detect", (1, 100, 6)),
        "yolo26n-cls": ("classify", (1, 3)),
    }
    for network, (task, shape) in shapes.items():
        recipe = TrainingRecipe(name="t", network=network, task=task, input_px=96, channels=1, policy="none@1")
        content = {
            "name": "t",
            "licence": "none",
            "task": task,
            "input": {"width_px": 96, "height_px": 96, "channels": 1},
            "output": {"kind": recipe.output_kind},
            "classes": ["a", "b", "c"],
        }
        model = tmp_path / f"{network}.onnx"
        check_onnx(model.read_bytes(), parse_card(json.dumps(content).encode(), "card"), network)
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        picture = np.random.default_rng(3).random((1, 1, 96, 96), np.float32)
        answer = np.asarray(session.run(None, {"images": picture})[0])
        assert answer.shape == shape
        scores = answer[..., 4] if task == "detect" else answer
        assert scores.min() >= 0
        assert 0.001 < scores.max() <= 1
        assert scores.std() > 0
        assert parity[network]["max_score_difference"] <= 2e-3
