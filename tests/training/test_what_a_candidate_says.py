# SPDX-License-Identifier: AGPL-3.0-or-later
"""A trained candidate is told in plain words, above all where it finds nothing."""

from __future__ import annotations

from typing import Any

import pytest

from inspection.types import Box, Finding
from training.figures import candidate_sentences, summary_sentences
from training.part_level import escapes_by_class, part_figures, recipe_from_limits
from training.statistics import PartAnswer

RECIPE = recipe_from_limits({"dent": 0.5, "pit": 0.5})
BOX = Box(x0_px=0, y0_px=0, x1_px=9, y1_px=9)


def result(dents: list[float], pits: list[float], good: list[float]) -> dict[str, Any]:
    """Figures of parts whose best finding has these scores."""
    parts = [
        PartAnswer(
            name=f"{kind} {i}",
            defective=kind != "good",
            kinds=(kind,) if kind != "good" else (),
            views=((Finding(defect_class=seen, score=score, box=BOX, camera=0),) if score else (),),
        )
        for kind, seen, scores in (("dent", "dent", dents), ("pit", "pit", pits), ("good", "dent", good))
        for i, score in enumerate(scores)
    ]
    return {
        "pictures": len(parts),
        "part": part_figures(parts, RECIPE),
        "escapes_by_class": escapes_by_class(parts, RECIPE),
    }


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (result([0.0] * 8, [0.4] * 4, [0.0] * 20), "finds nothing: it passes all 12 defective parts;"),
        (result([0.9] * 8, [0.9] * 4, [0.9] * 20), "12 of 12 defective parts and 20 of 20 good ones"),
        (result([0.9] + [0.1] * 7, [0.1] * 4, [0.1] * 20), "finds next to nothing: it catches 1 of 12"),
    ],
    ids=["no finding", "everything", "one of twelve"],
)
def test_a_candidate_that_finds_nothing_says_so_last_with_what_will_come_of_it(found: dict[str, Any], why: str):
    said = candidate_sentences(found, "val")
    assert said[0].startswith("On 32 val pictures: ")
    assert why in said[-1]
    assert "it will be refused at promotion. Train it for more epochs" in said[-1]
    assert "this bundle finds n" in summary_sentences(found)[-1]


def test_a_candidate_that_finds_defects_gives_counts_with_bounds_and_no_warning():
    found = result([0.9] * 7 + [0.1], [0.9] * 4, [0.1] * 19 + [0.9])
    (said,) = candidate_sentences(found, "test")
    escapes, overkill = said.split("; ")
    assert escapes == (
        "On 32 test pictures: 1 escape in 12 defective parts: at most 33.9 % (95 % confidence, one-sided)"
    )
    assert overkill == "1 overkill in 20 good parts: at most 21.7 % (95 % confidence, one-sided)."


def test_a_class_that_is_never_caught_is_named():
    found = result([0.9] * 8, [0.1] * 4, [0.1] * 20)
    assert candidate_sentences(found, "test")[1] == "It passes every defective part of these classes: pit (4)."
