# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of one part stay in one fold and count once, named or not; where that cannot be, it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.labels import Picture
from inspection.statistics import upper_bound
from tests.datasets.drawn import kept, surface
from training.anomaly.features import Frame, Looking, Shown
from training.anomaly.fit import Outcome, Teaching
from training.anomaly.folds import Folds, folds_of, parts_of, unlike_parts_reach
from training.anomaly.threshold import choose_limit

PARTS, SEEN, FRESH, SIDE_PX = 36, 4, 120, 96
OVERKILL = 0.1


def seen(number: int, time: int) -> np.ndarray:
    """A part at another exposure, a little shifted, with the camera's noise."""
    rng = np.random.default_rng((9, number, time))
    shift = np.array([[1, 0, rng.uniform(-0.3, 0.3)], [0, 1, rng.uniform(-0.3, 0.3)]])
    pixels = cv2.warpAffine(surface(number), shift, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_REPLICATE)
    lit = pixels * rng.uniform(0.9, 1.1) + rng.normal(0, 1, pixels.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def exposures(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Picture], list[int]]:
    """Drawn parts, each seen several times under names that do not tell; and which part each picture shows."""
    folder = tmp_path_factory.mktemp("exposures")
    order = np.random.default_rng(0).permutation(PARTS * SEEN).tolist()
    shows = [index // SEEN for index in order]
    pictures = [
        kept(folder, f"{n:03}.png", seen(index // SEEN, index % SEEN), image_class="good")
        for n, index in enumerate(order)
    ]
    return pictures, shows


@pytest.fixture(scope="module")
def by_look(exposures: tuple[list[Picture], list[int]]) -> Folds:
    return folds_of(exposures[0], 0)


class Patches(Looking):
    """A network whose features are the grey patches themselves, each without its mean."""

    def __init__(self) -> None:
        self.frame = Frame(width_px=SIDE_PX, height_px=SIDE_PX, stride=8, smoothings=0)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        cells = pixels[..., 0].astype(np.float32).reshape(12, 8, 12, 8).transpose(0, 2, 1, 3).reshape(144, 64)
        return cells - cells.mean(axis=1, keepdims=True)


def shown(pixels: np.ndarray) -> Shown:
    return Shown(pixels=cv2.merge([pixels] * 3), inside=(slice(0, 12), slice(0, 12)))


def taught(pictures: list[Picture], folds: list[int] | tuple[int, ...], parts: list[str] | None) -> Outcome:
    pixels = [cv2.imread(str(p.path), cv2.IMREAD_GRAYSCALE) for p in pictures]
    teaching = Teaching(
        Patches(), [shown(p) for p in pixels if p is not None], folds, seed=0, bank=1500, parts=parts
    )
    return teaching.run(method="bank", overkill=OVERKILL, least=0.0)


def rejected(outcome: Outcome, looking: Patches) -> float:
    """Share of parts that teaching never saw, each looked at once."""
    turned = [
        outcome.taught.basis.turn(looking.features(shown(seen(1000 + number, 0)).pixels))
        for number in range(FRESH)
    ]
    return float(np.mean([outcome.taught.distance_map(t).max() >= outcome.limit.value for t in turned]))


def test_pictures_of_one_part_are_found_and_lie_in_one_fold(
    exposures: tuple[list[Picture], list[int]], by_look: Folds
):
    _, shows = exposures
    assert by_look.follow == "near-twins"
    for part in range(PARTS):
        mine = [n for n, one in enumerate(shows) if one == part]
        assert len({by_look.numbers[n] for n in mine}) == 1
        assert len({by_look.parts.names[n] for n in mine}) == 1
    assert len(set(by_look.parts.names)) == PARTS, "and different parts are not taken for one"
    assert by_look.figures() == {
        "folds_follow": "near-twins",
        "parts": PARTS,
        "near_twins": {"groups": PARTS, "pictures": PARTS * SEEN},
    }
    assert f"{PARTS} parts" in by_look.sentence()


def test_the_promise_holds_on_fresh_parts_with_twins_together_and_fails_with_a_fold_for_each_picture(
    exposures: tuple[list[Picture], list[int]], by_look: Folds
):
    pictures, _ = exposures
    by_name = [n % 5 for n in range(len(pictures))]  # what folds were while each picture was a part of its own
    apart = taught(pictures, by_name, None)
    together = taught(pictures, by_look.numbers, list(by_look.parts.names))
    looking = Patches()
    told = float(str(apart.limit.figures()["overkill_upper_95"]))
    assert rejected(apart, looking) > 2 * told, (
        "held-out scores by models that knew the part promise too little"
    )
    promised = together.limit
    assert promised.good == PARTS
    assert promised.pictures == PARTS * SEEN
    assert rejected(together, looking) <= upper_bound(promised.above, promised.good)


def test_a_bound_from_parts_that_were_seen_often_holds_only_when_each_counts_once():
    """Scores of known distribution: what a part is, plus a little of what each look at it adds."""
    rng = np.random.default_rng(5)
    parts, looks, trials = 60, 6, 400
    names = [str(n // looks) for n in range(parts * looks)]
    fresh = rng.normal(size=40_000) + 0.2 * rng.normal(size=40_000)
    held = {"once": 0, "each": 0}
    for _ in range(trials):
        scores = (rng.normal(size=(parts, 1)) + 0.2 * rng.normal(size=(parts, looks))).ravel() + 10
        for how, given in (("once", names), ("each", None)):
            limit = choose_limit(scores.tolist(), 0.05, parts=given)
            true = float((fresh + 10 >= limit.value).mean())
            held[how] += true <= float(str(limit.figures()["overkill_upper_95"]))
    assert held["once"] >= 0.95 * trials - 18  # four standard deviations below
    assert held["each"] < 0.85 * trials, "pictures of one part are no witnesses of their own"


def test_what_is_promised_is_of_parts_and_says_from_how_many():
    limit = choose_limit([1.0, 9.0, 2.0, 2.5, 3.0, 3.5] * 2, 0.2, parts=[*"aabbcc", *"ddeeff"])
    assert (limit.good, limit.pictures, limit.above) == (6, 12, 0)
    assert limit.value > 9.0
    assert "from 6 held-out good parts in 12 pictures" in limit.sentence()
    assert "in 12 pictures" not in choose_limit([1.0] * 12, 0.2).sentence()


def test_parts_of_one_fixture_that_all_look_alike_are_not_twins(tmp_path: Path):
    """One layout and one light, little texture of their own: what a part in a fixed pose shows."""
    pictures = [kept(tmp_path, f"{n:02}.png", surface(n, alike=0.9), image_class="good") for n in range(40)]
    folds = folds_of(pictures, 0)
    assert folds.follow == "part"
    assert len(set(folds.parts.names)) == 40
    assert folds.sentence() == "folds follow the pictures: no two look like the same part"


def test_pictures_that_would_all_be_one_part_keep_their_own_folds_and_a_person_is_told(tmp_path: Path):
    same = [kept(tmp_path, f"{n:02}.png", surface(1), image_class="good") for n in range(20)]
    others = [kept(tmp_path, f"other{n}.png", surface(50 + n), image_class="good") for n in range(6)]
    folds = folds_of([*same, *others], 0)
    assert folds.follow == "part"
    assert len(set(folds.numbers)) == 5
    assert folds.figures()["near_twins"] == {"groups": 1, "pictures": 20, "left_out_largest": 20}
    assert "20 of 26 would be one part" in folds.sentence()
    assert "name the parts" in folds.sentence()


def test_named_parts_are_believed_and_an_unnamed_picture_joins_the_part_that_it_looks_like(
    exposures: tuple[list[Picture], list[int]],
):
    pictures, shows = exposures
    named = [
        replace(p, part=f"P{part:02}") if n % 3 else p
        for n, (p, part) in enumerate(zip(pictures, shows, strict=True))
    ]
    folds = folds_of(named, 0)
    assert folds.follow == "near-twins"
    assert len(set(zip(folds.parts.names, shows, strict=True))) == PARTS
    missing = [
        replace(p, path=Path("no such file"), part=f"P{part}") for p, part in zip(pictures, shows, strict=True)
    ]
    told = folds_of(missing, 0)  # all are named: nothing is looked at
    assert told.follow == "part"
    assert told.sentence() == "folds follow the parts that are named"


def test_added_pictures_of_one_part_are_one_witness_though_nothing_else_is_there_to_compare_them_with(
    exposures: tuple[list[Picture], list[int]], by_look: Folds, tmp_path: Path
):
    pictures, _ = exposures
    reach = unlike_parts_reach(pictures, by_look.parts.names)
    for parts, times in ((1, 4), (1, 10), (2, 4), (5, 1)):
        added = [
            kept(tmp_path, f"{parts}-{times}/{p}-{t}.png", seen(500 + p, t), image_class="good")
            for p in range(parts)
            for t in range(times)
        ]
        new = parts_of(added, reach=reach)
        assert len(set(new.names)) == parts
        assert (new.groups, new.pictures) == ((parts, parts * times) if times > 1 else (0, 0))
    alike = [kept(tmp_path, f"a{n}.png", surface(n, alike=0.9), image_class="good") for n in range(40)]
    reach = unlike_parts_reach(alike[:30], [p.name for p in alike[:30]])
    assert len(set(parts_of(alike[30:], reach=reach).names)) == 10, "different parts of one fixture"
