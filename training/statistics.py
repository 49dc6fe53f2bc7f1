# SPDX-License-Identifier: AGPL-3.0-or-later
"""What findings are worth beside the truth: matching, protocol scores, and the limits to put on them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inspection.types import Box, Finding

SOFT_STEP, CLASS_REACH = 0.25, 0.5
"""Log-odds; see `choose_limits`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartAnswer:
    """What was found on one part, over all its views, beside what is true.

    `counted`: False for a defective part below the limit of detectability; it is reported apart.
    """

    name: str
    defective: bool
    views: tuple[tuple[Finding, ...], ...]  # findings of each view; `camera` is the view's number
    counted: bool = True
    kinds: tuple[str, ...] = ()  # classes of the defects it has
    kind: str = ""  # of the most visible defect
    size_px: float = 0.0  # of the same
    detectability: float = 0.0  # of the same, where known
    faults: tuple[str, ...] = ()  # views that the engine could not look at: the part is not inspected
    shown: tuple[int, ...] = ()  # its pictures in `Answers.shown`


def best_scores(part: PartAnswer) -> dict[str, float]:
    """Return the highest score of each class among the findings of a part."""
    best: dict[str, float] = {}
    for findings in part.views:
        for finding in findings:
            best[finding.defect_class] = max(best.get(finding.defect_class, 0.0), finding.score)
    return best


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
    best = [best_scores(answer) for answer in answers]
    scores = [[row.get(name, 0.0) for name in classes] for row in best]
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


def voc_average_precision(
    found: Sequence[Scored], truth: Sequence[Scored], classes: int, threshold: float = 0.5
) -> tuple[float, list[float]]:
    """Return mAP and the AP of each class as the VOC 2010 development kit computes it.

    A finding belongs to the truth that it overlaps most; the second on one truth is a false alarm. Precision is
    made to fall, then summed over all points of recall. A class without truths is left out of the mean (NaN).
    """
    values: list[float] = []
    for index in range(classes):
        boxes: dict[int, list[Box]] = {}
        for item in truth:
            if item.class_index == index:
                boxes.setdefault(item.picture, []).append(item.box)
        taken: set[tuple[int, int]] = set()
        hits: list[bool] = []
        for item in sorted((f for f in found if f.class_index == index), key=lambda f: -f.score):
            overlaps = [iou(item.box, box) for box in boxes.get(item.picture, [])]
            best = max(range(len(overlaps)), key=overlaps.__getitem__, default=-1)
            place = (item.picture, best)
            hits.append(best >= 0 and overlaps[best] > threshold and place not in taken)
            if hits[-1]:
                taken.add(place)
        total = sum(map(len, boxes.values()))
        right = np.cumsum(hits)
        precision = right / np.arange(1, len(hits) + 1) if hits else np.zeros(0)
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        values.append(float(falling[np.asarray(hits, bool)].sum() / total) if total else float("nan"))
    return float(np.nanmean(values)) if truth else 0.0, values


def f_score(found: Sequence[Scored], truth: Sequence[Scored], threshold: float, min_score: float) -> float:
    """Return the pooled F of all findings at or above `min_score`."""
    kept = [item for item in found if item.score >= min_score]
    hits = sum(hit for _, hit in match(kept, truth, threshold))
    return 2 * hits / max(len(kept) + len(truth), 1)


def best_f_limit(found: Sequence[Scored], truth: Sequence[Scored], threshold: float) -> float:
    """Return the score limit with the best F on validation answers."""
    grid = np.round(np.arange(0.05, 0.96, 0.01), 2)
    return float(max(grid, key=lambda value: f_score(found, truth, threshold, float(value))))
