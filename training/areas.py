# SPDX-License-Identifier: AGPL-3.0-or-later
"""Areas under curves: AUROC of scores with its interval, and what pixels say (AUPRO, F1) from score maps. Pure.

AUROC is the share of (defective, good) pairs in which the defective one scores higher, ties as a half. Its
two-sided interval is DeLong's (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988) on the log-odds scale;
at exactly 0 or 1, where DeLong's variance is nothing, Newcombe's method 5 (Statistics in Medicine 25, 2006)
stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt

import cv2
import numpy as np

from datasets.ranks import midranks

TWO_SIDED_95 = 1.959963984540054
AUPRO_FALSE_RATE = 0.3
"""AUPRO is taken up to this share of false pixels (Bergmann et al., IJCV 129, 2021) and divided by it."""
_LEVEL_BITS = 12  # low bits of a float32 that levels drop: they differ by 2^-11 of a value or less
_LEVELS = (0x3F800000 >> _LEVEL_BITS) + 1  # 0.0 to 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Auroc:
    """An area with its two-sided 95 % interval, and how many pictures it rests on."""

    value: float
    low: float
    high: float
    good: int
    defective: int
    method: str


def auroc(good: Sequence[float], defective: Sequence[float]) -> Auroc | None:
    """AUROC of defective over good scores; None where one side is empty."""
    low, high = np.asarray(good, np.float64), np.asarray(defective, np.float64)
    m, n = len(high), len(low)
    if not m or not n:
        return None
    together = midranks(np.concatenate([high, low]))
    over = (together[:m] - midranks(high)) / n  # for each defective: share of goods below it
    under = 1 - (together[m:] - midranks(low)) / m  # for each good: share of defectives above it
    value = float(over.mean())
    if value in (0.0, 1.0) or min(m, n) < 2:
        lower, upper, method = *_newcombe(value, m, n), "Newcombe method 5"
    else:
        variance = float(over.var(ddof=1)) / m + float(under.var(ddof=1)) / n
        reach = TWO_SIDED_95 * sqrt(variance) / (value * (1 - value))
        odds = log(value / (1 - value))
        lower, upper, method = _share(odds - reach), _share(odds + reach), "DeLong, log-odds"
    return Auroc(value=value, low=lower, high=upper, good=n, defective=m, method=method)


def _share(odds: float) -> float:
    return 1 / (1 + exp(-max(-700.0, min(700.0, odds))))


def _newcombe(value: float, m: int, n: int) -> tuple[float, float]:
    """Areas whose own Hanley-McNeil standard error, times z, just reaches the value: found by bisection."""

    def reaches(area: float) -> bool:
        spread = (m + n) / 2 - 1
        each = 1 + spread * ((1 - area) / (2 - area) + area / (1 + area))
        return abs(value - area) <= TWO_SIDED_95 * sqrt(max(area * (1 - area) * each, 0.0) / (m * n))

    def edge(outer: float) -> float:
        inside, outside = value, outer
        for _ in range(60):
            middle = (inside + outside) / 2
            if reaches(middle):
                inside = middle
            else:
                outside = middle
        return inside

    return edge(0.0), edge(1.0)


def roc_points(good: Sequence[float], defective: Sequence[float]) -> list[tuple[float, float]]:
    """(false alarms, found) at each limit, from (0, 0) to (1, 1)."""
    scores = np.concatenate([np.asarray(defective, np.float64), np.asarray(good, np.float64)])
    truth = np.concatenate([np.ones(len(defective)), np.zeros(len(good))])
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    ends = np.flatnonzero(np.diff(scores, append=-np.inf))
    found = np.cumsum(truth)[ends] / max(len(defective), 1)
    false = np.cumsum(1 - truth)[ends] / max(len(good), 1)
    return [(0.0, 0.0), *zip(false.tolist(), found.tolist(), strict=True)]


def _levels(values: np.ndarray) -> np.ndarray:
    """Number of each value's level: order-preserving for 0..1, as a float's bits are."""
    clipped = np.clip(np.ascontiguousarray(values, dtype=np.float32), 0.0, 1.0) + np.float32(0.0)
    return (clipped.view(np.uint32) >> _LEVEL_BITS).astype(np.int64)


@dataclass(slots=True, kw_only=True)
class PixelTally:
    """Counts over score maps, one picture at a time, so that no set of maps has to fit into memory.

    Scores 0..1 are counted by level (2^-11 of the value). A defect region is an 8-connected part of the mask.
    """

    good: np.ndarray = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))
    marked: np.ndarray = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))
    covered: np.ndarray = field(default_factory=lambda: np.zeros(_LEVELS, np.float64))
    regions: int = 0
    peaks: int = 0  # defective pictures whose highest score lies in the mask
    shown: int = 0  # defective pictures with a mask
    pictures: int = 0

    def add(self, scores: np.ndarray, mask: np.ndarray) -> None:
        """Count one picture: scores float (h, w) in 0..1, mask bool (h, w). ValueError when sizes differ."""
        if scores.shape != mask.shape:
            raise ValueError(f"a map of {scores.shape} cannot be judged by a mask of {mask.shape}")
        levels = _levels(scores)
        self.pictures += 1
        self.good += np.bincount(levels[~mask], minlength=_LEVELS)
        if not mask.any():
            return
        self.marked += np.bincount(levels[mask], minlength=_LEVELS)
        count, found = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions = np.asarray(found, np.int64)
        sizes = np.bincount(regions.ravel(), minlength=count)
        weights = 1.0 / sizes[regions[mask]]
        self.covered += np.bincount(levels[mask], weights=weights, minlength=_LEVELS)
        self.regions += count - 1
        self.shown += 1
        self.peaks += bool(mask.flat[int(np.argmax(scores))])

    def aupro(self, false_rate: float = AUPRO_FALSE_RATE) -> float | None:
        """Mean share of a region that is covered, over false rates from 0 to `false_rate`, divided by it."""
        if not self.regions or not self.good.sum():
            return None
        false = np.concatenate([[0.0], np.cumsum(self.good[::-1]) / self.good.sum()])
        covered = np.concatenate([[0.0], np.cumsum(self.covered[::-1]) / self.regions])
        inside = np.asarray(false <= false_rate)
        x, y = false[inside], covered[inside]
        if x[-1] < false_rate:
            after = int(np.argmin(inside))
            rise = (covered[after] - y[-1]) * (false_rate - x[-1]) / (false[after] - x[-1])
            x, y = np.append(x, false_rate), np.append(y, y[-1] + rise)
        return float(np.trapezoid(y, x) / false_rate)

    def f1(self, limit: float) -> dict[str, float] | None:
        """F1, IoU, precision and recall of pixels at or above a limit; None when nothing is marked."""
        marked = int(self.marked.sum())
        if not marked:
            return None
        first = int(_levels(np.asarray([limit]))[0])
        hits, false = int(self.marked[first:].sum()), int(self.good[first:].sum())
        return _pixel_figures(hits, false, marked)

    def best_f1(self) -> tuple[float, float] | None:
        """(F1, limit) of the best limit on these very pixels: what could be had, not what is claimed."""
        if not self.marked.sum():
            return None
        hits = np.cumsum(self.marked[::-1])[::-1]
        false = np.cumsum(self.good[::-1])[::-1]
        score = 2 * hits / np.maximum(hits + false + self.marked.sum(), 1)
        best = int(np.argmax(score))
        limit = (np.asarray([best], np.uint32) << np.uint32(_LEVEL_BITS)).view(np.float32)[0]
        return float(score[best]), float(limit)

    def pixel_auroc(self) -> float | None:
        """Share of (marked, good) pixel pairs in which the marked one scores higher, ties as a half."""
        marked, good = int(self.marked.sum()), int(self.good.sum())
        if not marked or not good:
            return None
        below = np.cumsum(self.good) - self.good
        return float((self.marked * (below + self.good / 2)).sum() / (marked * good))


def _pixel_figures(hits: int, false: int, marked: int) -> dict[str, float]:
    return {
        "f1": 2 * hits / max(hits + false + marked, 1),
        "iou": hits / max(false + marked, 1),
        "precision": hits / max(hits + false, 1),
        "recall": hits / marked,
    }
