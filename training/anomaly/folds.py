# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which good pictures show one part, and the folds that keep together what belongs together.

Folds follow the lots, else the sequences, else the parts. A picture that names no part belongs to the part
that it looks like: near-twins among the good pictures (`datasets/likeness.py`) are one part seen again, or as
good as that. A twin in the teaching set would make a part look better than the next one will; and ten pictures
of one part are one witness, not ten. File names are not asked: what stands in them may as well be the camera
or the exposure, and folds by those part what belongs together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.labels import Picture
from datasets.likeness import background_of, joined, looks, reaching, twin_pairs

FOLDS = 5
_LEAST_GROUPS = 3  # of lots, sequences or parts that look alike: with fewer a fold is judged by next to nothing
_LARGEST_SHARE = 0.5
"""Of all pictures in one group of near-twins: beyond it the search tells the product, not the parts."""
_COMPARED = 40  # pictures, each of another part, that tell how alike different parts are


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """names: the part that each picture shows, named after a picture where nobody named it.

    groups, pictures: how many groups of near-twins there are, and how many pictures they hold. largest:
    pictures of the largest one, where that is too large to be one part; near-twins are left out then.
    """

    names: tuple[str, ...]
    searched: bool = False
    groups: int = 0
    pictures: int = 0
    largest: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """numbers: the fold of each picture. follow: lot, sequence, near-twins or part."""

    numbers: tuple[int, ...]
    follow: str
    parts: Parts

    def figures(self) -> dict[str, Any]:
        """For the card and the record."""
        found: dict[str, Any] = {"folds_follow": self.follow, "parts": len(set(self.parts.names))}
        if self.parts.searched:
            found["near_twins"] = {"groups": self.parts.groups, "pictures": self.parts.pictures}
            if self.parts.largest:
                found["near_twins"]["left_out_largest"] = self.parts.largest
        return found

    def sentence(self) -> str:
        """What a person must know."""
        parts, pictures = self.parts, len(self.parts.names)
        if self.follow == "near-twins":
            return (
                f"folds follow near-twins: {parts.groups} groups of look-alikes hold {parts.pictures} of"
                f" {pictures} pictures, so there are {len(set(parts.names))} parts; each counts once, with its"
                " worst picture"
            )
        if parts.largest:
            return (
                f"folds follow the pictures: they look so alike that {parts.largest} of {pictures} would be one"
                " part, so each counts as a part of its own; if some show the same part, name the parts"
                " (`part` in a COCO file), or this promises too little overkill"
            )
        if parts.searched:
            return "folds follow the pictures: no two look like the same part"
        return f"folds follow the {self.follow}s that are named"


def unlike_parts_reach(pictures: Sequence[Picture], parts: Sequence[str]) -> tuple[float, float]:
    """How far pictures of different parts agree, fine and coarse: nearer than that are near-twins.

    Pictures that come later may all show one part; among themselves they look unrelated to nothing.
    """
    one_each = list(dict(zip(parts, pictures, strict=True)).values())
    seen = looks(one_each[:: -(-len(one_each) // _COMPARED)])
    reached = background_of(seen, seen).reached
    return reached.fine, reached.coarse


def parts_of(pictures: Sequence[Picture], *, reach: tuple[float, float] | None = None) -> Parts:
    """Which part each picture shows: by name, else by what it looks like.

    reach: `unlike_parts_reach` of the teaching that these are added to. Then near-twins are always one part,
    however few parts that leaves: too few witnesses make a bound wide, too many make it wrong.
    """
    named = tuple(picture.part_name for picture in pictures)
    if all(picture.part is not None for picture in pictures):
        return Parts(names=named)
    background = None if reach is None else reaching(*reach)
    pairs = [(pair.first, pair.second) for pair in twin_pairs(looks(pictures), background=background)]
    if not pairs:
        return Parts(names=named, searched=True)
    first: dict[str, str] = {}
    same = [(first.setdefault(picture.part_name, picture.name), picture.name) for picture in pictures]
    part_name = {picture.name: picture.part_name for picture in pictures}
    group_of = {
        name: min(part_name[one] for one in group) for group in joined([*pairs, *same]) for name in group
    }
    names = tuple(group_of[picture.name] for picture in pictures)
    twins = joined(pairs)
    sizes = Counter(names)
    largest = max(sizes.values())
    found = {"searched": True, "groups": len(twins), "pictures": sum(map(len, twins))}
    if reach is None and (largest > _LARGEST_SHARE * len(pictures) or len(sizes) < _LEAST_GROUPS):
        return Parts(names=named, largest=largest, **found)
    return Parts(names=names, **found)


def folds_of(pictures: Sequence[Picture], seed: int) -> Folds:
    """Folds of the pictures: whole lots, else whole sequences, else whole parts, drawn by lot.

    Near-twins are looked for only where neither lots nor sequences are named; it reads each picture once more.
    """
    for what in ("lot", "sequence"):
        named = [getattr(picture, what) for picture in pictures]
        if None not in named and len(set(named)) >= _LEAST_GROUPS:
            parts = Parts(names=tuple(picture.part_name for picture in pictures))
            return Folds(numbers=_by_group([str(name) for name in named], seed), follow=what, parts=parts)
    parts = parts_of(pictures)
    follow = "near-twins" if parts.groups and not parts.largest else "part"
    return Folds(numbers=_by_group(parts.names, seed), follow=follow, parts=parts)


def least_taught(folds: Sequence[int], parts: Sequence[str] | Sequence[int]) -> int:
    """How many distinct parts the smallest teaching rests on, of those that each leave one fold out."""
    both = list(zip(folds, parts, strict=True))
    return min(len({part for mine, part in both if mine != fold}) for fold in set(folds))


def _by_group(groups: Sequence[str], seed: int) -> tuple[int, ...]:
    """Whole groups to folds of like size: the largest first, each to the smallest fold."""
    names, sizes = np.unique(np.asarray(groups), return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    count = min(FOLDS, len(names))
    filled = [0] * count
    fold: dict[str, int] = {}
    for index in order:
        smallest = min(range(count), key=filled.__getitem__)
        fold[str(names[index])] = smallest
        filled[smallest] += int(sizes[index])
    return tuple(fold[name] for name in groups)
