# SPDX-License-Identifier: AGPL-3.0-or-later
"""AUROC, AUPRO and pixel F1 against brute force that shares no line with them, and intervals that cover."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.areas import PixelTally, auroc, roc_points

_SCORES = st.lists(st.integers(0, 8).map(lambda i: i / 8), min_size=1, max_size=30)


@given(good=_SCORES, bad=_SCORES)
@settings(max_examples=150, deadline=None)
def test_auroc_is_the_share_of_pairs_in_the_right_order(good: list[float], bad: list[float]):
    pairs = [1.0 if b > g else 0.5 if b == g else 0.0 for b in bad for g in good]
    area = auroc(good, bad)
    assert area is not None
    assert area.value == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= area.low <= area.value + 1e-12
    assert area.value - 1e-12 <= area.high <= 1
    points = np.asarray(roc_points(good, bad))
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(area.value)


def test_delong_agrees_with_the_variance_written_out():
    chance = np.random.default_rng(3)
    good, bad = chance.normal(0, 1, 23), chance.normal(1, 1, 17)
    psi = (bad[:, None] > good[None]) + 0.5 * (bad[:, None] == good[None])
    variance = psi.mean(axis=1).var(ddof=1) / 17 + psi.mean(axis=0).var(ddof=1) / 23
    value = psi.mean()
    odds, reach = np.log(value / (1 - value)), 1.959964 * np.sqrt(variance) / (value * (1 - value))
    area = auroc(list(good), list(bad))
    assert area is not None
    assert area.low == pytest.approx(1 / (1 + np.exp(-(odds - reach))), abs=1e-6)
    assert area.high == pytest.approx(1 / (1 + np.exp(-(odds + reach))), abs=1e-6)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    chance = np.random.default_rng(11)

    truth = 0.5 * (1 + erf(1.5 / 2))  # P(N(1.5, 1) > N(0, 1))
    inside = 0
    for _ in range(400):
        area = auroc(list(chance.normal(0, 1, 40)), list(chance.normal(1.5, 1, 30)))
        assert area is not None
        inside += area.low <= truth <= area.high
    assert 365 <= inside <= 395  # 380 expected; 91.25 % to 98.75 %


def test_a_perfect_separation_is_no_certainty():
    few, many = auroc([0.1] * 5, [0.9] * 5), auroc([0.1] * 200, [0.9] * 200)
    assert few is not None
    assert many is not None
    assert few.value == many.value == 1.0
    assert few.low < 0.8 < many.low < 1.0


def test_one_side_empty_is_no_area():
    assert auroc([], [0.5]) is None
    assert auroc([0.5], []) is None


def _flood(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """8-connected regions by hand."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    regions = []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        regions.append(region)
    return regions


def _aupro_by_hand(maps: list[np.ndarray], masks: list[np.ndarray], most: float) -> float:
    regions = [(scores, region) for scores, mask in zip(maps, masks, strict=True) for region in _flood(mask)]
    good = np.concatenate([scores[~mask] for scores, mask in zip(maps, masks, strict=True)])
    x, y = [0.0], [0.0]
    for limit in sorted({float(v) for scores in maps for v in scores.ravel()}, reverse=True):
        x.append(float((good >= limit).mean()))
        covered = [sum(scores[p] >= limit for p in region) / len(region) for scores, region in regions]
        y.append(float(np.mean(covered)))
    area = 0.0
    for i in range(1, len(x)):
        x0, x1, y0, y1 = x[i - 1], x[i], y[i - 1], y[i]
        if x0 >= most:
            break
        if x1 > most:
            y1, x1 = y0 + (y1 - y0) * (most - x0) / (x1 - x0), most
        area += (x1 - x0) * (y0 + y1) / 2
    return area / most


@pytest.mark.parametrize("seed", range(12))
def test_pixel_figures_agree_with_brute_force(seed: int):
    chance = np.random.default_rng(seed)
    maps, masks, tally = [], [], PixelTally()
    for number in range(4):
        mask = chance.random((9, 11)) < (0.0 if number == 0 else 0.2)
        scores = np.clip(chance.integers(0, 64, mask.shape) / 64 + 0.3 * mask, 0, 1).astype(np.float32)
        scores = np.round(scores * 64) / 64  # values that no level rounds
        maps.append(scores.astype(np.float32))
        masks.append(mask)
        tally.add(maps[-1], mask)
    assert tally.aupro() == pytest.approx(_aupro_by_hand(maps, masks, 0.3), abs=1e-9)
    assert tally.aupro(1.0) == pytest.approx(_aupro_by_hand(maps, masks, 1.0), abs=1e-9)
    scores = np.concatenate([m.ravel() for m in maps])
    truth = np.concatenate([m.ravel() for m in masks])

    def f1(limit: float) -> float:
        hits = (truth & (scores >= limit)).sum()
        return float(2 * hits / max(1, (scores >= limit).sum() + truth.sum()))

    figures = tally.f1(0.5)
    assert figures is not None
    assert figures["f1"] == pytest.approx(f1(0.5))
    union = (truth | (scores >= 0.5)).sum()
    assert figures["iou"] == pytest.approx((truth & (scores >= 0.5)).sum() / union)
    best = tally.best_f1()
    assert best is not None
    assert best[0] == pytest.approx(max(f1(limit) for limit in np.unique(scores)))
    assert f1(best[1]) == pytest.approx(best[0])
    pairs = (scores[truth][:, None] > scores[~truth][None]) + 0.5 * (
        scores[truth][:, None] == scores[~truth][None]
    )
    assert tally.pixel_auroc() == pytest.approx(pairs.mean())


def test_small_scores_are_told_apart_as_finely_as_large_ones():
    tally = PixelTally()
    scores = np.linspace(1e-6, 2e-6, 100, dtype=np.float32).reshape(10, 10)
    mask = scores > 1.8e-6
    tally.add(scores, mask)
    area = tally.pixel_auroc()
    assert area is not None
    assert area > 0.99


def test_peaks_are_counted_only_where_there_is_a_mask():
    tally = PixelTally()
    scores, mask = np.zeros((4, 4), np.float32), np.zeros((4, 4), bool)
    scores[1, 1] = 0.9
    tally.add(scores, mask)
    mask[1, 1] = True
    tally.add(scores, mask)
    tally.add(scores, np.roll(mask, 1))
    assert (tally.peaks, tally.shown) == (1, 2)
