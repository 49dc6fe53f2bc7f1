# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bundle that finds nothing is told by its counts, however perfect one of its two figures looks."""

from __future__ import annotations

from math import comb

import pytest

from weights.telling import by_chance, finds_nothing


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ((40, 40, 60, 0), "finds nothing: it passes all 40 defective parts"),
        ((1, 1, 0, 0), "finds nothing: it passes all 1 defective parts"),
        ((40, 37, 600, 0), "finds next to nothing: it catches 3 of 40 defective parts"),
        ((68, 0, 168, 168), "68 of 68 defective parts and 168 of 168 good ones, defective ones no more often"),
        ((40, 30, 60, 15), "10 of 40 defective parts and 15 of 60 good ones, defective ones no more often"),
        ((40, 32, 60, 9), "which chance explains (exact Fisher p ="),
    ],
    ids=["passes all", "passes the only one", "one in thirteen", "rejects all", "a coin", "hardly better"],
)
def test_counts_of_a_bundle_that_finds_nothing_say_so(counts: tuple[int, int, int, int], why: str) -> None:
    defective, escapes, good, overkill = counts
    assert why in finds_nothing(defective=defective, escapes=escapes, good=good, overkill=overkill)


@pytest.mark.parametrize(
    "counts",
    [(40, 2, 60, 1), (40, 20, 60, 5), (216, 0, 0, 0), (1, 0, 1, 0), (2, 0, 3, 1), (0, 0, 60, 3), (0, 0, 0, 0)],
    ids=["good", "half", "no good part", "one each", "too few to say", "no defect", "nothing shown"],
)
def test_counts_that_show_something_or_cannot_say_are_not_held_against_it(
    counts: tuple[int, int, int, int],
) -> None:
    defective, escapes, good, overkill = counts
    assert not finds_nothing(defective=defective, escapes=escapes, good=good, overkill=overkill)


@pytest.mark.parametrize("counts", [(8, 6, 4, 1), (3, 3, 3, 0), (30, 7, 50, 9), (5, 0, 5, 5), (4, 4, 0, 0)])
def test_the_chance_is_fishers_exact_one(counts: tuple[int, int, int, int]) -> None:
    defective, caught, good, overkill = counts
    rejected = caught + overkill
    possible = range(caught, min(defective, rejected) + 1)
    ways = sum(comb(defective, i) * comb(good, rejected - i) for i in possible)
    p = by_chance(defective=defective, caught=caught, good=good, overkill=overkill)
    assert p == pytest.approx(ways / comb(defective + good, rejected), rel=1e-9)
