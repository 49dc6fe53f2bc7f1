# SPDX-License-Identifier: AGPL-3.0-or-later
"""Faint defects planted on good pictures, to ask of a backbone whether it sees anything at all.

They are no defects of this product and no promise about any: they only tell a network that looks from one that
does not. Size and strength are fixed here, before any backbone is asked.
"""

from __future__ import annotations

import cv2
import numpy as np

EXTENT = (0.04, 0.09)  # of the picture's shorter side
STRENGTH_GREY = (20.0, 50.0)


def plant(pixels: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One defect on a picture as the network sees it, uint8 (h, w, 3): a spot, a scratch, or a foreign patch.

    other: another good picture, whose texture the patch is taken from. It lands where the picture has
    structure, which is where parts are.
    """
    height, width = pixels.shape[:2]
    extent = float(rng.uniform(*EXTENT)) * min(height, width)
    middle = _place(pixels, rng)
    kind = int(rng.integers(3))
    shape = np.zeros((height, width), np.float32)
    if kind == 1:
        angle = rng.uniform(0, np.pi)
        reach = np.array([np.cos(angle), np.sin(angle)]) * extent * 2
        start, end = (tuple(int(v) for v in middle + sign * reach) for sign in (-1, 1))
        cv2.line(shape, start, end, 1.0, max(1, round(extent / 6)), cv2.LINE_AA)
    else:
        axes = (max(2, round(extent * rng.uniform(0.5, 1.0))), max(2, round(extent * rng.uniform(0.5, 1.0))))
        centre = (int(middle[0]), int(middle[1]))
        cv2.ellipse(shape, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
    shape = cv2.GaussianBlur(shape, (0, 0), 0.8)[..., None]
    picture = pixels.astype(np.float32)
    if kind == 2:
        shift = (int(rng.integers(height // 4, 3 * height // 4)), int(rng.integers(width // 4, 3 * width // 4)))
        foreign = np.roll(other, shift, axis=(0, 1)).astype(np.float32)
    else:
        foreign = picture + float(rng.choice([-1.0, 1.0])) * float(rng.uniform(*STRENGTH_GREY))
    return np.clip(np.round(picture + shape * (foreign - picture)), 0, 255).astype(np.uint8)


def _place(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(x, y) of a pixel that differs from the picture's border level more than half of all pixels do."""
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (0, 0), 2).astype(np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    away = np.abs(grey - np.median(border))
    lines, columns = np.nonzero(away >= np.median(away))
    index = int(rng.integers(len(lines)))
    return np.array([columns[index], lines[index]], np.float64)
