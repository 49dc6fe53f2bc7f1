# SPDX-License-Identifier: AGPL-3.0-or-later
"""A first look turns most pairs away and loses no twin that registration would have found."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.features import read_grey
from datasets.likeness import background_of, looks, twin_pairs
from datasets.registration import Agreement, agreement, sight, thumbnail
from datasets.sketches import promising
from tests.datasets.drawn import kept, some, surface


def warped(pixels: np.ndarray, scale: float = 1.0, turn_deg: float = 0.0, shift: float = 0.0) -> np.ndarray:
    height, width = pixels.shape
    move = cv2.getRotationMatrix2D((width / 2, height / 2), turn_deg, scale)
    move[:, 2] += shift * width, -shift * height / 2
    return cv2.warpAffine(pixels, move, (width, height), borderMode=cv2.BORDER_REFLECT)


def noisy(pixels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(4).normal(0, 8, pixels.shape)
    return np.clip(pixels * 1.1 + noise, 0, 255).astype(np.uint8)


CHANGES = {
    "noise": noisy,
    "a little shift": lambda p: warped(p, shift=0.03),
    "a large shift": lambda p: warped(p, shift=0.12),
    "closer": lambda p: warped(p, scale=1.06),
    "farther": lambda p: warped(p, scale=0.92),
    "turned": lambda p: warped(p, turn_deg=4, shift=0.02),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_registration_confirms_is_promising(change: str) -> None:
    pictures = [surface(n, alike=0.2, side_px=160) for n in range(4)]
    one = np.stack([thumbnail(p) for p in pictures])
    other = np.stack([thumbnail(CHANGES[change](p)) for p in pictures])
    for number in range(4):
        agrees = agreement(sight(one[number]), sight(other[number]))
        assert max(agrees.fine, agrees.coarse - 0.4) > 0.5, "else there is nothing to find"
        assert promising(one, other, [(number, number)]) == [(number, number)]


def test_most_pairs_of_unrelated_pictures_are_turned_away() -> None:
    one = np.stack([thumbnail(surface(n, alike=0.1)) for n in range(16)])
    pairs = list(combinations(range(16), 2))
    assert len(promising(one, one, pairs)) < len(pairs) / 4
    assert promising(one, one, []) == []


def test_the_same_twins_are_found_as_by_registering_every_pair(tmp_path: Path) -> None:
    pictures = some(tmp_path / "p", range(10))
    for number, change in enumerate((noisy, CHANGES["closer"], CHANGES["a little shift"])):
        pixels = read_grey(pictures[3 * number + 1].path)
        pictures.append(kept(tmp_path, f"twin{number}.png", change(pixels)))
    seen = looks(pictures)
    limit, reached = (one := background_of(seen, seen)).limit, one.reached
    sights = [sight(thumb) for thumb in seen.thumbnails]

    def alike(agrees: Agreement) -> bool:
        coarse = agrees.coarse >= limit.coarse and agrees.fine >= reached.fine
        return coarse or agrees.fine >= limit.fine

    names = [picture.name for picture in pictures]
    every = {
        (names[i], names[j]) for i, j in combinations(range(13), 2) if alike(agreement(sights[i], sights[j]))
    }
    assert len(every) >= 3
    assert {(pair.first, pair.second) for pair in twin_pairs(seen)} == every
    # asked for some, only pairs of these are told
    some_only = twin_pairs(seen, among={"twin1.png"})
    assert {(p.first, p.second) for p in some_only} == {pair for pair in every if "twin1.png" in pair}


def test_a_comparison_leaves_what_it_compares_as_it_was() -> None:
    """A sight is compared with many; OpenCV's phase correlation fades its inputs in place."""
    one, other = (sight(thumbnail(surface(n, alike=0.2))) for n in (1, 2))
    before = [getattr(s, kind).copy() for s in (one, other) for kind in ("light", "fine", "coarse")]
    first = agreement(one, other)
    after = [getattr(s, kind) for s in (one, other) for kind in ("light", "fine", "coarse")]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert agreement(one, other) == first
