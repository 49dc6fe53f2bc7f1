# SPDX-License-Identifier: AGPL-3.0-or-later
"""Score maps in picture pixels, and what they are worth where somebody drew outlines.

Pictures count where their truth is known pixel by pixel: good ones (nothing is marked), and defective ones
whose labels all have an outline or a mask. A defective picture without one is left out and counted apart,
unless a protocol takes its empty mask at its word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from datasets.labels import GOOD_CLASSES
from inspection.detectors.decode import Place
from inspection.pixels import Letterbox
from inspection.prepare import Placement
from inspection.types import Box
from training.areas import PixelTally
from training.coco_map import encoded
from training.engine import Look
from training.statistics import Scored
from weights.card import Card

if TYPE_CHECKING:
    from training.answers import Question

COMMON_LIMIT = 0.5
_MOST_INSTANCES = 100  # of a class in a picture, as COCO counts them


def maps_in_source(table: np.ndarray, place: Place, size: tuple[int, int]) -> np.ndarray:
    """Maps (classes, h, w) of a network's input as (classes, H, W) of the picture; `size` is (H, W).

    Pixels that the network did not see score 0.
    """
    box = place.box if isinstance(place, Placement) else place
    assert isinstance(box, Letterbox)  # noqa: S101 - there are no other places
    (left, top), (width_px, height_px) = box.offset_px, box.inner_px
    out = np.zeros((len(table), *size), np.float32)
    for number, scores in enumerate(table):
        whole = cv2.resize(
            np.ascontiguousarray(scores, np.float32),
            (box.width_px, box.height_px),
            interpolation=cv2.INTER_LINEAR,
        )
        inner = whole[top : top + height_px, left : left + width_px]
        prepared = cv2.resize(
            inner, (box.source_width_px, box.source_height_px), interpolation=cv2.INTER_LINEAR
        )
        if isinstance(place, Placement):
            prepared = cv2.warpAffine(prepared, place.back[:2], (size[1], size[0]), flags=cv2.INTER_LINEAR)
        out[number] = prepared
    return out


def instances(scores: np.ndarray, floor: float) -> list[tuple[float, np.ndarray]]:
    """(score, mask bool (h, w)) of each connected region of one class's map at or above the floor, best first.

    As the station makes findings: the score is the highest value, the mask the pixels of at least half that.
    """
    count, found, stats, _ = cv2.connectedComponentsWithStats(
        (scores >= floor).astype(np.uint8), connectivity=8
    )
    regions: list[tuple[float, np.ndarray]] = []
    for number in range(1, count):
        x, y, width, height = (int(v) for v in stats[number, :4])
        window = (slice(y, y + height), slice(x, x + width))
        values = np.where(np.asarray(found)[window] == number, scores[window], 0.0)
        mask = np.zeros(scores.shape, bool)
        mask[window] = values >= values.max() / 2
        regions.append((float(values.max()), mask))
    return sorted(regions, key=lambda region: -region[0])[:_MOST_INSTANCES]


@dataclass(slots=True, kw_only=True)
class MaskJudge:
    """Masks of every instance, found and true, for COCO's mask mAP; pictures number from 0."""

    classes: tuple[str, ...]
    floor: float
    found: list[tuple[Scored, dict[str, Any]]] = field(default_factory=list)
    truth: list[tuple[Scored, dict[str, Any]]] = field(default_factory=list)
    pictures: int = 0

    @classmethod
    def of(cls, card: Card, questions: Sequence[Question]) -> MaskJudge | None:
        """A judge for a segmenting bundle where somebody drew outlines, else None."""
        outlined = any(mark.polygons or mark.mask is not None for q in questions for mark in q.labels)
        if card.task != "segment" or card.output.kind != "maps_nchw" or not outlined:
            return None
        return cls(classes=tuple(card.classes), floor=max(card.floor_score, 1e-3))

    def add(self, look: Look | None, question: Question, size: tuple[int, int]) -> None:
        """Count one labelled picture; `size` is (height, width). None: the engine could not look."""
        if not question.labelled:
            return
        none = np.zeros((len(self.classes), *size), np.float32)
        maps = none if look is None else maps_in_source(look.table, look.place, size)
        for number, (name, scores) in enumerate(zip(self.classes, maps, strict=True)):
            if name in GOOD_CLASSES:
                continue
            for score, mask in instances(scores, self.floor):
                self.found.append((self._entry(number, score, mask), encoded(mask)))
        for label in question.labels:
            mask = label.pixels(*size)
            self.truth.append((self._entry(self.classes.index(label.class_name), 1.0, mask), encoded(mask)))
        self.pictures += 1

    def _entry(self, class_index: int, score: float, mask: np.ndarray) -> Scored:
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        box = Box(x0_px=x, y0_px=y, x1_px=x + width, y1_px=y + height)
        return Scored(picture=self.pictures, class_index=class_index, box=box, score=score)


@dataclass(slots=True, kw_only=True)
class PixelJudge:
    """Tallies of a set: all defects together, and each class that the bundle tells apart."""

    classes: tuple[str, ...]
    defects: tuple[int, ...]  # numbers of the classes that are defects
    unmarked_are_free: bool = False
    any_defect: PixelTally = field(default_factory=PixelTally)
    each: dict[str, PixelTally] = field(default_factory=dict)
    left_out: int = 0

    @classmethod
    def of(cls, card: Card, questions: Sequence[Question], unmarked_are_free: bool) -> PixelJudge | None:
        """A judge, or None where the bundle makes no maps or nobody drew an outline."""
        outlined = any(mark.polygons or mark.mask is not None for q in questions for mark in q.labels)
        if card.output.kind != "maps_nchw" or not outlined:
            return None
        defects = tuple(i for i, name in enumerate(card.classes) if name not in GOOD_CLASSES)
        each = {card.classes[i]: PixelTally() for i in defects} if len(defects) > 1 else {}
        return cls(classes=tuple(card.classes), defects=defects, each=each, unmarked_are_free=unmarked_are_free)

    def add(self, look: Look | None, question: Question, size: tuple[int, int]) -> None:
        """Count one picture's maps against its outlines; `size` is (height, width) of the picture.

        None: the engine could not look; the picture is left out.
        """
        drawn = all(mark.polygons or mark.mask is not None for mark in question.labels)
        known = question.good or (drawn and bool(question.labels)) or (self.unmarked_are_free and drawn)
        if look is None or not question.labelled or not known:
            self.left_out += question.labelled
            return
        maps = maps_in_source(look.table, look.place, size)[list(self.defects)]
        masks = {name: np.zeros(size, bool) for name in self.each}
        mask = np.zeros(size, bool)
        for mark in question.labels:
            pixels = mark.pixels(*size)
            mask |= pixels
            if mark.class_name in masks:
                masks[mark.class_name] |= pixels
        self.any_defect.add(maps.max(axis=0), mask)
        for (name, mine), tally in zip(masks.items(), self.each.values(), strict=True):
            tally.add(maps[list(self.each).index(name)], mine)

    def figures(self, limits: Mapping[str, float] | None) -> dict[str, Any]:
        """All pixel figures. limits: of each class, as chosen before; the lowest one counts for any defect.

        `best_f1` is at the limit that suits these very pixels: what could be had, not what is claimed.
        """
        tally = self.any_defect
        limit = min(limits.values()) if limits else COMMON_LIMIT
        best = tally.best_f1()
        return {
            "pictures": tally.pictures,
            "left_out": self.left_out,
            "regions": tally.regions,
            "aupro": tally.aupro(),
            "auroc": tally.pixel_auroc(),
            "limit": limit,
            "limit_source": "chosen before" if limits else "the middle of the scale",
            **(tally.f1(limit) or {"f1": None, "iou": None}),
            "best_f1": None if best is None else best[0],
            "best_f1_limit": None if best is None else best[1],
            "peak_in_mask": None if not tally.shown else [tally.peaks, tally.shown],
            "classes": {
                name: each.f1((limits or {}).get(name, COMMON_LIMIT)) for name, each in self.each.items()
            },
        }
