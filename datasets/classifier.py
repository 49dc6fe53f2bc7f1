# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small linear classifier on frozen features: regularised logistic regression, one class against the rest.

Enough to say which labels look wrong and which pictures are unsure, in seconds and without a training stack.
Fitted by Newton's method (iteratively reweighted least squares); pure numpy, the same result at every call.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

PENALTY = 10.0
"""Strength of the ridge on standardised features. Of 10, 30, 100 and 300 it was the best or as good as any on
backbone features of real pictures; benchmarks/suspects.py measures what it finds."""
_STEPS = 12
_ENOUGH = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A fitted classifier of `weights` (D + 1, classes), the last row the offsets."""

    middle: np.ndarray
    spread: np.ndarray
    weights: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return (N, classes), rows that add up to one."""
        scaled = _scaled(features, self.middle, self.spread)
        alone = _sigmoid(scaled @ self.weights[:-1] + self.weights[-1])
        if alone.shape[1] == 1:
            return np.hstack([1 - alone, alone])
        return alone / np.maximum(alone.sum(axis=1, keepdims=True), 1e-12)


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    penalty: float = PENALTY,
    balanced: bool = False,
) -> Linear:
    """Fit on features (N, D) and labels 0..classes-1. A class that nothing carries gets a probability near 0.

    balanced: each class weighs as much as any other, so that a rare one is not drowned.
    """
    if len(features) != len(labels) or not len(labels):
        raise ValueError(f"{len(features)} rows of features for {len(labels)} labels")
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = _scaled(features, middle, spread)
    basis = None
    if len(scaled) < scaled.shape[1]:
        # the ridge keeps the weights within the span of the rows: as many unknowns as rows, the same answer
        basis, triangle = np.linalg.qr(scaled.T)
        scaled = triangle.T
    targets = [1] if classes == 2 else range(classes)
    columns = []
    for target in targets:
        answer = (labels == target).astype(np.float64)
        weight = np.ones(len(labels))
        if balanced and 0 < answer.sum() < len(answer):
            share = answer.mean()
            weight = np.where(answer > 0, 0.5 / share, 0.5 / (1 - share))
        columns.append(_newton(scaled, answer, weight, penalty))
    weights = np.stack(columns, axis=1)
    if basis is not None:
        weights = np.vstack([basis @ weights[:-1], weights[-1:]])
    return Linear(middle=middle, spread=spread, weights=weights)


def _scaled(features: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.clip((features - middle) / spread, -8.0, 8.0).astype(np.float64)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -40.0, 40.0)))


def _newton(features: np.ndarray, answer: np.ndarray, weight: np.ndarray, penalty: float) -> np.ndarray:
    rows = np.hstack([features, np.ones((len(features), 1))])
    ridge = np.full(rows.shape[1], penalty)
    ridge[-1] = 1e-2
    beta = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        chance = _sigmoid(rows @ beta)
        slope = rows.T @ (weight * (chance - answer)) + ridge * beta
        bend = rows.T @ (rows * (weight * np.maximum(chance * (1 - chance), 1e-5))[:, None])
        bend[np.diag_indices_from(bend)] += ridge
        step = np.linalg.solve(bend, slope)
        beta -= step * min(1.0, 10.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < _ENOUGH:
            break
    return beta


def folds_by_group(groups: Sequence[Hashable], folds: int, seed: int = 0) -> np.ndarray:
    """Number of the fold of each member, 0..folds-1: a group is never torn, folds are of about equal size.

    Larger groups are placed first, each into the emptiest fold; order among equals is drawn by the seed.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = list(members.values())
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    sizes = np.zeros(max(1, min(folds, len(order))), int)
    out = np.zeros(len(groups), int)
    for group_members in order:
        fold = int(sizes.argmin())
        out[group_members] = fold
        sizes[fold] += len(group_members)
    return out


def out_of_fold(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    fold_of: np.ndarray,
    *,
    penalty: float = PENALTY,
    balanced: bool = False,
) -> np.ndarray:
    """Probabilities (N, classes) of each member from a classifier that never saw its fold."""
    out = np.full((len(labels), classes), 1.0 / classes)
    for fold in np.unique(fold_of):
        held = fold_of == fold
        if held.all():
            continue
        model = fit(features[~held], labels[~held], classes, penalty=penalty, balanced=balanced)
        out[held] = model.probabilities(features[held])
    return out
