# SPDX-License-Identifier: AGPL-3.0-or-later
"""Describe pictures by numbers, so that likeness, suspects and sampling can compare them.

A `Describe` takes pictures and returns one row of features for each. Which one is used: the ONNX backbone that
the user brings, else the one that ships, else `plain_features`, which needs no network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from datasets.backbone import Backbone
from datasets.labels import Label, Picture
from inspection.types import StationFault

Describe = Callable[[Sequence[np.ndarray]], np.ndarray]
"""uint8 pictures, grey (H, W) or RGB (H, W, 3) -> float32 (N, features); the same width at every call."""
BACKBONE_VARIABLE = "GATESIGHT_BACKBONE"
PLAIN = "plain"
_SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "backbone"
BOXES_VERSION = 1  # count up when `crop_of` cuts otherwise
_PLAIN_VERSION = 1  # count up when `plain_features` says other things
_SIDE_PX = 128
_CELLS = 4
_AROUND = 0.25  # of a box's size is shown around it: a defect is seen against what surrounds it


def read_grey(path: Path) -> np.ndarray:
    """Read a picture as uint8 grey (H, W). Raises StationFault naming the file."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise StationFault(f"{path}: not a picture that can be read; replace it or take it out of the set")
    return picture


def describer(backbone: Path | str | None = None) -> tuple[Describe, str]:
    """The best description at hand and its name.

    backbone: an ONNX file, or "plain" for none; without it the variable GATESIGHT_BACKBONE, else the shipped
    network, else the plain one.
    """
    wanted = backbone or os.environ.get(BACKBONE_VARIABLE)
    if wanted and str(wanted) != PLAIN:
        path = Path(wanted)
        if not path.is_file():
            raise StationFault(f"{path}: there is no such backbone; give an ONNX file, or `{PLAIN}` for none")
        return _named(path)
    shipped = sorted(_SHIPPED.glob("*.onnx"))
    if shipped and str(wanted) != PLAIN:
        return _named(shipped[0])
    return plain_features, PLAIN


def name_of(describe: Describe) -> str | None:
    """What tells this description from every other, for whoever keeps what it says; None when nothing does."""
    if isinstance(describe, Backbone):
        return describe.identity
    return f"{PLAIN} {_PLAIN_VERSION} opencv {cv2.__version__}" if describe is plain_features else None


def _named(path: Path) -> tuple[Describe, str]:
    return Backbone(path), path.name


def describe_all(pictures: Sequence[Picture], describe: Describe) -> np.ndarray:
    """One row of features for each picture, read from disk one at a time: float32 (N, features)."""
    rows = [describe([read_grey(picture.path)]) for picture in pictures]
    return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)


def describe_boxes(picture: Picture, labels: Sequence[Label], describe: Describe) -> np.ndarray:
    """One row of features for each label: its box with some of what surrounds it."""
    grey = read_grey(picture.path)
    return describe([crop_of(grey, label) for label in labels])


def crop_of(picture: np.ndarray, label: Label) -> np.ndarray:
    """The label's box and a quarter of its size around it, at least 16 px, clipped to the picture."""
    height_px, width_px = picture.shape[:2]
    box = label.box
    half_x = max(8.0, box.width_px * (0.5 + _AROUND))
    half_y = max(8.0, box.height_px * (0.5 + _AROUND))
    x, y = (box.x0_px + box.x1_px) / 2, (box.y0_px + box.y1_px) / 2
    left, right = int(max(0, min(x - half_x, width_px - 1))), int(min(width_px, max(x + half_x, 1)))
    top, bottom = int(max(0, min(y - half_y, height_px - 1))), int(min(height_px, max(y + half_y, 1)))
    return picture[top : max(bottom, top + 1), left : max(right, left + 1)]


def plain_features(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Describe pictures without a network: float32 (N, 157).

    Means, spreads and extremes of grey, gradients by direction and blobs at four scales over the whole picture
    and (grey and edge strength) over 4 x 4 cells. Rough, but it depends on nothing.
    """
    rows = [_plain(picture) for picture in pictures]
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def _plain(picture: np.ndarray) -> np.ndarray:
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if max(grey.shape) > _SIDE_PX else cv2.INTER_LINEAR
    side = cv2.resize(grey, (_SIDE_PX, _SIDE_PX), interpolation=how).astype(np.float32) / 255
    out: list[float] = [float(side.mean()), float(side.std())]
    out += np.percentile(side, (1, 5, 25, 50, 75, 95, 99)).tolist()
    level = side
    for _ in range(4):
        across = cv2.Sobel(level, cv2.CV_32F, 1, 0)
        down = cv2.Sobel(level, cv2.CV_32F, 0, 1)
        strength, direction = cv2.cartToPolar(across, down)
        blobs = cv2.Laplacian(level, cv2.CV_32F)
        out += _summary(strength) + _summary(blobs) + [float(blobs.min())]
        weight = strength.sum() + 1e-6
        turn = (direction % np.pi) / np.pi * 8
        out += [float(strength[(turn >= b) & (turn < b + 1)].sum() / weight) for b in range(8)]
        level = cv2.pyrDown(level)
    cells = side.reshape(_CELLS, _SIDE_PX // _CELLS, _CELLS, _SIDE_PX // _CELLS)
    edges = np.abs(cv2.Laplacian(side, cv2.CV_32F)).reshape(cells.shape)
    for values in (cells.mean((1, 3)), cells.std((1, 3)), edges.mean((1, 3)), edges.max((1, 3))):
        # sorted: where on the part a defect lies says nothing of what it is
        out += np.sort(values.ravel()).tolist()
    return np.asarray(out, np.float32)


def _summary(values: np.ndarray) -> list[float]:
    """Mean, spread, two high shares and the maximum."""
    magnitude = np.abs(values)
    high = np.percentile(magnitude, (90, 99, 99.8)).tolist()
    return [float(magnitude.mean()), float(values.std()), *high, float(magnitude.max())]
