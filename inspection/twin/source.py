# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the line's parts come from: drawn ones, or real photographs of a COCO file, through the same camera.

Photographs: `image_class` `good` or `free` is a good part; without an image_class, one without annotations;
each `template_file` is a good part of its own; everything else is defective. Pictures are never scaled: smaller
ones stand in the middle of a grey border, so that all frames have the size of the largest.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from inspection.twin.renderer import DETECTABILITY_LIMIT, DefectTruth, PartRenderer, PartTruth
from inspection.twin.stamp import MIN_WIDTH_PX, STRIP_HEIGHT_PX, stamp
from inspection.types import Box, StationFault

BORDER_GREY = 114
GOOD_CLASSES = frozenset({"good", "free"})
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
    marks: tuple[tuple[str, tuple[float, float, float, float]], ...] = ()  # (class, x, y, width, height)


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
                size_px=max(w, h),
                box=Box(x0_px=x + left, y0_px=y + top, x1_px=x + w + left, y1_px=y + h + top),
                detectability=DETECTABILITY_LIMIT,
            )
            for name, (x, y, w, h) in photograph.marks
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


def read_coco(path: Path) -> list[Photograph]:
    """The parts of a COCO file, in the file's order; StationFault names the file and what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise StationFault(f"Cannot read {path} ({e.strerror}): give a COCO file with --source.") from e
    except ValueError as e:
        raise StationFault(f"{path} is not a COCO file ({e}): give one with --source.") from e
    try:
        names = {c["id"]: str(c["name"]) for c in content.get("categories", [])}
        known_ids = {image["id"] for image in content["images"]}
        if len(known_ids) != len(content["images"]):
            raise StationFault(f"{path} gives two pictures the same id: give each its own.")
        marks: dict[Any, list[tuple[str, tuple[float, float, float, float]]]] = {}
        for a in content.get("annotations", []):
            if a["image_id"] not in known_ids:  # or a defective part would count as a good one
                raise StationFault(
                    f"{path}: annotation {a.get('id', '?')} marks the picture {a['image_id']!r}, which is not "
                    "in the file: correct its image_id."
                )
            x, y, w, h = (float(v) for v in a["bbox"])
            name = names.get(a["category_id"], str(a["category_id"]))
            marks.setdefault(a["image_id"], []).append((name, (x, y, w, h)))
        photographs: list[Photograph] = []
        templates: dict[Path, None] = {}
        for image in content["images"]:
            found = tuple(marks.get(image["id"], ()))
            image_class = image.get("image_class")
            good = not found if image_class is None else image_class in GOOD_CLASSES
            photographs.append(
                Photograph(
                    path=path.parent / image["file_name"], defective=not good, marks=() if good else found
                )
            )
            if image.get("template_file"):
                templates[path.parent / image["template_file"]] = None
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise StationFault(f"{path} is not a COCO file ({type(e).__name__}: {e}): correct it.") from e
    photographs.extend(Photograph(path=p, defective=False) for p in templates)
    if not photographs:
        raise StationFault(f"{path} lists no pictures: give a COCO file with images.")
    return photographs


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
    return PhotographSource(read_coco(coco), seed=seed, colour=colour)
