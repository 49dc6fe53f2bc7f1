# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the line's parts come from: drawn ones, or real photographs of a COCO file, through the same camera.

Photographs: `image_class` `good` or `free` is a good part; without an image_class, one without annotations;
each `template_file` is a good part of its own; everything else is defective. Pictures are never scaled: smaller
ones stand in the middle of a grey border, so that all frames have the size of the largest.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from datasets.coco import read_coco
from inspection.twin.renderer import DETECTABILITY_LIMIT, DefectTruth, PartRenderer, PartTruth
from inspection.twin.stamp import MIN_WIDTH_PX, STRIP_HEIGHT_PX, stamp
from inspection.types import Box, StationFault

BORDER_GREY = 114
_STEP_PX = 8  # cameras count their width in steps
_COLOUR_SAMPLE = 16
_COLOUR_SPREAD = 12  # grey levels between channels; less is JPEG noise


class PartSource(Protocol):
    """Gives the parts of a run: what is wrong with each, and its picture in each view."""

    width_px: int
    height_px: int  # stamp strip included: the detector sees all but the last 16 rows

    def truth(self, part_no: int) -> PartTruth:
        """What is wrong with this part."""
        ...

    def render(self, part_no: int, view: int) -> np.ndarray:
        """The stamped frame, uint8, (height_px, width_px) or (height_px, width_px, 3)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One part of a COCO file: its picture, and what people marked on it."""

    path: Path
    defective: bool
    marks: tuple[tuple[str, Box], ...] = ()  # (class, where)


class PhotographSource:
    """Parts of a COCO file in a seeded order; starts again in another order when all were shown."""

    def __init__(self, photographs: list[Photograph], *, seed: int, colour: bool = False) -> None:
        sizes = [picture_size(p.path) for p in photographs]
        self._photographs = photographs
        self._seed = seed
        self.colour = colour
        self.view_width_px = _stepped(max(*(w for w, _ in sizes), MIN_WIDTH_PX))
        self.view_height_px = _stepped(max(h for _, h in sizes))
        self.width_px = self.view_width_px
        self.height_px = self.view_height_px + STRIP_HEIGHT_PX

    def __len__(self) -> int:
        return len(self._photographs)

    def photograph(self, part_no: int) -> Photograph:
        """Which photograph this part is."""
        cycle, place = divmod(part_no, len(self._photographs))
        return self._photographs[self._order(cycle)[place]]

    @lru_cache(maxsize=4)  # noqa: B019 - a source lives as long as its process
    def _order(self, cycle: int) -> list[int]:
        """The order of one cycle; it never begins with the picture that the last one ended with.

        Twice the same picture would be refused as a frozen camera, and rightly.
        """
        order = self._shuffled(cycle)
        if len(order) == 2:
            return self._shuffled(0)
        if cycle and len(order) > 2 and order[0] == self._shuffled(cycle - 1)[-1]:
            order[0], order[1] = order[1], order[0]
        return order

    def _shuffled(self, cycle: int) -> list[int]:
        order = list(range(len(self._photographs)))
        random.Random(f"{self._seed}/{cycle}").shuffle(order)  # noqa: S311 - an order of parts, no secret
        return order

    def truth(self, part_no: int) -> PartTruth:
        """What people marked; there is no detectability limit for photographs, so all defects count."""
        photograph = self.photograph(part_no)
        left, top = self._corner(*picture_size(photograph.path))
        defects = tuple(
            DefectTruth(
                kind=name,
                view=0,
                size_px=box.size_px,
                box=Box(
                    x0_px=box.x0_px + left,
                    y0_px=box.y0_px + top,
                    x1_px=box.x1_px + left,
                    y1_px=box.y1_px + top,
                ),
                detectability=DETECTABILITY_LIMIT,
            )
            for name, box in photograph.marks
        )
        return PartTruth(
            part_no=part_no, defective=photograph.defective, defects=defects, above_limit=photograph.defective
        )

    def render(self, part_no: int, view: int) -> np.ndarray:
        """The photograph inside its border, stamped. Every view of a part shows the same photograph."""
        picture = load_picture(self.photograph(part_no).path, colour=self.colour)
        shape = (self.height_px, self.width_px, 3) if self.colour else (self.height_px, self.width_px)
        frame = np.full(shape, BORDER_GREY, np.uint8)
        height, width = picture.shape[:2]
        left, top = self._corner(width, height)
        frame[top : top + height, left : left + width] = picture
        if self.colour:
            strip = np.zeros((STRIP_HEIGHT_PX, self.width_px), np.uint8)
            stamp(strip, part_no, view)
            frame[-STRIP_HEIGHT_PX:] = strip[..., None]
        else:
            stamp(frame, part_no, view)
        return frame

    def _corner(self, width: int, height: int) -> tuple[int, int]:
        return (self.view_width_px - width) // 2, (self.view_height_px - height) // 2


def _stepped(size_px: int) -> int:
    return -(-size_px // _STEP_PX) * _STEP_PX


@lru_cache(maxsize=100_000)
def picture_size(path: Path) -> tuple[int, int]:
    """Width and height from the picture's header; StationFault with one sentence when it has none."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as e:
        raise StationFault(
            f"The picture {path} is missing: restore it, or take it out of the COCO file."
        ) from e
    except (OSError, ValueError, Image.DecompressionBombError) as e:
        raise StationFault(f"{path} is not a picture that can be read ({e}): replace it.") from e


def load_picture(path: Path, *, colour: bool) -> np.ndarray:
    """Decode one picture, uint8 (H, W) grey or (H, W, 3) RGB; StationFault when it is not a picture."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image, np.uint16) >> 8).astype(np.uint8)
                return np.stack([grey] * 3, axis=2) if colour else grey
            return np.asarray(image.convert("RGB" if colour else "L"))
    except FileNotFoundError as e:
        raise StationFault(
            f"The picture {path} is missing: restore it, or take it out of the COCO file."
        ) from e
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise StationFault(f"{path} is not a picture that can be read ({e}): replace it.") from e


def read_photographs(coco: Path) -> list[Photograph]:
    """The parts of a COCO file, in the file's order, then its templates; StationFault names what is wrong."""
    labelled = read_coco(coco)
    if not labelled.pictures:
        raise StationFault(f"{coco} lists no pictures: give a COCO file with images.")
    return [
        Photograph(
            path=picture.path,
            defective=not picture.good,
            marks=() if picture.good else tuple((label.class_name, label.box) for label in picture.labels),
        )
        for picture in (*labelled.pictures, *labelled.templates)
    ]


def check_pictures(photographs: list[Photograph]) -> None:
    """Decode every picture once, so that a bad one is named before the line starts and not in its middle."""
    for photograph in photographs:
        load_picture(photograph.path, colour=False)


def is_colour(photographs: list[Photograph]) -> bool:
    """Whether the pictures carry colour; grey ones stored as RGB do not."""
    for photograph in photographs[:_COLOUR_SAMPLE]:
        picture = load_picture(photograph.path, colour=True).astype(np.int16)
        if np.abs(picture - picture.mean(axis=2, keepdims=True)).mean() > _COLOUR_SPREAD:
            return True
    return False


def make_source(*, coco: Path | None, seed: int, views: int, colour: bool = False) -> PartSource:
    """The source of a run: photographs when a COCO file is named, else drawn parts."""
    if coco is None:
        return PartRenderer(seed=seed, views=views)
    return PhotographSource(read_photographs(coco), seed=seed, colour=colour)
