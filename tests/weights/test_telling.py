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
        ((2, 0, 3, 3), "2 of 2 defective parts and 3 of 3 good ones, defective ones no more often"),
        ((1, 0, 1, 1), "1 of 1 defective parts and 1 of 1 good ones, defective ones no more often"),
        ((2, 1, 3, 3), "1 of 2 defective parts and 3 of 3 good ones, defective ones no more often"),
        ((3, 2, 20, 7), "1 of 3 defective parts and 7 of 20 good ones, defective ones no more often"),
        ((2, 1, 5, 4), "1 of 2 defective parts and 4 of 5 good ones, defective ones no more often"),
        ((1, 0, 19, 9), "which chance explains (exact Fisher p = 0.5)"),
        ((11, 10, 0, 0), "finds next to nothing: it catches 1 of 11"),
    ],
    ids=[
        *("passes all", "passes the only one", "one in thirteen", "rejects all", "a coin", "hardly better"),
        *("rejects all of five", "rejects both of two", "rejects all good of five"),
        *("a coin on enough", "just enough", "one defect and just enough", "one in eleven"),
    ],
)
def test_counts_of_a_bundle_that_finds_nothing_say_so(counts: tuple[int, int, int, int], why: str) -> None:
    defective, escapes, good, overkill = counts
    assert why in finds_nothing(defective=defective, escapes=escapes, good=good, overkill=overkill)


@pytest.mark.parametrize(
    "counts",
    [
        *(
            (40, 2, 60, 1),
            (40, 20, 60, 5),
            (216, 0, 0, 0),
            (1, 0, 1, 0),
            (2, 0, 3, 1),
            (0, 0, 60, 3),
            (0, 0, 0, 0),
        ),
        *((2, 1, 3, 2), (2, 1, 4, 3), (1, 0, 18, 9), (1, 0, 18, 17), (10, 9, 0, 0), (3, 0, 20, 1)),
    ],
    ids=[
        *("good", "half", "no good part", "one each", "too few to say", "no defect", "nothing shown"),
        *(
            "a coin on five",
            "just too few",
            "one defect and too few",
            "nearly all of too few",
            "one in ten",
            "few",
        ),
    ],
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
