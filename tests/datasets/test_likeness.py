# SPDX-License-Identifier: AGPL-3.0-or-later
"""Near-twins are found and named; pictures that only share camera and fixture are not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.coco import read_coco
from datasets.labels import Picture
from datasets.likeness import joined, leaks, looks, perceptual_hash, straddles, twins
from tests.datasets.drawn import kept, some, surface


def jpeg(pixels: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)


def brighter(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels * 1.15 + 10.0, 0, 255).astype(np.uint8)


def shifted(pixels: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(
        pixels, np.array([[1, 0, 2], [0, 1, -1.0]]), pixels.shape[::-1], borderMode=cv2.BORDER_REPLICATE
    )


def cropped(pixels: np.ndarray) -> np.ndarray:
    return pixels[1:-2, 2:-1]


CHANGES = (jpeg, brighter, shifted, cropped)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Picture], list[Picture]]:
    folder = tmp_path_factory.mktemp("likeness")
    return some(folder / "train", range(28)), some(folder / "test", range(100, 108), prefix="t")


def planted(folder: Path, train: list[Picture]) -> tuple[list[Picture], set[tuple[str, str]]]:
    twins_of, pairs = [], set()
    for number, change in enumerate(CHANGES * 2):
        original = train[3 * number + 1]
        name = f"{change.__name__}{number}.png"
        pixels = cv2.imread(str(original.path), cv2.IMREAD_GRAYSCALE)
        twins_of.append(kept(folder, name, change(pixels)))
        pairs.add((original.name, name))
    copy = folder / "copy.png"
    shutil.copy(train[2].path, copy)
    twins_of.append(replace(train[2], name="copy.png", path=copy, part=None))
    pairs.add((train[2].name, "copy.png"))
    return twins_of, pairs


def test_planted_twins_across_a_split_are_named_and_nothing_else(
    parts: tuple[list[Picture], list[Picture]], tmp_path: Path
) -> None:
    train, test = parts
    more, pairs = planted(tmp_path, train)
    found = leaks(train, [*test, *more])
    assert {(pair.first, pair.second) for pair in found.pairs} == pairs
    assert [pair.second for pair in found.pairs if pair.exact] == ["copy.png"]
    assert all("agree" in pair.why or "identical" in pair.why for pair in found.pairs)


def test_a_clean_split_of_one_set_up_names_no_pair(parts: tuple[list[Picture], list[Picture]]) -> None:
    train, test = parts
    found = leaks(train, test)
    assert found.pairs == ()
    assert found.straddles == ()
    # the hash alone would name them all: they share their layout
    closest = [
        min(int((perceptual_hash(a) != perceptual_hash(b)).sum()) for a in map(surface, range(5)))
        for b in map(surface, range(100, 105))
    ]
    assert max(closest) < 100


def test_parts_and_lots_on_both_sides_are_named(parts: tuple[list[Picture], list[Picture]]) -> None:
    train = [replace(p, part="A", lot="L1") for p in parts[0][:3]]
    test = [replace(parts[1][0], part="A", lot="L1"), replace(parts[1][1], part="B", lot="L2")]
    assert [(s.kind, s.name, s.train, s.test) for s in straddles(train, test)] == [
        ("part", "A", 3, 1),
        ("lot", "L1", 3, 1),
    ]


def test_groups_of_twins_hold_chains_together(
    parts: tuple[list[Picture], list[Picture]], tmp_path: Path
) -> None:
    train = parts[0]
    more, pairs = planted(tmp_path, train)
    groups = twins([*train, *more])
    assert groups == joined(pairs)


def test_chains_are_joined() -> None:
    assert joined([("a", "b"), ("c", "d"), ("b", "c"), ("x", "y")]) == [{"a", "b", "c", "d"}, {"x", "y"}]


def test_few_or_no_pictures_are_borne(parts: tuple[list[Picture], list[Picture]]) -> None:
    train = parts[0]
    assert leaks([], train[:2]).pairs == ()
    assert leaks(train[:2], []).pairs == ()
    assert twins([]) == []
    assert twins(train[:1]) == []
    assert leaks(train[:1], train[:1]).pairs[0].exact
    assert looks([]).hashes.shape == (0, 256)


@pytest.mark.data
def test_one_framing_of_many_places_is_no_leak_but_planted_twins_are(data_root: Path, tmp_path: Path) -> None:
    train = list(read_coco(data_root / "bsdata_pitting" / "train.json").pictures)[::6]
    test = list(read_coco(data_root / "bsdata_pitting" / "test.json").pictures)[::8]
    pairs = set()
    for number, change in enumerate((jpeg, brighter, shifted)):
        original = train[10 * number]
        pixels = cv2.imread(str(original.path), cv2.IMREAD_GRAYSCALE)
        test.append(kept(tmp_path, f"{change.__name__}.png", change(pixels)))
        pairs.add((original.name, f"{change.__name__}.png"))
    found = leaks(train, test)
    assert pairs <= {(pair.first, pair.second) for pair in found.pairs}
    assert len({pair.second for pair in found.pairs}) <= len(pairs) + 1
