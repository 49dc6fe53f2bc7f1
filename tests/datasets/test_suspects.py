# SPDX-License-Identifier: AGPL-3.0-or-later
"""Flipped labels stand first in the list of suspects, and a group never vouches for its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.classifier import PENALTY, fit, folds_by_group, out_of_fold
from datasets.features import plain_features
from datasets.suspects import box_suspects, picture_suspects, ranked, worth_a_look
from tests.datasets.drawn import some


def clusters(rng: np.random.Generator, count: int, classes: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(classes, size=count)
    centres = rng.normal(0, apart, (classes, 12))
    return (centres[labels] + rng.normal(0, 1, (count, 12))).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_flipped_labels_stand_in_the_first_tenth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, truth = clusters(rng, 400, 3, 1.0)
    flipped = rng.permutation(400)[:20]
    labels = truth.copy()
    labels[flipped] = (labels[flipped] + rng.integers(1, 3, 20)) % 3
    order, beliefs = ranked(features, labels, 3, range(400))
    assert np.isin(flipped, order[:40]).mean() >= 0.5
    assert np.allclose(beliefs.sum(axis=1), 1.0)


def test_a_twin_with_the_same_wrong_label_does_not_vouch_for_it() -> None:
    rng = np.random.default_rng(3)
    features, labels = clusters(rng, 120, 2, 1.2)
    wrong = np.flatnonzero(labels == 0)[:1]
    # one part, photographed twelve times, and wrong every time
    features = np.concatenate([features, np.repeat(features[wrong], 12, axis=0) + 0.01])
    labels = np.concatenate([labels, np.ones(12, int)])
    groups = [*range(120), *["part"] * 12]
    groups[int(wrong[0])] = "part"
    _, by_part = ranked(features, labels, 2, groups)
    _, alone = ranked(features, labels, 2, range(len(labels)))
    assert by_part[-12:, 1].mean() < 0.3
    assert alone[-12:, 1].mean() > by_part[-12:, 1].mean() + 0.1  # what tearing the part would do


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=1, max_size=60),
    folds=st.integers(2, 6),
    seed=st.integers(0, 5),
)
def test_folds_never_tear_a_group_and_are_of_about_equal_size(groups: list[int], folds: int, seed: int) -> None:
    fold_of = folds_by_group(groups, folds, seed)
    for group in set(groups):
        assert len({int(f) for f, g in zip(fold_of, groups, strict=True) if g == group}) == 1
    largest = max(groups.count(group) for group in groups)
    sizes = np.bincount(fold_of, minlength=min(folds, len(set(groups))))
    assert sizes.max() - sizes.min() <= largest
    assert (sizes > 0).all()


def test_out_of_fold_scores_do_not_depend_on_the_label_judged() -> None:
    rng = np.random.default_rng(0)
    features, labels = clusters(rng, 60, 2, 1.0)
    fold_of = folds_by_group(range(60), 5)
    before = out_of_fold(features, labels, 2, fold_of)
    changed = labels.copy()
    changed[7] = 1 - changed[7]
    assert np.allclose(before[7], out_of_fold(features, changed, 2, fold_of)[7])


def test_few_rows_of_many_features_are_fitted_to_the_same_answer() -> None:
    rng = np.random.default_rng(4)
    wide, labels = rng.normal(0, 1, (30, 50)).astype(np.float32), rng.integers(2, size=30)
    quick = fit(wide, labels, 2)
    # the condition of the optimum: the slope of the penalised likelihood is zero
    scaled = (wide - quick.middle) / quick.spread
    slope = scaled.T @ (quick.probabilities(wide)[:, 1] - labels) + PENALTY * quick.weights[:-1, 0]
    assert np.abs(slope).max() < 1e-2


def test_a_missing_class_and_balance_are_borne() -> None:
    rng = np.random.default_rng(1)
    features, labels = clusters(rng, 50, 2, 1.5)
    wide = fit(features, labels, 4).probabilities(features)
    assert wide[:, 2:].max() < 0.2
    rare = np.where(np.arange(50) < 46, 0, 1)
    features[46:] += 1.0
    plain = fit(features, rare, 2).probabilities(features)[46:, 1].mean()
    assert fit(features, rare, 2, balanced=True).probabilities(features)[46:, 1].mean() > plain
    with pytest.raises(ValueError, match="rows of features"):
        fit(features, labels[:3], 2)


def test_flipped_pictures_and_boxes_are_suspected(tmp_path: Path) -> None:
    pictures = some(tmp_path, range(60), bad_every=3)
    wrong = pictures[31]  # good, called defective
    pictures[31] = replace(wrong, image_class="spot")
    found = picture_suspects(pictures, plain_features)
    assert len(found) == 60
    assert wrong.name in [suspect.picture for suspect in found[:6]]
    first = worth_a_look(found)
    assert 0 < len(first) <= 6
    assert all(suspect.belief_likelier > suspect.belief for suspect in first)
    assert box_suspects(pictures, plain_features) == []  # one class: nothing to mistake it for


def test_too_little_data_gives_an_empty_list(tmp_path: Path) -> None:
    pictures = some(tmp_path, range(6))
    assert picture_suspects(pictures, plain_features) == []
    assert picture_suspects([], plain_features) == []
    assert worth_a_look([]) == []
