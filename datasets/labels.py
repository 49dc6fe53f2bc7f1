# SPDX-License-Identifier: AGPL-3.0-or-later
"""The vocabulary of what people taught: pictures, labels on them, and sets of both. Read this file first.

A `LabelledSet` is what every reader of an interchange format returns, every writer takes, and every trainer
and evaluation is given. A label has a box always; polygons or a mask where somebody drew them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from inspection.types import Box

GOOD_CLASSES = frozenset({"good", "free"})
"""Values of a whole-picture label that say: no defect here."""

Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y) in picture pixels; the outline closes by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rle:
    """A mask as run lengths, column by column, starting with a run of background (COCO's uncompressed RLE)."""

    height_px: int
    width_px: int
    counts: tuple[int, ...]

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> Rle:
        """Encode a boolean (h, w) mask."""
        flat = np.asarray(mask, dtype=bool).ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        bounds = np.concatenate(([0], edges, [flat.size]))
        counts = np.diff(bounds).tolist()
        if flat.size and flat[0]:
            counts.insert(0, 0)
        height_px, width_px = mask.shape
        return cls(height_px=height_px, width_px=width_px, counts=tuple(counts))

    def to_mask(self) -> np.ndarray:
        """Decode to a boolean (h, w) mask; ValueError when the runs do not fill the picture exactly."""
        total = self.height_px * self.width_px
        if min(self.counts, default=0) < 0 or sum(self.counts) != total:
            raise ValueError(f"run lengths add up to {sum(self.counts)}, the picture has {total} pixels")
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape((self.height_px, self.width_px), order="F")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One defect that somebody marked, in picture pixels."""

    class_name: str
    box: Box
    polygons: tuple[Polygon, ...] = ()
    mask: Rle | None = None
    detectability: float | None = None  # known for drawn parts only

    def pixels(self, height_px: int, width_px: int) -> np.ndarray:
        """Boolean (h, w): the mask, else the polygons filled, else the box."""
        if self.mask is not None:
            return self.mask.to_mask()
        canvas = np.zeros((height_px, width_px), np.uint8)
        if self.polygons:
            for polygon in self.polygons:
                corners = np.round(np.asarray(polygon, np.float64)).astype(np.int32)
                cv2.fillPoly(canvas, [corners], 1)
        else:
            left, top = max(0, round(self.box.x0_px)), max(0, round(self.box.y0_px))
            canvas[top : max(top + 1, round(self.box.y1_px)), left : max(left + 1, round(self.box.x1_px))] = 1
        return canvas.astype(bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One labelled picture.

    name: relative POSIX path that names it within its set, and nothing else there. path: where it lies on this
    machine. part, lot, sequence: what belongs together; pictures without a part are parts of their own.
    """

    name: str
    path: Path
    width_px: int
    height_px: int
    labels: tuple[Label, ...] = ()
    image_class: str | None = None  # whole-picture label: `good`, `free`, or what is wrong
    part: str | None = None
    lot: str | None = None
    sequence: str | None = None
    template: Path | None = None  # defect-free picture of the same place
    facts: dict[str, str] = field(default_factory=dict)  # what a source says besides, kept for round trips

    @property
    def good(self) -> bool:
        """Whether the picture shows no defect.

        A whole-picture label has the last word: a few defective pictures carry no annotation.
        """
        return self.image_class in GOOD_CLASSES if self.image_class is not None else not self.labels

    @property
    def part_name(self) -> str:
        """The part it shows; a picture that names none is one of its own."""
        return self.part if self.part is not None else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """Pictures and the names of the classes their labels use, in the order that numbers them."""

    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    source: Path

    @property
    def index_of(self) -> dict[str, int]:
        """Number of each class."""
        return {name: index for index, name in enumerate(self.classes)}

    @property
    def templates(self) -> tuple[Picture, ...]:
        """One good picture for each distinct template, in order of appearance: good parts of their own.

        Each is named after the first picture that names it: file names repeat from folder to folder.
        """
        distinct: dict[Path, Picture] = {}
        for picture in self.pictures:
            if picture.template is not None and picture.template not in distinct:
                distinct[picture.template] = Picture(
                    name=f"template:{picture.name}",
                    path=picture.template,
                    width_px=picture.width_px,
                    height_px=picture.height_px,
                    image_class="good",
                    lot=picture.lot,
                    sequence=picture.sequence,
                    template=picture.template,
                )
        return tuple(distinct.values())
