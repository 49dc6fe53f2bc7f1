# SPDX-License-Identifier: AGPL-3.0-or-later
"""Batches: the n-th batch of a seed is a pure function of the seed and n, so that any run can go on
anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.backbone.chance import Purpose, generator
from training.backbone.scenes import Bank, draw_scene
from training.backbone.spoil import add_defects, see


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Two exposures of each scene, the second with defects. All arrays start with the scene's index.

    `first`, `second`: uint8 (n, 3, side, side); `clean`: uint8 (n, side, side), the scene without noise or
    defect;
    `label`: int16 (n, side, side) class of the texture or -1; `defect`: uint8 (n, side, side) 0 or 1 + kind.
    """

    first: np.ndarray
    second: np.ndarray
    clean: np.ndarray
    label: np.ndarray
    defect: np.ndarray


def draw_batch(seed: int, number: int, bank: Bank, scenes: int, side: int) -> Batch:
    """Draw batch `number`; batches may be drawn in any order and by any process."""
    rng = generator(seed, Purpose.BATCH, number)
    first, second, clean, label, defect = [], [], [], [], []
    for _ in range(scenes):
        scene, classes = draw_scene(rng, bank, side)
        spoilt, kinds = add_defects(rng, scene, bank, int(rng.integers(0, 6)))
        tint = _tint(rng)
        first.append(_coloured(see(rng, scene, 1.0), tint))
        second.append(_coloured(see(rng, spoilt, 1.0), tint))
        clean.append(np.clip(scene + 0.5, 0, 255).astype(np.uint8))
        label.append(classes)
        defect.append(kinds)
    return Batch(
        first=np.stack(first),
        second=np.stack(second),
        clean=np.stack(clean),
        label=np.stack(label),
        defect=np.stack(defect),
    )


def _tint(rng: np.random.Generator) -> np.ndarray | None:
    """Gains of three channels, or None for a grey camera (two in three)."""
    return None if rng.random() < 0.67 else rng.uniform(0.6, 1.0, 3).astype(np.float32)


def _coloured(grey: np.ndarray, tint: np.ndarray | None) -> np.ndarray:
    """Three channels (3, side, side) of a grey picture."""
    if tint is None:
        return np.broadcast_to(grey, (3, *grey.shape))
    return np.stack([cv2.convertScaleAbs(grey, alpha=float(gain)) for gain in tint])
