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

ROAM_PX = 32
"""How far the two exposures of a scene may lie apart, in steps of the coarsest stride. Without it the network
finds a spot again by its distance to the picture's border, and learns nothing of the spot."""
_STEP_PX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Two exposures of each scene, the second with defects. All arrays start with the scene's index.

    `first`, `second`: uint8 (n, 3, side, side); `clean`: uint8 (n, side, side), the first without noise;
    `label`: int16 (2, n, side, side) class of the texture or -1, of both; `defect`: uint8 (n, side, side) of
    the second, 0 or 1 + kind; `shift`: int16 (n, 2), what to add to x, y in the second to find the spot in the
    first.
    """

    first: np.ndarray
    second: np.ndarray
    clean: np.ndarray
    label: np.ndarray
    defect: np.ndarray
    shift: np.ndarray


def draw_batch(seed: int, number: int, bank: Bank, scenes: int, side: int) -> Batch:
    """Draw batch `number`; batches may be drawn in any order and by any process."""
    rng = generator(seed, Purpose.BATCH, number)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in Batch.__dataclass_fields__}
    for _ in range(scenes):
        scene, classes = draw_scene(rng, bank, side + ROAM_PX)
        spoilt, kinds = add_defects(rng, scene, bank, int(rng.integers(0, 8)))
        tint = _tint(rng)
        corners = _STEP_PX * rng.integers(0, ROAM_PX // _STEP_PX + 1, (2, 2))
        (x0, y0), (x1, y1) = corners
        here, there = np.s_[y0 : y0 + side, x0 : x0 + side], np.s_[y1 : y1 + side, x1 : x1 + side]
        drawn["first"].append(_coloured(see(rng, scene[here], 1.0), tint))
        drawn["second"].append(_coloured(see(rng, spoilt[there], 1.0), tint))
        drawn["clean"].append(np.clip(scene[here] + 0.5, 0, 255).astype(np.uint8))
        drawn["label"].append(np.stack([classes[here], classes[there]]))
        drawn["defect"].append(kinds[there])
        drawn["shift"].append((corners[1] - corners[0]).astype(np.int16))
    stacked = {name: np.stack(parts, 1 if name == "label" else 0) for name, parts in drawn.items()}
    return Batch(**stacked)


def _tint(rng: np.random.Generator) -> np.ndarray | None:
    """Gains of three channels, or None for a grey camera (two in three)."""
    return None if rng.random() < 0.67 else rng.uniform(0.6, 1.0, 3).astype(np.float32)


def _coloured(grey: np.ndarray, tint: np.ndarray | None) -> np.ndarray:
    """Three channels (3, side, side) of a grey picture."""
    if tint is None:
        return np.broadcast_to(grey, (3, *grey.shape))
    return np.stack([cv2.convertScaleAbs(grey, alpha=float(gain)) for gain in tint])
