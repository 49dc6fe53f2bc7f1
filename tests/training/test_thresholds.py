# SPDX-License-Identifier: AGPL-3.0-or-later
"""Limits that hold a bound: coverage over many drawn samples, and the exact law behind the predictive one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from inspection.statistics import upper_bound
from training.thresholds import cheapest, counts, hold_escapes, hold_escapes_next, monotone, most_seen

STEPS = np.linspace(0, 1, 201)


def _sample(chance: np.random.Generator, bad: int, good: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of defectives uniform on 0..1, so that the risk at limit t is t; goods are lower."""
    scores = np.concatenate([chance.random(bad), chance.random(good) ** 6])
    defective = np.arange(bad + good) < bad
    return scores[:, None] >= STEPS[None], defective


def test_the_risk_that_was_promised_holds_in_95_of_100_samples():
    chance = np.random.default_rng(5)
    kept = tried = 0
    for _ in range(600):
        rejected, defective = _sample(chance, 200, 50)
        chosen = hold_escapes(rejected, defective, at_most=0.05)
        assert chosen is not None
        tried += 1
        kept += STEPS[chosen.step] <= 0.05  # the true risk at a limit is the limit
    assert kept / tried >= 0.95 - 2 * (0.05 * 0.95 / tried) ** 0.5


def test_it_is_not_so_careful_that_it_gives_the_gate_away():
    chance = np.random.default_rng(6)
    risks = []
    for _ in range(100):
        rejected, defective = _sample(chance, 1000, 50)
        chosen = hold_escapes(rejected, defective, at_most=0.05)
        assert chosen is not None
        risks.append(STEPS[chosen.step])
    assert np.mean(risks) > 0.03


def test_too_few_parts_hold_nothing():
    rejected, defective = _sample(np.random.default_rng(1), 20, 20)
    assert upper_bound(0, 20) > 0.05
    assert hold_escapes(rejected, defective, at_most=0.05) is None
    assert hold_escapes_next(rejected, defective, at_most=0.05, next_parts=20) is None


def test_what_the_next_parts_show_holds_in_95_of_100_splits():
    chance = np.random.default_rng(7)
    kept = tried = 0
    for _ in range(600):
        rejected, defective = _sample(chance, 400, 0)
        seen = np.zeros(400, bool)
        seen[chance.permutation(400)[:200]] = True
        chosen = hold_escapes_next(rejected[seen], defective[seen], at_most=0.08, next_parts=200)
        assert chosen is not None
        escapes, _ = counts(rejected[~seen], defective[~seen])
        tried += 1
        kept += escapes[chosen.step] <= 0.08 * 200
    assert kept / tried >= 0.95 - 2 * (0.05 * 0.95 / tried) ** 0.5


@pytest.mark.parametrize(("seen", "after", "allowed"), [(5, 5, 2), (7, 4, 1), (4, 6, 3)])
def test_the_predictive_bound_is_exact(seen: int, after: int, allowed: int):
    """Every way to draw the seen parts from the pool, for every number of escapes in it, worst case."""
    k = most_seen(seen, after, allowed, 0.8)
    pool = seen + after

    def broken(limit: int) -> float:
        """Chance that the next parts break the promise when so many may be seen."""
        draws = list(combinations(range(pool), seen))
        breaks = 0
        for draw in draws:
            inside, here, there = set(draw), 0, 0
            for part in range(pool):  # part 0 escapes first as the limit is raised, and so on
                if part in inside:
                    here += 1
                else:
                    there += 1
                if here > limit:
                    break
                if there > allowed:
                    breaks += 1
                    break
        return breaks / len(draws)

    if k is None:
        assert broken(0) > 0.2
    else:
        assert broken(k) <= 0.2 + 1e-12
        assert broken(k + 1) > 0.2


def test_costs_move_the_limit():
    chance = np.random.default_rng(2)
    rejected, defective = _sample(chance, 300, 300)
    dear = cheapest(rejected, defective, escape_cost=1000)
    cheap = cheapest(rejected, defective, escape_cost=1)
    rare = cheapest(rejected, defective, escape_cost=1000, defective_share=1e-6)
    assert dear.escapes < cheap.escapes
    assert dear.overkill > cheap.overkill
    assert rare.step > dear.step


def test_a_part_that_a_higher_limit_rejects_again_counts_as_rejected_below():
    table = np.array([[True, False, True, False]])
    assert monotone(table).tolist() == [[True, True, True, False]]
