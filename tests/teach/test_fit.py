# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every score is by a model that never saw its part; a network that has learnt nothing is told from others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from datasets.coco import read_coco
from training.anomaly.backbone import load_backbone, shuffled
from training.anomaly.features import Frame, Looking, Shown, show
from training.anomaly.fit import TEACHABLE, Teaching
from training.anomaly.folds import folds_of
from training.anomaly.preparing import choose_preparation

FRAME = Frame(width_px=64, height_px=64, stride=8, smoothings=1)


class Plain(Looking):
    """A network whose features are the pixels at the corners of the grid's cells."""

    def __init__(self) -> None:
        self.frame = FRAME

    def features(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[::8, ::8].reshape(-1, 3).astype(np.float32)


def test_every_score_is_by_a_model_that_never_saw_its_part():
    """With a bank that holds every patch, a part that its model knows lies at distance nothing."""
    rng = np.random.default_rng(0)
    whole = (slice(0, 8), slice(0, 8))
    shown = [Shown(pixels=rng.integers(0, 255, (64, 64, 3), np.uint8), inside=whole) for _ in range(12)]
    teaching = Teaching(Plain(), shown, [n % 4 for n in range(12)], seed=0, bank=10_000)
    outcome = teaching.run(method="both", overkill=0.1, least=0.0)
    known = [outcome.taught.distance_map(turned) for turned in teaching.turned]
    alone = teaching.run(method="bank", overkill=0.1, least=0.0)
    inside = [alone.taught.distance_map(turned).max() for turned in teaching.turned]
    assert max(inside) < 0.01
    assert min(alone.scores) > 0.5
    assert np.median([k.max() for k in known]) < 0.8 * np.median(outcome.scores)
    assert outcome.limit.above <= 2


@pytest.mark.data
@pytest.mark.skipif(
    not {"GATESIGHT_DATA", "GATESIGHT_BACKBONE"} <= set(os.environ),
    reason="needs GATESIGHT_DATA (data sets) and GATESIGHT_BACKBONE (a trained ONNX network, pixels 0..255)",
)
def test_a_network_with_its_weights_in_random_order_is_not_teachable_and_the_trained_one_is():
    folder = Path(os.environ["GATESIGHT_DATA"]) / "mvtec_screw_256"
    pictures = read_coco(folder / "train.json").pictures[:60]
    preparation = choose_preparation(pictures)
    trained = load_backbone(Path(os.environ["GATESIGHT_BACKBONE"]), scale=1.0)
    frame = preparation.frame(8)
    shown = [show(picture, preparation.steps, frame) for picture in pictures]
    folds = folds_of(pictures, 0).numbers
    found = {}
    for name, backbone in (("trained", trained), ("random", shuffled(trained, 0))):
        teaching = Teaching(Looking(backbone, frame, threads=1), shown, folds, seed=0, bank=1000)
        found[name] = teaching.run(method="bank", overkill=0.02, least=0.0).separation
    assert found["random"] < TEACHABLE < found["trained"] - 0.1
