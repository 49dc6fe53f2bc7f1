# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a set of answers is worth: part-level escapes and overkill, limits, protocol scores. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from inspection.statistics import upper_bound
from inspection.types import Box, Finding

SOFT_STEP, CLASS_REACH = 0.25, 0.5
"""Log-odds; see `choose_limits`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartAnswer:
    """What was found on one part, over all its views, beside what is true.

    `counted`: False for a defective part below the limit of detectability; it is reported apart.
    """

    defective: bool
    counted: bool
    best: Mapping[str, float]  # highest score of each class that was found
    size_px: float = 0.0  # of the most visible defect
    detectability: float = 0.0  # of the same, where known
    kind: str = ""


def best_scores(findings: Sequence[Finding]) -> dict[str, float]:
    """Return the highest score of each class among findings."""
    best: dict[str, float] = {}
    for finding in findings:
        best[finding.defect_class] = max(best.get(finding.defect_class, 0.0), finding.score)
    return best


def rejected(answer: PartAnswer, limits: Mapping[str, float]) -> bool:
    """Say whether a part would be rejected: any class at or above its limit (rules with max_count 0)."""
    return any(score >= limits[name] for name, score in answer.best.items())


def part_figures(answers: Sequence[PartAnswer], limits: Mapping[str, float]) -> dict[str, float | int]:
    """Count escapes (defective and passed) and overkill (good and rejected), with exact 95 % upper bounds."""
    counted = [a for a in answers if a.defective and a.counted]
    below = [a for a in answers if a.defective and not a.counted]
    good = [a for a in answers if not a.defective]
    escapes = sum(not rejected(a, limits) for a in counted)
    overkill = sum(rejected(a, limits) for a in good)
    return {
        "defective": len(counted),
        "escapes": escapes,
        "escape_rate": escapes / max(len(counted), 1),
        "escape_upper_95": upper_bound(escapes, len(counted)),
        "good": len(good),
        "overkill": overkill,
        "overkill_rate": overkill / max(len(good), 1),
        "overkill_upper_95": upper_bound(overkill, len(good)),
        "below_limit": len(below),
        "below_limit_passed": sum(not rejected(a, limits) for a in below),
    }


def escapes_by_size(
    answers: Sequence[PartAnswer],
    limits: Mapping[str, float],
    edges_px: Sequence[float] = (0, 6, 10, 20, 40, 1e9),
) -> dict[str, dict[str, int]]:
    """Count counted defective parts and escapes by the size of the part's most visible defect."""
    table: dict[str, dict[str, int]] = {}
    for low, high in pairwise(edges_px):
        inside = [a for a in answers if a.defective and a.counted and low <= a.size_px < high]
        name = f"{low:g}..{high:g}" if high < 1e8 else f"{low:g}.."
        table[name] = {"defective": len(inside), "escapes": sum(not rejected(a, limits) for a in inside)}
    return table


def choose_limits(
    answers: Sequence[PartAnswer],
    classes: Sequence[str],
    *,
    escape_target: float = 0.01,
    overkill_target: float = 0.02,
    floor: float = 0.05,
) -> dict[str, float]:
    """Choose a score limit for each class on validation answers: one common limit, then class by class.

    The cost is escapes and overkill in units of their targets. A part near its limit counts in part (a
    logistic step of `SOFT_STEP` in log-odds), so that limits keep clear of parts on either side, and a class
    may move by `CLASS_REACH` log-odds from the common limit at most: a handful of parts must not decide (hard
    counts and free limits gave 0.5 % escapes where they were chosen and 4.6 % on other seeds).
    """
    grid = np.linspace(_log_odds(np.array(floor)), 3.0, 100)
    scores = [[a.best.get(name, 0.0) for name in classes] for a in answers]
    odds = _log_odds(np.array(scores, np.float64).reshape(-1, len(classes)))
    defective = np.asarray([a.defective and a.counted for a in answers], dtype=bool)
    good = np.asarray([not a.defective for a in answers], dtype=bool)

    def cost(limits: np.ndarray) -> float:
        margin = (odds - limits).max(axis=1) / SOFT_STEP
        reject = 1 / (1 + np.exp(-np.clip(margin, -60, 60)))
        escape = (1 - reject[defective]).mean() if defective.any() else 0.0
        overkill = reject[good].mean() if good.any() else 0.0
        return float(escape / escape_target + overkill / overkill_target)

    common = min(grid, key=lambda value: cost(np.full(len(classes), value)))
    limits = np.full(len(classes), common)
    near = grid[np.abs(grid - common) <= CLASS_REACH]
    for _ in range(2):
        for index in range(len(classes)):
            tried = np.repeat(limits[None], len(near), axis=0)
            tried[:, index] = near
            limits[index] = near[int(np.argmin([cost(row) for row in tried]))]
    return {
        name: round(float(1 / (1 + np.exp(-limit))), 4) for name, limit in zip(classes, limits, strict=True)
    }


def _log_odds(scores: np.ndarray) -> np.ndarray:
    clipped = np.clip(scores, 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One finding or one truth of one picture, in that picture's pixels."""

    picture: int
    class_index: int
    box: Box
    score: float = 1.0


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a.x1_px, b.x1_px) - max(a.x0_px, b.x0_px)
    height = min(a.y1_px, b.y1_px) - max(a.y0_px, b.y0_px)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.width_px * a.height_px + b.width_px * b.height_px - shared)


def match(found: Sequence[Scored], truth: Sequence[Scored], threshold: float) -> list[tuple[float, bool]]:
    """Pair findings with truths of the same picture and class, best score first, each truth once.

    Returns (score, hit) of every finding, best first. A hit needs an IoU above `threshold`.
    """
    open_truths: dict[tuple[int, int], list[Box]] = {}
    for item in truth:
        open_truths.setdefault((item.picture, item.class_index), []).append(item.box)
    hits = []
    for item in sorted(found, key=lambda f: -f.score):
        candidates = open_truths.get((item.picture, item.class_index), [])
        overlaps = [iou(item.box, box) for box in candidates]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=-1)
        hit = best >= 0 and overlaps[best] > threshold
        if hit:
            del candidates[best]
        hits.append((item.score, hit))
    return hits


def mean_average_precision(
    found: Sequence[Scored], truth: Sequence[Scored], classes: int, threshold: float
) -> tuple[float, list[float]]:
    """Return mAP and the AP of each class: the sum of the precision at each hit over the number of truths.

    That is how the ICDAR 2015 script, from which DeepPCB's derives, computes it (no interpolation). A class
    without truths is left out of the mean (NaN in the list).
    """
    values: list[float] = []
    for index in range(classes):
        mine = [item for item in truth if item.class_index == index]
        hits = [hit for _, hit in match([f for f in found if f.class_index == index], mine, threshold)]
        right = np.cumsum(hits)
        precision = right / np.arange(1, len(hits) + 1) if hits else np.zeros(0)
        values.append(float(precision[np.asarray(hits, bool)].sum() / len(mine)) if mine else float("nan"))
    return float(np.nanmean(values)) if values else 0.0, values


def f_score(found: Sequence[Scored], truth: Sequence[Scored], threshold: float, min_score: float) -> float:
    """Return the pooled F of all findings at or above `min_score`."""
    kept = [item for item in found if item.score >= min_score]
    hits = sum(hit for _, hit in match(kept, truth, threshold))
    return 2 * hits / max(len(kept) + len(truth), 1)


def best_f_limit(found: Sequence[Scored], truth: Sequence[Scored], threshold: float) -> float:
    """Return the score limit with the best F on validation answers."""
    grid = np.round(np.arange(0.05, 0.96, 0.01), 2)
    return float(max(grid, key=lambda value: f_score(found, truth, threshold, float(value))))
