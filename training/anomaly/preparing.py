# SPDX-License-Identifier: AGPL-3.0-or-later
"""Choose, from the good pictures alone, how pictures are prepared and at what size the network sees them.

1. Gain: where no picture's median is below `DARKEST`, each picture's median is brought to their common median.
2. Alignment: where one long part (`LEAST_RATIO` times as long as wide, its two ends told apart) stands before
   an even background in all but `STRAY` of the pictures, wholly inside and of like size, and lies there in
   directions that vary: it is laid down, its background painted over.
3. Many shapes (width by height): pictures keep their scale on a canvas as large as the largest, or each is
   stretched to the middle size, so that a place means the same in all (`SHAPES`; `teaching` tries which).
   Of one shape and many sizes, they are one view at several resolutions, and are scaled.
4. Size: the network sees the picture at its own scale where that fits `MOST_PX2`; smaller ones are enlarged,
   at most twice, up to `WANTED_PX2`; larger ones are shrunk to `MOST_PX2`. Stretched ones are
   enlarged to `STRETCHED_PX2` only: what the network sees around a place is then more of the part (magnetic
   tiles, cross-validated: AUROC 0.88, enlarged to `WANTED_PX2` 0.86).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.labels import Picture
from inspection.align import Align, Canvas, FoundPart, Stretch, find_part
from inspection.prepare import Gain, Step
from training.anomaly.features import Frame
from training.pictures import read_picture

DARKEST = 16.0
LEAST_RATIO, STRAY = 1.5, 0.05
ALIKE = 0.25  # of a part's area and length, from the median
ENDS_APART = 1.15  # the wide end is wider by this factor
TURNED_RAD = 0.05  # directions that differ by less are one
MARGIN, GROW = 0.03, 0.08  # of the part's length; of its width
MOST_PX2, WANTED_PX2, MOST_ENLARGED = 2 * 416 * 416, 416 * 416, 2.0
STRETCHED_PX2 = 256 * 256
MULTIPLE_PX = 32
ALIKE_SHAPES = 0.1
LOOKED_AT = 60
SHAPES = ("canvas", "stretch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Steps for the card, the size of the input, and why it is so."""

    steps: tuple[Step, ...]
    width_px: int
    height_px: int
    average: bool
    smoothings: int
    why: dict[str, Any]

    def frame(self, stride: int) -> Frame:
        """The input with a grid of `stride`."""
        return Frame(
            width_px=self.width_px,
            height_px=self.height_px,
            stride=stride,
            average=self.average,
            smoothings=self.smoothings,
        )


def choose_preparation(
    pictures: Sequence[Picture], *, gain: bool = True, align: bool = True, shapes: str = "canvas"
) -> Preparation:
    """Apply the rules of this module's first lines. shapes: what is done with pictures of many shapes."""
    looked_at = pictures[:: max(1, len(pictures) // LOOKED_AT)]
    greys = [read_picture(picture.path, 1) for picture in looked_at]
    steps: list[Step] = []
    why: dict[str, Any] = {}
    medians = [float(np.median(grey)) for grey in greys]
    target = round(float(np.median(medians)))
    if gain and min(medians) >= DARKEST:
        steps.append(Gain(target=target))
        why["gain"] = f"medians {min(medians):.0f} to {max(medians):.0f}, brought to {target}"
    laid = _alignment(greys, target) if align else None
    if laid is not None:
        steps.append(laid)
        why["align"] = f"one part {laid.length_px:.0f} x {laid.across_px:.0f} px in changing directions"
        return Preparation(
            steps=tuple(steps),
            width_px=laid.width_px,
            height_px=laid.height_px,
            average=False,
            smoothings=_smoothings(laid.width_px / laid.length_px),
            why=why,
        )
    return _sized(pictures, steps, why, shapes)


def _sized(pictures: Sequence[Picture], steps: Sequence[Step], why: dict[str, Any], shapes: str) -> Preparation:
    """Rules 3 and 4."""
    widths = np.array([picture.width_px for picture in pictures])
    heights = np.array([picture.height_px for picture in pictures])
    width_px, height_px = int(np.median(widths)), int(np.median(heights))
    ratios = widths / heights
    varied = bool(np.ptp(ratios) > ALIKE_SHAPES * np.median(ratios))
    if varied and shapes == "canvas":
        width_px, height_px = _multiple(widths.max()), _multiple(heights.max())
        steps = [*steps, Canvas(width_px=width_px, height_px=height_px)]
    scale = scale_for(width_px, height_px)
    if varied and shapes == "stretch":
        scale = min(scale, max(1.0, math.sqrt(STRETCHED_PX2 / (width_px * height_px))))
    size = _multiple(width_px * scale), _multiple(height_px * scale)
    if varied and shapes == "stretch":
        steps = [*steps, Stretch(width_px=size[0], height_px=size[1])]
    if varied:
        done = "pictures keep their scale" if shapes == "canvas" else "each is stretched to one size"
        extent = f"{widths.min()}..{widths.max()} x {heights.min()}..{heights.max()} px"
        why[shapes] = f"shapes vary ({extent}): {done}"
    why["scale"] = round(scale, 4)
    return Preparation(
        steps=tuple(steps),
        width_px=size[0],
        height_px=size[1],
        average=varied,
        smoothings=_smoothings(scale),
        why=why,
    )


def scale_for(width_px: float, height_px: float) -> float:
    """How much a picture is enlarged or shrunk for the network."""
    area = width_px * height_px
    wanted, most = math.sqrt(WANTED_PX2 / area), math.sqrt(MOST_PX2 / area)
    return min(MOST_ENLARGED, max(wanted, min(1.0, most)))


def _smoothings(scale: float) -> int:
    """Twice, and more where the picture is enlarged: its noise is enlarged with it."""
    return max(2, round(2 * scale))


def _multiple(value_px: float) -> int:
    return max(MULTIPLE_PX, math.ceil(value_px / MULTIPLE_PX - 0.25) * MULTIPLE_PX)


def _alignment(greys: Sequence[np.ndarray], fill: int) -> Align | None:
    """The alignment that fits, or None."""
    for darker in (True, False):
        found = [part for grey in greys if (part := _found(grey, darker)) is not None]
        parts = [part for part in found if _good_blob(part)]
        if len(parts) < (1 - STRAY) * len(greys) or not parts:
            continue
        length, area, width = (
            float(np.median([getattr(part, name) for part in parts]))
            for name in ("length_px", "area_px", "width_px")
        )
        alike = [
            part
            for part in parts
            if abs(part.length_px - length) <= ALIKE * length and abs(part.area_px - area) <= ALIKE * area
        ]
        if len(alike) < (1 - STRAY) * len(greys) or _one_direction(alike):
            continue
        return _align(alike, darker=darker, length=length, width=width, area=area, fill=fill)
    return None


def _found(grey: np.ndarray, darker: bool) -> FoundPart | None:
    try:
        return find_part(grey, darker=darker)
    except ValueError:
        return None


def _good_blob(part: FoundPart) -> bool:
    return (
        not part.touches_border
        and part.length_px >= LEAST_RATIO * part.width_px
        and part.ends[0] >= ENDS_APART * part.ends[1]
        and part.next_area_px < 0.2 * part.area_px
    )


def _one_direction(parts: Sequence[FoundPart]) -> bool:
    angles = np.array([math.atan2(part.axis[1], part.axis[0]) for part in parts])
    return bool(abs(np.exp(1j * angles).mean()) > math.cos(TURNED_RAD))


def _align(
    parts: Sequence[FoundPart], *, darker: bool, length: float, width: float, area: float, fill: int
) -> Align:
    longest = max(part.length_px for part in parts)
    widest = float(np.percentile([part.width_px for part in parts], 95))
    lead = MARGIN * length
    long_px, across_px = longest + 2 * lead, widest * (1 + 2 * MARGIN)
    scale = scale_for(long_px, across_px)
    width_px, height_px = _multiple(long_px * scale), _multiple(across_px * scale)
    # one scale both ways: what the rounding adds is filled with more of the picture
    return Align(
        darker=darker,
        length_px=round(width_px / scale, 2),
        across_px=round(height_px / scale, 2),
        lead_px=round(lead, 2),
        width_px=width_px,
        height_px=height_px,
        fill=fill,
        grow_px=round(GROW * width, 1),
        area_px=(int(0.4 * area), int(2.5 * area)),
    )
