# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a set gives away for free: statistics of a whole picture that need no model at all.

Good and defective pictures often differ in how they were taken. Where the mean grey alone separates them, a
model's AUROC says nothing about defects, so the best of these stands beside every AUROC. Being the best of
several, it flatters the trivial answer, which is the safe side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from datasets.readiness_pixels import laplacian_variance
from training.areas import auroc


def statistics_of(picture: np.ndarray) -> dict[str, float]:
    """Each trivial statistic of one uint8 picture (h, w) or (h, w, 3) RGB."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    low, median, high = np.percentile(grey, [1, 50, 99])
    return {
        "mean grey": float(grey.mean()),
        "contrast": float(grey.std()),
        "laplacian variance": laplacian_variance(grey),
        "darkest percent": float(low),
        "median grey": float(median),
        "brightest percent": float(high),
        "saturated share": float((grey == 255).mean()),
        "width": float(grey.shape[1]),
        "height": float(grey.shape[0]),
    }


def best_trivial(
    good: Sequence[Mapping[str, float]], defective: Sequence[Mapping[str, float]]
) -> dict[str, object] | None:
    """The statistic that separates best, in either direction, and all of them; None where one side is empty."""
    if not good or not defective:
        return None
    table: dict[str, float] = {}
    for name in good[0]:
        area = auroc([row[name] for row in good], [row[name] for row in defective])
        assert area is not None  # noqa: S101 - neither side is empty
        table[name] = max(area.value, 1 - area.value)
    best = max(table, key=table.__getitem__)
    return {"auroc": table[best], "name": best, "all": {k: round(v, 5) for k, v in table.items()}}
