# SPDX-License-Identifier: AGPL-3.0-or-later
"""From findings to verdict, and the recipe file that says how."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspection.recipe import Limit, Recipe, ViewRecipe, Zone, load_recipe, write_recipe
from inspection.rules import ViewResult, judge
from inspection.types import Box, Finding, Outcome, Reason, StationFault

RECIPE = Recipe(
    name="bracket",
    version=3,
    id=12,
    views=(ViewRecipe(name="top", ignore_zones=(Zone(0, 0, 50, 50),)), ViewRecipe(name="side")),
    classes={
        "scratch": Limit(min_score=0.4, min_size_px=6, max_count=1),
        "dent": Limit(min_score=0.5, zones=(Zone(100, 100, 50, 50),)),
    },
)


def finding(
    name: str = "pit", score: float = 0.9, at: tuple[float, float] = (200, 200), size: float = 10
) -> Finding:
    box = Box(x0_px=at[0], y0_px=at[1], x1_px=at[0] + size, y1_px=at[1] + 2)
    return Finding(defect_class=name, score=score, box=box)


def outcome(*top: Finding, side: tuple[Finding, ...] = ()) -> Outcome:
    return judge([ViewResult(camera=0, findings=top), ViewResult(camera=1, findings=side)], RECIPE).outcome


def test_a_part_with_nothing_found_in_any_view_passes() -> None:
    assert outcome() is Outcome.PASS


def test_an_unlisted_defect_is_a_defect() -> None:
    assert outcome(finding()) is Outcome.REJECT
    assert outcome(side=(finding(),)) is Outcome.REJECT


@pytest.mark.parametrize(
    ("score", "expected"), [(0.39, Outcome.PASS), (0.4, Outcome.REJECT), (float("nan"), Outcome.REJECT)]
)
def test_a_finding_counts_from_its_least_score_on_and_when_it_cannot_be_compared(
    score: float, expected: Outcome
) -> None:
    assert outcome(finding("scratch", score), finding("scratch")) is expected


@pytest.mark.parametrize(("size", "expected"), [(5.9, Outcome.PASS), (6.0, Outcome.REJECT)])
def test_a_finding_counts_from_its_least_size_on(size: float, expected: Outcome) -> None:
    assert outcome(finding("scratch", size=size), finding("scratch")) is expected


def test_findings_are_counted_over_all_views_of_the_part() -> None:
    assert outcome(finding("scratch")) is Outcome.PASS
    assert outcome(finding("scratch"), side=(finding("scratch"),)) is Outcome.REJECT


def test_an_ignore_zone_hides_only_what_lies_wholly_inside_and_only_in_its_view() -> None:
    assert outcome(finding(at=(10, 10))) is Outcome.PASS
    assert outcome(finding(at=(45, 10))) is Outcome.REJECT
    assert outcome(side=(finding(at=(10, 10)),)) is Outcome.REJECT


def test_a_class_with_zones_counts_where_it_touches_one() -> None:
    assert outcome(finding("dent", at=(10, 200))) is Outcome.PASS
    assert outcome(finding("dent", at=(91, 120))) is Outcome.REJECT


def test_a_part_is_judged_whole_or_not_at_all() -> None:
    top = ViewResult(camera=0, findings=(finding(),))
    side = ViewResult(camera=1, findings=())
    missing = judge([top], RECIPE)
    assert (missing.outcome, missing.reasons) == (Outcome.NOT_INSPECTED, (Reason.FRAME_MISSING,))
    assert judge([top, top], RECIPE).outcome is Outcome.NOT_INSPECTED
    dark = judge([top, ViewResult(camera=1, findings=(), unhealthy=("dark",))], RECIPE)
    assert (dark.outcome, dark.reasons) == (Outcome.NOT_INSPECTED, (Reason.FRAME_UNHEALTHY,))
    assert judge([side, top], RECIPE).rejected_by == ("pit",)


def test_a_recipe_survives_its_file_and_keeps_its_hash(tmp_path: Path) -> None:
    write_recipe(RECIPE, tmp_path / "r.json")
    again = load_recipe(tmp_path / "r.json")
    assert again == RECIPE
    assert again.sha256 == RECIPE.sha256
    assert again.crc == int(RECIPE.sha256[:4], 16)


def test_every_change_of_a_recipe_changes_its_hash_and_the_order_of_keys_does_not(tmp_path: Path) -> None:
    base = '{"name":"a","version":1,"id":2,"views":[{"name":"t"}],"classes":{"x":{},"y":{}}}'
    same = '{"id":2,"views":[{"name":"t"}],"classes":{"y":{"max_count":0},"x":{}},"version":1,"name":"a"}'
    other = base.replace('"x":{}', '"x":{"max_count":1}')
    hashes = []
    for text in (base, same, other):
        (tmp_path / "r.json").write_text(text)
        hashes.append(load_recipe(tmp_path / "r.json").sha256)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"name":"a","version":1,"id":2,"views":[{"name":"t","ignore_zone":[]}]}', "ignore_zone"),
        ('{"name":"a","version":1,"id":0,"views":[{"name":"t"}]}', "1..65535"),
        ('{"name":"a","version":1,"id":1,"views":[]}', "at least one view"),
        ('{"name":"a","version":1,"id":1,"views":[{"name":"t","ignore_zones":[[0,0,0,5]]}]}', "above 0"),
        ('{"name":"a","version":1,"id":1,"views":[{"name":"t"}],"default_limit":{"min_score":2}}', "0..1"),
        ("not json", "not valid"),
    ],
)
def test_a_bad_recipe_is_refused_in_one_sentence_that_names_the_field(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(StationFault, match=says) as caught:
        load_recipe(tmp_path / "r.json")
    assert "r.json" in str(caught.value)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StationFault, match="Cannot read the recipe"):
        load_recipe(tmp_path / "none.json")
