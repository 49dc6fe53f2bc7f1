# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parts through the real rules, the dial against one judgement at a time, calibration, confusion, trivial
answers.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.labels import Label
from inspection.recipe import Limit, Recipe, ViewRecipe, Zone
from inspection.types import Box, Finding, Outcome, StationFault
from training.calibration import NOTHING, confusion, reliability
from training.part_level import (
    DIAL,
    dial,
    escapes_by_class,
    escapes_by_size,
    fitted,
    moved,
    overkill_by_class,
    part_figures,
    rejects,
    trade_off,
    verdict_on,
)
from training.statistics import PartAnswer
from training.trivial import best_trivial, statistics_of


def _box(x: float, y: float, side: float = 10) -> Box:
    return Box(x0_px=x, y0_px=y, x1_px=x + side, y1_px=y + side)


def _seen(name: str, score: float, camera: int = 0, x: float = 0, side: float = 10) -> Finding:
    return Finding(defect_class=name, score=score, box=_box(x, 0, side), camera=camera)


def _part(*views: tuple[Finding, ...], defective: bool = True, **more: object) -> PartAnswer:
    return PartAnswer(name="p", defective=defective, views=views, **more)  # type: ignore[arg-type]


TWO_VIEWS = Recipe(
    name="r",
    version=1,
    id=1,
    views=(
        ViewRecipe(name="a"),
        ViewRecipe(name="b", ignore_zones=(Zone(x_px=0, y_px=0, width_px=50, height_px=50),)),
    ),
    classes={"dent": Limit(min_score=0.5, max_count=1), "pit": Limit(min_score=0.3, min_size_px=8)},
)


def test_counts_sizes_and_zones_of_the_recipe_decide_as_on_the_line():
    nothing: tuple[Finding, ...] = ()
    one_dent = _part((_seen("dent", 0.9),), nothing)
    two_dents = _part((_seen("dent", 0.9), _seen("dent", 0.6, x=20)), nothing)
    small_pit = _part((_seen("pit", 0.9, side=5),), nothing)
    in_zone = _part(nothing, (_seen("pit", 0.9, camera=1),))
    same_elsewhere = _part((_seen("pit", 0.9),), nothing)
    parts = [one_dent, two_dents, small_pit, in_zone, same_elsewhere]
    assert rejects(parts, TWO_VIEWS).tolist() == [False, True, False, False, True]
    figures = part_figures(parts, TWO_VIEWS)
    assert (figures["defective"], figures["escapes"]) == (5, 3)
    assert figures["escape_two_sided_95"][0] < 3 / 5 < figures["escape_two_sided_95"][1]
    assert figures["escape_upper_95"] < figures["escape_two_sided_95"][1]


def test_a_part_with_other_views_than_the_recipe_is_not_guessed_at():
    with pytest.raises(StationFault, match="3 pictures and the bundle's recipe 2 views"):
        fitted(TWO_VIEWS, 3, "part 7")
    alike = Recipe(name="r", version=1, id=1, views=(ViewRecipe(name="a"),), default_limit=Limit())
    assert len(fitted(alike, 4, "p").views) == 4


@given(
    scores=st.lists(
        st.tuples(st.sampled_from(["dent", "pit"]), st.floats(0.01, 0.99), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=50, deadline=None)
def test_the_dial_says_what_judging_at_every_step_says(scores: list[tuple[str, float, bool]]):
    parts = [_part((_seen(name, score),), (), defective=bad) for name, score, bad in scores]
    table = dial(parts, TWO_VIEWS, ["dent", "pit"])
    for column in range(0, len(DIAL), 13):
        recipe = moved(TWO_VIEWS, DIAL[column], ["dent", "pit"])
        assert table[:, column].tolist() == [verdict_on(p, recipe).outcome is not Outcome.PASS for p in parts]
    rows = trade_off(parts, TWO_VIEWS, ["dent", "pit"])
    here = next(row for row in rows if row["step"] == 0)
    figures = part_figures(parts, TWO_VIEWS)
    assert (here["escapes"], here["overkill"]) == (figures["escapes"], figures["overkill"])


def test_tables_by_class_and_size():
    found, missed = (_seen("pit", 0.9),), (_seen("pit", 0.1),)
    parts = [
        _part(found, (), kinds=("pit",), size_px=5.0),
        _part(missed, (), kinds=("pit", "dent"), size_px=12.0),
        _part(missed, (), kinds=("dent",), size_px=12.0, counted=False),
        _part(found, (), defective=False),
    ]
    table = escapes_by_class(parts, TWO_VIEWS)
    assert (table["pit"]["defective"], table["pit"]["escapes"], table["pit"]["rejected_by_name"]) == (2, 1, 1)
    assert (table["dent"]["defective"], table["dent"]["escapes"]) == (1, 1)
    sizes = escapes_by_size(parts, TWO_VIEWS)
    assert (sizes["0..6"]["defective"], sizes["0..6"]["escapes"]) == (1, 0)
    assert (sizes["10..20"]["defective"], sizes["10..20"]["escapes"]) == (1, 1)
    assert overkill_by_class(parts, TWO_VIEWS) == {"pit": 1}


def test_reliability_counts_every_score_once_and_weighs_the_gaps():
    chance = np.random.default_rng(4)
    scored = [(float(s), bool(chance.random() < 0.5)) for s in [*chance.random(300), 0.0, 1.0]]
    card = reliability(scored)
    assert sum(row["count"] for row in card["bins"]) == card["count"] == 302
    by_hand = 0.0
    for low in range(10):
        inside = [(s, h) for s, h in scored if min(int(s * 10), 9) == low]
        by_hand += abs(sum(s for s, _ in inside) - sum(h for _, h in inside))
    assert card["ece"] == pytest.approx(by_hand / 302, abs=1e-4)
    assert reliability([])["ece"] is None


def test_confusion_pairs_by_place_whatever_the_class():
    marks = (Label(class_name="pit", box=_box(0, 0)), Label(class_name="dent", box=_box(50, 0)))
    seen = (_seen("dent", 0.9, x=2), _seen("pit", 0.8, x=90))
    assert confusion([(seen, marks)]) == {"pit": {"dent": 1}, NOTHING: {"pit": 1}, "dent": {NOTHING: 1}}


def test_a_set_that_exposure_solves_says_so_in_either_direction():
    chance = np.random.default_rng(1)

    def shot(level: float) -> dict[str, float]:
        return statistics_of(np.clip(chance.normal(level, 20, (40, 40)), 0, 255).astype(np.uint8))

    good, bad = [shot(140 + i) for i in range(6)], [shot(90 + i) for i in range(5)]
    for one, other in ((good, bad), (bad, good)):
        told = best_trivial(one, other)
        assert told is not None
        assert told["auroc"] == 1.0
        assert told["all"]["mean grey"] == 1.0
    assert best_trivial(good, []) is None
