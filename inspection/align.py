# SPDX-License-Identifier: AGPL-3.0-or-later
"""Find the part in a picture and lay it down the same way each time; or bring pictures of many sizes to one.

Steps of `inspection/prepare.py`. Pure numpy and OpenCV; ValueError when a step cannot do its work, so that the
part is NOT_INSPECTED.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import ConfigDict, Field

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_COARSE_PX, _CLOSE_CELLS, _SMOOTH_CELLS = 64, 21, 4.0
"""The background is what closing a 64 x 64 picture by 21 cells leaves: parts narrower than a third vanish."""
END_SHARE = 0.15
"""Share of a part's length that counts as one of its ends."""
_FEATHER_PX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPart:
    """The largest blob. axis: unit vector (x, y) from the wide end to the narrow one.

    start_px, length_px: where it begins along the axis, and how long it is; across_px: its middle across it;
    width_px: across the axis; ends: extent across the axis at its wide and its narrow end.
    """

    mask: np.ndarray  # bool, (h, w)
    area_px: int
    next_area_px: int  # of the second largest blob
    axis: tuple[float, float]
    start_px: float
    length_px: float
    across_px: float
    width_px: float
    ends: tuple[float, float]
    touches_border: bool


def find_part(picture: np.ndarray, *, darker: bool) -> FoundPart:
    """Find the one part before an even background; ValueError when nothing stands out."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    blurred = cv2.GaussianBlur(grey if darker else 255 - grey, (5, 5), 0)
    coarse = cv2.resize(blurred, (_COARSE_PX, _COARSE_PX), interpolation=cv2.INTER_AREA)
    coarse = cv2.morphologyEx(coarse, cv2.MORPH_CLOSE, np.ones((_CLOSE_CELLS, _CLOSE_CELLS), np.uint8))
    level = cv2.resize(cv2.GaussianBlur(coarse, (0, 0), _SMOOTH_CELLS), (grey.shape[1], grey.shape[0]))
    contrast = cv2.subtract(level, blurred)
    first, _ = cv2.threshold(contrast, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    above = contrast[contrast > first]
    # half of the part's own contrast: a shadow, which has less, is no part of it
    half = max(first, float(np.median(above)) / 2) if above.size else first
    _, blobs = cv2.threshold(contrast, half, 255, cv2.THRESH_BINARY)
    blobs = cv2.morphologyEx(blobs, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(blobs)
    if count < 2:
        raise ValueError("no part stands out from the background")
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    mask = labels == order[0]
    left, top, width, height, area = (int(v) for v in stats[order[0]])
    if area < 16:
        raise ValueError("no part stands out from the background")
    return _measured(
        mask,
        area=area,
        next_area=int(stats[order[1], cv2.CC_STAT_AREA]) if count > 2 else 0,
        touches=left == 0 or top == 0 or left + width == grey.shape[1] or top + height == grey.shape[0],
    )


def _measured(mask: np.ndarray, *, area: int, next_area: int, touches: bool) -> FoundPart:
    """Measure a blob along its principal axis."""
    lines, columns = np.nonzero(mask)
    points = np.stack([columns, lines], axis=1).astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov((points - points.mean(0)).T))
    axis = vectors[:, 1] if vectors[0, 1] >= 0 else -vectors[:, 1]  # a sign of its own, not LAPACK's
    along = points @ axis
    low, high = np.percentile(along, [0.2, 99.8])
    across = points @ np.array([-axis[1], axis[0]])
    reach = END_SHARE * (high - low)
    first = float(np.ptp(across[along <= low + reach]))
    last = float(np.ptp(across[along >= high - reach]))
    if last > first:  # the wide end leads
        axis, across, low, high, first, last = -axis, -across, -high, -low, last, first
    return FoundPart(
        mask=mask,
        area_px=area,
        next_area_px=next_area,
        axis=(float(axis[0]), float(axis[1])),
        start_px=float(low),
        length_px=float(high - low),
        across_px=float(np.median(across)),
        width_px=float(np.ptp(across)),
        ends=(first, last),
        touches_border=touches,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Align:
    """Lay a long part down with its wide end to the left, paint the background, cut out what is around.

    length_px, across_px: what is cut out, in pixels of the picture; the part begins `lead_px` from the left.
    width_px, height_px: of the picture that comes out. fill: grey level that the background gets; grow_px: how
    far around the part the picture stays as it is. area_px: least and most pixels that a part may cover.
    """

    __pydantic_config__ = _STRICT

    kind: Literal["align"] = "align"
    darker: bool
    length_px: Annotated[float, Field(gt=0, le=8192)]
    across_px: Annotated[float, Field(gt=0, le=8192)]
    lead_px: Annotated[float, Field(ge=0, le=8192)]
    width_px: Annotated[int, Field(ge=8, le=8192)]
    height_px: Annotated[int, Field(ge=8, le=8192)]
    fill: Annotated[int, Field(ge=0, le=255)]
    grow_px: Annotated[float, Field(ge=0, le=1024)]
    area_px: tuple[int, int]

    def apply(self, picture: np.ndarray, reference: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the part laid down; ValueError when there is none of the size that was taught."""
        del reference
        part = find_part(picture, darker=self.darker)
        if not self.area_px[0] <= part.area_px <= self.area_px[1]:
            raise ValueError(
                f"the part covers {part.area_px} px, the good parts {self.area_px[0]} to {self.area_px[1]}: "
                "it is not whole in the picture, or another part"
            )
        move = self.move(part)
        size = (self.width_px, self.height_px)
        pixels = cv2.warpAffine(picture, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        keep = cv2.warpAffine(self._kept(part.mask), move, size, flags=cv2.INTER_LINEAR)
        keep = keep if picture.ndim == 2 else keep[..., None]
        pixels = np.round(self.fill + keep * (pixels.astype(np.float32) - self.fill)).astype(np.uint8)
        return pixels, cv2.invertAffineTransform(move)

    def move(self, part: FoundPart) -> np.ndarray:
        """Affine (2, 3) from the picture to the cut-out."""
        axis = np.array(part.axis)
        turn = np.stack([axis, (-axis[1], axis[0])])
        corner = np.array([part.start_px - self.lead_px, part.across_px - self.across_px / 2])
        scale = np.array([self.width_px / self.length_px, self.height_px / self.across_px])
        return np.concatenate([scale[:, None] * turn, (-scale * corner)[:, None]], axis=1)

    def _kept(self, mask: np.ndarray) -> np.ndarray:
        """1 on the part and around it, falling to 0 beyond."""
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        whole = cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED)
        side = 2 * round(self.grow_px) + 1
        grown = cv2.dilate(whole, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
        return cv2.GaussianBlur(grown.astype(np.float32), (0, 0), _FEATHER_PX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Lay pictures of many sizes on one canvas at their own scale; their right and lower edges go on beyond.

    Findings that lie wholly there are outside the source and are dropped. A picture larger than the canvas is
    shrunk to fit. (Mirroring instead of repeating the edge cost 0.07 of AUROC on magnetic tiles: a mirrored rim
    is a shape that no part has.)
    """

    __pydantic_config__ = _STRICT

    kind: Literal["canvas"] = "canvas"
    width_px: Annotated[int, Field(ge=8, le=8192)]
    height_px: Annotated[int, Field(ge=8, le=8192)]

    def apply(self, picture: np.ndarray, reference: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture at the upper left of the canvas."""
        del reference
        height_px, width_px = picture.shape[:2]
        scale = min(1.0, self.width_px / width_px, self.height_px / height_px)
        if scale < 1.0:
            inner = (max(1, int(width_px * scale)), max(1, int(height_px * scale)))
            picture = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
        right, below = self.width_px - picture.shape[1], self.height_px - picture.shape[0]
        laid = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)
        back = np.array(
            [[width_px / (self.width_px - right), 0, 0], [0, height_px / (self.height_px - below), 0]],
            np.float64,
        )
        return laid, back


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Bring pictures of many shapes to one size, each side by its own factor: a place means the same in all."""

    __pydantic_config__ = _STRICT

    kind: Literal["stretch"] = "stretch"
    width_px: Annotated[int, Field(ge=8, le=8192)]
    height_px: Annotated[int, Field(ge=8, le=8192)]

    def apply(self, picture: np.ndarray, reference: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture at that size."""
        del reference
        height_px, width_px = picture.shape[:2]
        shrunk = width_px * height_px > self.width_px * self.height_px
        way = cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR
        back = np.array([[width_px / self.width_px, 0, 0], [0, height_px / self.height_px, 0]], np.float64)
        return cv2.resize(picture, (self.width_px, self.height_px), interpolation=way), back
