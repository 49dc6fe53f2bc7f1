# SPDX-License-Identifier: AGPL-3.0-or-later
"""Good drawn parts in a folder, spoilt ones beside it, and a small network to take features from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from inspection.twin.renderer import PartRenderer
from inspection.twin.stamp import STRIP_HEIGHT_PX
from training.anomaly.writing import Writing

GOOD, HELD_OUT, SIDE_PX = 30, 8, 160


def small_backbone(seed: int = 3, *, neck: bool = True) -> onnx.ModelProto:
    """Five strided convolutions (edges and spots first, then mixtures), and a neck that up-samples."""
    rng = np.random.default_rng(seed)
    writing = Writing()
    current, channels, levels = "picture", 3, {}
    for level, width in enumerate((12, 16, 24, 32, 32)):
        kernel = rng.standard_normal((width, channels, 3, 3)).astype(np.float32)
        kernel -= kernel.mean(axis=(1, 2, 3), keepdims=True)  # no answer to flat grey
        kernel /= np.sqrt((kernel**2).sum(axis=(1, 2, 3), keepdims=True))
        conv = writing.node(
            "Conv", [current, writing.constant(kernel)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        )
        current, channels = writing.node("Relu", [conv]), width
        levels[2 ** (level + 1)] = current
    outputs = [(levels[32], (1, 32, 8, 8))]
    if neck:
        scales = writing.constant(np.array([1, 1, 2, 2], np.float32))
        raised = writing.node("Resize", [levels[32], "", scales], mode="nearest")
        joined = writing.node("Add", [raised, levels[16]])
        kernel = writing.constant(rng.standard_normal((32, 32, 3, 3)).astype(np.float32))
        lowered = writing.node(  # a detector's neck goes down again
            "Conv", [joined, kernel], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        )
        outputs = [(lowered, (1, 32, 8, 8))]
    return writing.model([("picture", (1, 3, 256, 256))], outputs)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "small.onnx"
    path.write_bytes(small_backbone().SerializeToString())
    return path


def draw(renderer: PartRenderer, part_no: int) -> np.ndarray:
    seen = renderer.render(part_no, 0)[:-STRIP_HEIGHT_PX]
    return cv2.resize(seen, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


def spoil(picture: np.ndarray, centre: tuple[int, int] = (108, 80)) -> np.ndarray:
    """A dark gouge on the part's ring."""
    spoilt = picture.copy()
    cv2.ellipse(spoilt, centre, (11, 6), 30, 0, 360, 10, -1)
    return cv2.GaussianBlur(spoilt, (3, 3), 0)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good/ (30 drawn parts, in two folders), unseen/ (8 more), spoilt/ (those with a gouge)."""
    root = tmp_path_factory.mktemp("parts")
    renderer = PartRenderer(seed=11, views=1, defective_share=0.0)
    for name in ("good/a", "good/b", "unseen", "spoilt"):
        (root / name).mkdir(parents=True)
    for number in range(GOOD):
        cv2.imwrite(str(root / "good" / "ab"[number % 2] / f"{number:02d}.png"), draw(renderer, number))
    for number in range(HELD_OUT):
        picture = draw(renderer, GOOD + number)
        cv2.imwrite(str(root / "unseen" / f"{number}.png"), picture)
        cv2.imwrite(str(root / "spoilt" / f"{number}.png"), spoil(picture))
    return root
