# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bundles in the repository: signed, small, honest cards, and eyes that work on parts never taught."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inspection.recipe import Recipe, load_recipe
from inspection.twin.defects import DefectKind
from inspection.twin.renderer import DETECTABILITY_LIMIT, PartRenderer
from inspection.twin.stamp import STRIP_HEIGHT_PX
from training.engine import Asked
from weights.bundle import TRUSTED_HERE, Bundle, load_bundle

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "weights" / "default"
EVIDENCE = ROOT / "benchmarks" / "accuracy" / "bundles"
KEPT = {"deeppcb": "research", "deeppcb_line": "research", "bsdata_pitting": "cc by-sa 4.0"}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(DEFAULT, [TRUSTED_HERE])


@pytest.fixture
def asked(bundle: Bundle) -> Iterator[Asked]:
    engine = Asked(bundle)
    yield engine
    engine.close()


def test_the_default_bundle_is_small_and_its_card_says_what_it_is(bundle: Bundle):
    assert sum(file.stat().st_size for file in DEFAULT.iterdir()) <= 12e6
    card = bundle.card
    assert card.classes == [kind.value for kind in DefectKind]
    assert card.detectability["limit"] == DETECTABILITY_LIMIT
    assert "AGPL-3.0" in card.licence
    part = card.metrics["test"]["part"]
    assert {"defective", "escapes", "escape_upper_95", "good", "overkill", "overkill_upper_95"} <= set(part)
    assert part["defective"] >= 300
    below = part["below_limit"] / (part["below_limit"] + part["defective"])
    assert below <= 0.15  # the limit may not define the hard parts away


def test_the_suggested_recipe_is_one_that_a_station_loads():
    recipe: Recipe = load_recipe(DEFAULT / "recipe.json")
    assert set(recipe.classes) == {kind.value for kind in DefectKind}
    assert len(recipe.views) == 2


def test_it_finds_what_is_clear_to_see_and_leaves_good_parts_alone(asked: Asked):
    limits = load_recipe(DEFAULT / "recipe.json")
    renderer = PartRenderer(seed=3_900_001, views=2, defective_share=0.5)  # a seed of the test range

    def rejected(part: int) -> bool:
        found = [f for view in range(2) for f in asked.find(renderer.render(part, view)[:-STRIP_HEIGHT_PX])]
        return any(f.score >= limits.limit(f.defect_class).min_score for f in found)

    truths = [renderer.truth(part) for part in range(60)]
    clear = [t.part_no for t in truths if max((d.detectability for d in t.defects), default=0) > 100]
    good = [t.part_no for t in truths if not t.defective]
    assert len(clear) > 5
    assert len(good) > 15
    assert sum(rejected(part) for part in clear) >= len(clear) - 1
    assert sum(rejected(part) for part in good) <= 2


@pytest.mark.parametrize("name", sorted(KEPT))
def test_a_bundle_kept_as_evidence_is_no_default_and_its_card_says_so(name: str):
    assert sum(file.stat().st_size for file in (EVIDENCE / name).iterdir()) <= 12e6
    card = load_bundle(EVIDENCE / name, [TRUSTED_HERE]).card
    assert KEPT[name] in card.licence.lower()
    assert "never a default" in card.intended_use.lower()
    assert {"map50", "map50_95", "map_protocol", "f_protocol", "part"} <= set(card.metrics["test"])
