# SPDX-License-Identifier: AGPL-3.0-or-later
"""How sure a mean average precision is: a percentile bootstrap over groups of pictures. Pure.

Pictures of one sequence, lot or part look alike, so whole groups are drawn again (Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, ch. 8 and 13). Each draw's precision is COCO's own: matches at IoU 0.5,
the best hundred a class and picture, precision made monotone, read at 101 recalls. With few groups such an
interval is too narrow; how many there were is told beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 1000
LEAST_GROUPS = 5
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMatches:
    """One class at IoU 0.5. scores, hits, pictures: of each finding; marks: labels in each picture."""

    scores: np.ndarray  # float64 (findings,)
    hits: np.ndarray  # bool
    pictures: np.ndarray  # int64, index of the picture
    marks: np.ndarray  # int64 (pictures,)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapInterval:
    """Two-sided 95 % of mAP at IoU 0.5, from `groups` groups of pictures."""

    low: float
    high: float
    groups: int


def map50_of(classes: Sequence[ClassMatches], weights: np.ndarray) -> float | None:
    """MAP at IoU 0.5 where picture n counts weights[n] times; None where no class has a label then."""
    values = [value for c in classes if (value := _precision(c, weights)) is not None]
    return float(np.mean(values)) if values else None


def _precision(matches: ClassMatches, weights: np.ndarray) -> float | None:
    marks = int(matches.marks @ weights)
    if marks == 0:
        return None
    order = np.argsort(-matches.scores, kind="mergesort")  # as pycocotools sorts
    counted = weights[matches.pictures[order]]
    hits = np.cumsum(counted * matches.hits[order])
    shown = np.cumsum(counted)
    recall = hits / marks
    precision = np.divide(hits, shown, out=np.zeros(len(hits)), where=shown > 0)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return (
        float(np.where(at < len(precision), precision[np.minimum(at, len(precision) - 1)], 0).mean())
        if len(precision)
        else 0.0
    )


def map50_interval(
    classes: Sequence[ClassMatches], groups: Sequence[str], *, seed: int = 0, draws: int = DRAWS
) -> MapInterval | None:
    """The interval; None where there are fewer than LEAST_GROUPS groups to draw. groups: one name a picture."""
    names, member = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    if len(names) < LEAST_GROUPS:
        return None
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        value = map50_of(classes, times[member])
        if value is not None:
            values.append(value)
    low, high = np.quantile(values, [0.025, 0.975])
    return MapInterval(low=float(low), high=float(high), groups=len(names))
