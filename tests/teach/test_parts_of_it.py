# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bank, Gaussian, limit, folds, score: each against plain arithmetic or an oracle of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.labels import Picture
from datasets.ranks import auroc
from training.anomaly import gaussian
from training.anomaly.bank import coreset, distances, extended
from training.anomaly.folds import folds_of
from training.anomaly.gaussian import PoseSums, pose_distances
from training.anomaly.taught import scores_of
from training.anomaly.threshold import choose_limit


def _picture(name: str, **given: str) -> Picture:
    return Picture(name=name, path=Path(name), width_px=10, height_px=10, image_class="good", **given)


def test_distances_are_those_of_the_nearest_entry():
    rng = np.random.default_rng(0)
    patches, bank = (rng.standard_normal((n, 7)).astype(np.float32) for n in (60, 11))
    plain = np.linalg.norm(patches[:, None] - bank[None], axis=2).min(axis=1)
    assert distances(patches, bank) == pytest.approx(plain, abs=1e-4)


def test_a_greedy_bank_leaves_no_kind_of_patch_out_where_a_random_one_does():
    rng = np.random.default_rng(1)
    common, rare = (
        rng.normal(0, 0.1, (3000, 8)),
        rng.normal(0, 0.1, (12, 8)) + 3 * np.eye(8)[rng.integers(8, size=12)],
    )
    patches = np.concatenate([common, rare]).astype(np.float32)
    greedy = coreset(patches, 40, np.random.default_rng(2))
    chance = patches[np.random.default_rng(2).choice(len(patches), 40, replace=False)]
    assert distances(patches, greedy).max() < 0.5 < distances(patches, chance).max()


def test_an_extended_bank_covers_what_is_new_and_keeps_what_it_had():
    rng = np.random.default_rng(3)
    bank = rng.normal(0, 1, (50, 6)).astype(np.float32)
    new = (rng.normal(0, 0.3, (80, 6)) + 6).astype(np.float32)
    longer = extended(bank, new, 1.0, 100)
    assert np.array_equal(longer[:50], bank)
    assert distances(new, longer).max() <= 1.0
    assert len(extended(bank, new, 1.0, 3)) == 53


def test_running_sums_are_those_of_all_parts_at_once_and_scores_follow(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(4)
    parts = rng.normal(size=(25, 6, 3)) * np.array([1.0, 3.0, 0.2]) + 5
    sums = PoseSums.empty(6, 3)
    for part in parts:
        sums.add(part)
    monkeypatch.setattr(gaussian, "_AT_ONCE", 4)  # 6 positions: a whole round and a rest
    at_once = PoseSums.of(parts)
    assert at_once.parts == 25
    assert at_once.first == pytest.approx(sums.first)
    assert at_once.second == pytest.approx(sums.second)
    mean, whitening = sums.solved()
    assert mean == pytest.approx(parts.mean(axis=0), abs=1e-5)
    own = np.stack([np.cov(parts[:, p].T, bias=True) for p in range(6)])
    share = 25 / (25 + 40)
    common = own.mean(axis=0)
    covariance = share * own + (1 - share) * common + 0.05 * np.trace(common) / 3 * np.eye(3)
    away = parts[0] - mean
    plain = np.sqrt(np.einsum("pi,pij,pj->p", away, np.linalg.inv(covariance), away) / 3)
    assert pose_distances(parts[0].astype(np.float32), mean, whitening) == pytest.approx(plain, rel=1e-3)


@given(
    st.lists(st.floats(0.1, 100), min_size=2, max_size=40, unique=True),
    st.floats(0.5, 50),
)
def test_scores_rise_strictly_with_distance_and_meet_half_at_the_limit(values: list[float], limit: float):
    ordered = np.sort(np.array(values, np.float64))
    scores = scores_of(ordered, limit)
    assert (np.diff(scores) >= 0).all()
    assert ((scores >= 0.5) == (ordered >= np.float32(limit))).all()
    far = scores_of(np.array([10.0, 20.0]), 1.0)
    assert far[0] < far[1] < 1.0  # never clamped


@given(st.integers(8, 400), st.sampled_from([0.01, 0.02, 0.05, 0.1]))
def test_the_expected_overkill_is_what_was_wanted_where_the_good_parts_carry_it(good: int, wanted: float):
    limit = choose_limit(list(np.arange(1.0, good + 1)), wanted)
    if (good + 1) * wanted >= 1 - 1e-9:
        assert limit.expected_overkill <= wanted + 1e-9
        assert (limit.above + 2) / (good + 1) > wanted  # and no stricter than it must be
    else:
        assert limit.above == 0
        assert "needed" in limit.sentence()


def test_the_overkill_bound_holds_in_at_least_95_of_100_teachings():
    """Scores from a known distribution, whose true overkill at the limit is known exactly."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(1000):
        limit = choose_limit(rng.exponential(size=100), 0.05)
        true = float(np.exp(-limit.value))
        held += true <= float(str(limit.figures()["overkill_upper_95"]))
    assert held >= 935  # 950 expected at least; four standard deviations below


def test_a_limit_from_parts_the_model_knows_would_be_far_too_low():
    """The seeded bug that cross-validation is there for: distances to a bank that holds the very parts."""
    rng = np.random.default_rng(6)
    parts = rng.normal(size=(40, 30, 12)).astype(np.float32)
    new = rng.normal(size=(200, 30, 12)).astype(np.float32)
    bank = parts.reshape(-1, 12)
    knows = [distances(part, bank).max() for part in parts]
    held_out = [distances(p, np.delete(parts, i, axis=0).reshape(-1, 12)).max() for i, p in enumerate(parts)]
    fresh = np.array([distances(part, bank).max() for part in new])
    assert (fresh >= choose_limit(knows, 0.1).value).mean() > 0.9
    assert (fresh >= choose_limit(held_out, 0.1).value).mean() < 0.25


@settings(max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=12, max_size=60), st.integers(0, 5))
def test_parts_of_one_lot_never_straddle_folds(lots: list[int], seed: int):
    pictures = [_picture(f"{n}.png", lot=f"L{lot}", part=f"{n}") for n, lot in enumerate(lots)]
    folds = folds_of(pictures, seed)
    if len(set(lots)) >= 3:
        assert folds.follow == "lot"
        for lot in set(lots):
            assert len({fold for fold, mine in zip(folds.numbers, lots, strict=True) if mine == lot}) == 1
    assert folds == folds_of(pictures, seed)


def test_views_of_one_part_stay_together_and_sequences_count_where_there_are_no_lots():
    views = [_picture(f"{n}-{view}.png", part=f"P{n}") for n in range(10) for view in range(3)]
    folds = folds_of(views, 0)
    assert folds.follow == "part"
    assert all(len(set(folds.numbers[3 * n : 3 * n + 3])) == 1 for n in range(10))
    timed = [replace(picture, sequence=f"S{n % 4}") for n, picture in enumerate(views)]
    assert folds_of(timed, 0).follow == "sequence"


def test_auroc_counts_ties_as_half():
    assert auroc([1, 2], [2, 3]) == pytest.approx((0.5 + 1 + 1 + 1) / 4)
