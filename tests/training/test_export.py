# SPDX-License-Identifier: AGPL-3.0-or-later
"""An untrained network through export, parity and the station's own engine: rows that a station accepts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.torchvision_cpu import greedy_nms

_EXPORT = """
import sys, json
from pathlib import Path
from training.environment import prepare
prepare(threads=1)
import torch
from ultralytics.nn.tasks import DetectionModel
from training.checkpoint import write_tensors
from training.export import export_onnx
from training.recipe import load_training_recipe
import numpy as np
torch.manual_seed(0)
torch.set_num_threads(1)
folder = Path(sys.argv[1])
recipe = load_training_recipe("default")
model = DetectionModel(recipe.network_path, ch=1, nc=7, verbose=False)
for branch in (*model.model[-1].one2one_cv3, *model.model[-1].cv3):
    branch[-1].bias.data[:] = -1.0  # scores that a floor does not hide, and that differ
    branch[-1].weight.data.normal_(0, 1.0)
batch = torch.rand(2, 1, 320, 320)
for _ in range(60):
    with torch.no_grad():
        model.train()(batch)  # settles the batch normalisation, so that features spread
write_tensors(folder / "w.safetensors", model.state_dict(), {})
pictures = [np.random.default_rng(i).integers(0, 255, (320, 320), np.uint8) for i in range(2)]
print(json.dumps(export_onnx(recipe, 7, folder / "w.safetensors", folder / "m.onnx", pictures)))
"""


def test_the_torchvision_stand_in_suppresses_like_the_textbook():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.5, 0.9, 0.3, 0.5], np.float32)
    assert greedy_nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert greedy_nms(boxes, scores, 0.99).tolist() == [1, 0, 2]
    assert greedy_nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5).tolist() == []


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a process of its own: torch and ultralytics leave threads and settings behind."""
    pytest.importorskip("ultralytics", reason="training extras are not installed")
    folder = tmp_path_factory.mktemp("export")
    done = subprocess.run(
        [sys.executable, "-c", _EXPORT, str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["rows_compared"] > 20, done.stdout[-500:]
    return folder / "m.onnx"


def test_exported_rows_are_boxes_inside_the_input(exported: Path):
    import onnxruntime as ort

    session = ort.InferenceSession(exported, providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(3).random((1, 1, 320, 320), np.float32)
    rows = np.asarray(session.run(None, {"images": picture})[0])
    assert rows.shape == (1, 100, 6)
    x0, y0, x1, y1, score, kind = rows[0].T
    assert (x1 > x0).all()
    assert (y1 > y0).all()
    assert min(x0.min(), y0.min()) >= 0
    assert max(x1.max(), y1.max()) <= 320
    assert ((score >= 0) & (score <= 1)).all()
    assert set(kind) <= set(range(7))
