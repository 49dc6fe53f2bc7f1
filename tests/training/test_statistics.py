# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bounds against scipy, matching against a brute-force oracle, thresholds on data that can be split by eye."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.statistics import lower_bound, upper_bound
from inspection.types import Box, Finding
from training.part_level import part_figures, recipe_from_limits
from training.statistics import (
    PartAnswer,
    Scored,
    best_f_limit,
    choose_limits,
    f_score,
    iou,
    match,
    mean_average_precision,
    voc_average_precision,
)


@given(n=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.sampled_from([0.9, 0.95, 0.99]))
@settings(max_examples=80, deadline=None)
def test_bounds_agree_with_the_beta_quantiles(n: int, share: float, confidence: float):
    beta = pytest.importorskip("scipy.stats").beta
    k = round(share * n)
    expected_upper = 1.0 if k == n else beta.ppf(confidence, k + 1, n - k)
    expected_lower = 0.0 if k == 0 else beta.ppf(1 - confidence, k, n - k + 1)
    assert upper_bound(k, n, confidence) == pytest.approx(expected_upper, abs=1e-9)
    assert lower_bound(k, n, confidence) == pytest.approx(expected_lower, abs=1e-9)


def test_known_bounds():
    assert upper_bound(0, 299) == pytest.approx(1 - 0.05 ** (1 / 299))  # the rule of three, exactly
    assert upper_bound(0, 0) == 1.0
    assert lower_bound(0, 10) == 0.0
    assert upper_bound(3, 3) == 1.0


@pytest.mark.parametrize(("k", "n", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_impossible_counts_are_refused(k: int, n: int, confidence: float):
    with pytest.raises(ValueError, match=r"cannot be|confidence"):
        upper_bound(k, n, confidence)


def _box(x: float, y: float, side: float = 10) -> Box:
    return Box(x0_px=x, y0_px=y, x1_px=x + side, y1_px=y + side)


def test_iou_of_halves_and_strangers():
    assert iou(_box(0, 0), _box(5, 0)) == pytest.approx(50 / 150)
    assert iou(_box(0, 0), _box(10, 0)) == 0.0
    assert iou(_box(3, 3), _box(3, 3)) == 1.0


def test_each_truth_is_hit_once_and_only_in_its_picture_and_class():
    truth = [Scored(picture=0, class_index=1, box=_box(0, 0))]
    found = [
        Scored(picture=0, class_index=1, box=_box(1, 0), score=0.9),
        Scored(picture=0, class_index=1, box=_box(0, 0), score=0.8),  # the same defect again: a false alarm
        Scored(picture=1, class_index=1, box=_box(0, 0), score=0.7),
        Scored(picture=0, class_index=0, box=_box(0, 0), score=0.6),
    ]
    assert match(found, truth, 0.33) == [(0.9, True), (0.8, False), (0.7, False), (0.6, False)]


def test_average_precision_is_precision_summed_over_hits():
    truth = [Scored(picture=p, class_index=0, box=_box(0, 0)) for p in range(4)]
    found = [
        Scored(picture=0, class_index=0, box=_box(0, 0), score=0.9),
        Scored(picture=0, class_index=0, box=_box(50, 0), score=0.8),
        Scored(picture=1, class_index=0, box=_box(0, 0), score=0.7),
    ]
    mean, each = mean_average_precision(found, truth, 2, 0.33)
    assert each[0] == pytest.approx((1 / 1 + 2 / 3) / 4)
    assert np.isnan(each[1])  # nothing of class 1 to find: not a zero
    assert mean == pytest.approx(each[0])


def test_f_score_and_its_limit():
    truth = [Scored(picture=0, class_index=0, box=_box(0, 0))]
    found = [
        Scored(picture=0, class_index=0, box=_box(0, 0), score=0.8),
        Scored(picture=0, class_index=0, box=_box(80, 0), score=0.3),
    ]
    assert f_score(found, truth, 0.33, 0.1) == pytest.approx(2 / 3)
    assert f_score(found, truth, 0.33, 0.5) == 1.0
    assert 0.3 < best_f_limit(found, truth, 0.33) <= 0.8


def _part(best: dict[str, float], *, defective: bool, counted: bool = True) -> PartAnswer:
    findings = tuple(Finding(defect_class=n, score=v, box=_box(0, 0)) for n, v in best.items() if v)
    return PartAnswer(name="p", defective=defective, counted=counted, views=(findings,))


def _answers(scores: list[float], *, defective: bool, counted: bool = True) -> list[PartAnswer]:
    return [_part({"a": s, "b": 0.0}, defective=defective, counted=counted) for s in scores]


def test_figures_count_escapes_overkill_and_what_cannot_be_seen_apart():
    answers = [
        *_answers([0.9, 0.4], defective=True),
        *_answers([0.1, 0.2], defective=True, counted=False),
        *_answers([0.0, 0.6, 0.2], defective=False),
    ]
    figures = part_figures(answers, recipe_from_limits({"a": 0.5, "b": 0.5}))
    assert (figures["defective"], figures["escapes"]) == (2, 1)
    assert (figures["good"], figures["overkill"]) == (3, 1)
    assert (figures["below_limit"], figures["below_limit_passed"]) == (2, 2)
    assert figures["escape_upper_95"] == pytest.approx(upper_bound(1, 2))


def test_limits_stand_in_the_middle_of_the_gap_between_good_and_bad():
    answers = [
        *_answers([0.7, 0.8, 0.95], defective=True),
        *_answers([0.05, 0.1, 0.3], defective=False),
        *[_part({"a": 0.0, "b": 0.42}, defective=False)] * 3,
    ]
    limits = choose_limits(answers, ["a", "b"])
    assert 0.3 < limits["a"] <= 0.7
    figures = part_figures(answers, recipe_from_limits(limits))
    assert figures["escapes"] == figures["overkill"] == 0


def _voc_by_hand(found: list[Scored], truth: list[Scored], threshold: float) -> float:
    """The development kit's loop, written down as it is: the independent oracle."""
    taken = [False] * len(truth)
    true_positive, false_positive = [], []
    for item in sorted(found, key=lambda f: -f.score):
        best, at = -1.0, -1
        for number, mark in enumerate(truth):
            if mark.picture == item.picture and iou(mark.box, item.box) > best:
                best, at = iou(mark.box, item.box), number
        hit = best > threshold and not taken[at]
        if hit:
            taken[at] = True
        true_positive.append(hit)
        false_positive.append(not hit)
    tp, fp = np.cumsum(true_positive), np.cumsum(false_positive)
    recall = np.concatenate([[0.0], tp / len(truth), [1.0]])
    precision = np.concatenate([[0.0], tp / np.maximum(tp + fp, 1e-12), [0.0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum())


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_voc_average_precision_agrees_with_the_development_kit(seed: int):
    chance = np.random.default_rng(seed)

    def some(count: int) -> list[Scored]:
        return [
            Scored(
                picture=int(chance.integers(3)),
                class_index=0,
                box=_box(float(chance.integers(0, 12)), float(chance.integers(0, 6))),
                score=float(score),
            )
            for score in chance.permutation(count) / 50
        ]

    truth, found = some(6), some(12)
    mean, _ = voc_average_precision(found, truth, 1, 0.5)
    assert mean == pytest.approx(_voc_by_hand(found, truth, 0.5))
