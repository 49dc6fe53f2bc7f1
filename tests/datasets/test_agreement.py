# SPDX-License-Identifier: AGPL-3.0-or-later
"""Agreement among people, against published worked examples and against oracles that count by hand."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.agreement import cohen_kappa, fleiss_kappa, iou, match_labels
from datasets.labels import Label
from inspection.types import Box

# J. L. Fleiss, Psychol. Bull. 76 (1971), table 1: how often each of 5 diagnoses was given to 30 patients by 6
# psychiatrists. Printed there: kappa 0.430; with more digits by R's irr 0.84, kappam.fleiss: 0.4302445.
PATIENTS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031 00501 30012 51000
02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""

# The example with 14 raters, 10 subjects and 5 categories that most introductions print: 0.210.
FOURTEEN = [
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
]


def two_people(table: list[list[int]]) -> tuple[list[int], list[int]]:
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in pairs], [j for _, j in pairs]


def answers(counts: list[list[int]]) -> list[list[int]]:
    return [[c for c, count in enumerate(row) for _ in range(count)] for row in counts]


@pytest.mark.parametrize(
    ("table", "kappa", "error", "low", "high"),
    [
        # Fleiss, Levin, Paik (2003), section 18.1, as R's statpsych 1.6 prints it: ci.kappa(.05, 31, 12, 4, 58)
        ([[31, 12], [4, 58]], 0.6756757, 0.07344761, 0.5317210, 0.8196303),
        # printed by SAS PROC FREQ (AGREE) for this table: kappa, ASE, limits
        ([[0, 4, 1], [0, 8, 0], [0, 1, 5]], 0.4842, 0.1380, 0.2137, 0.7547),
    ],
)
def test_cohen_kappa_of_published_examples(
    table: list[list[int]], kappa: float, error: float, low: float, high: float
) -> None:
    done = cohen_kappa(*two_people(table))
    got = (done.value, done.standard_error, done.low, done.high)
    assert got == pytest.approx((kappa, error, low, high), abs=6e-5)


def test_fleiss_kappa_of_published_examples() -> None:
    patients = fleiss_kappa(answers([[int(c) for c in row] for row in PATIENTS.split()]))
    assert patients.value == pytest.approx(0.4302445, abs=5e-8)
    assert (patients.observed, patients.by_chance) == pytest.approx((0.5556, 0.2200), abs=5e-4)
    fourteen = fleiss_kappa(answers(FOURTEEN))
    assert (fourteen.observed, fourteen.by_chance, fourteen.value) == pytest.approx(
        (0.378, 0.213, 0.210), abs=5e-4
    )


ANSWERS = st.integers(2, 5).flatmap(
    lambda raters: st.lists(
        st.lists(st.sampled_from("abc"), min_size=raters, max_size=raters), min_size=3, max_size=12
    )
)


def fleiss_by_hand(given_answers: list[list[str]]) -> float:
    pairs = [a == b for one in given_answers for a, b in itertools.permutations(one, 2)]
    everybody = Counter(c for one in given_answers for c in one)
    chance = sum((k / everybody.total()) ** 2 for k in everybody.values())
    return math.nan if chance == 1 else (sum(pairs) / len(pairs) - chance) / (1 - chance)


@settings(max_examples=150, deadline=None)
@given(given_answers=ANSWERS)
def test_fleiss_kappa_is_counting_pairs_and_its_error_the_jackknife(
    given_answers: list[list[str]],
) -> None:
    done = fleiss_kappa(given_answers)
    assert done.value == pytest.approx(fleiss_by_hand(given_answers), nan_ok=True, abs=1e-12)
    n = len(given_answers)
    left_out = [fleiss_by_hand(given_answers[:i] + given_answers[i + 1 :]) for i in range(n)]
    mean = sum(left_out) / n
    error = math.sqrt((n - 1) / n * sum((x - mean) ** 2 for x in left_out))
    if not math.isnan(done.value):
        assert done.standard_error == pytest.approx(error, nan_ok=True, abs=1e-9)


def test_intervals_hold_what_they_promise() -> None:
    """Two-sided 95 % intervals of both kappas, 400 drawn samples of 150 pictures: the truth in 92 to 98 %."""
    draw = random.Random(7)
    truth, held = 0.6, {"cohen": 0, "fleiss": 0}

    def judged() -> list[str]:
        """Two people who agree on purpose with probability `truth`, else as it comes: kappa is `truth`."""
        shared = draw.choice("gggd")
        return [shared, shared] if draw.random() < truth else [draw.choice("gggd"), draw.choice("gggd")]

    for _ in range(400):
        sample = [judged() for _ in range(150)]
        cohen = cohen_kappa([a for a, _ in sample], [b for _, b in sample])
        fleiss = fleiss_kappa(sample)
        held["cohen"] += cohen.low <= truth <= cohen.high
        held["fleiss"] += fleiss.low <= truth <= fleiss.high
    assert all(368 <= count <= 392 for count in held.values()), held


def test_one_class_alone_says_nothing_about_agreement() -> None:
    for done in (cohen_kappa("aaa", "aaa"), fleiss_kappa([["a", "a"]] * 3)):
        assert math.isnan(done.value)
        assert "cannot be told apart from chance" in done.sentence()


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="same pictures"):
        cohen_kappa("ab", "a")
    with pytest.raises(ValueError, match="same number"):
        fleiss_kappa([["a", "b"], ["a"]])


BOXES = st.builds(
    lambda x, y, w, h: Box(x0_px=x, y0_px=y, x1_px=x + w, y1_px=y + h),
    *[st.integers(0, 8)] * 2,
    *[st.integers(1, 6)] * 2,
)
LABELS = st.lists(st.builds(Label, class_name=st.sampled_from("ab"), box=BOXES), max_size=6)


@settings(max_examples=150, deadline=None)
@given(a=BOXES, b=BOXES)
def test_iou_is_what_counting_pixels_gives(a: Box, b: Box) -> None:
    def pixels(box: Box) -> set[tuple[int, int]]:
        return set(
            itertools.product(range(int(box.x0_px), int(box.x1_px)), range(int(box.y0_px), int(box.y1_px)))
        )

    assert iou(a, b) == pytest.approx(len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b)))


@settings(max_examples=150, deadline=None)
@given(first=LABELS, second=LABELS)
def test_each_mark_is_matched_once_and_none_that_overlaps_is_left(
    first: list[Label], second: list[Label]
) -> None:
    done = match_labels(first, second)
    assert sorted([*(i for i, _, _ in done.pairs), *done.only_first]) == list(range(len(first)))
    assert sorted([*(j for _, j, _ in done.pairs), *done.only_second]) == list(range(len(second)))
    for i, j, overlap in done.pairs:
        assert first[i].class_name == second[j].class_name
        assert overlap == pytest.approx(iou(first[i].box, second[j].box))
        assert overlap >= 0.5
    for i, j in itertools.product(done.only_first, done.only_second):
        assert first[i].class_name != second[j].class_name or iou(first[i].box, second[j].box) < 0.5
    assert match_labels(first, first).f1 == 1.0
