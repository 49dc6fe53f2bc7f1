# SPDX-License-Identifier: AGPL-3.0-or-later
"""What happens to a picture before the letterbox, and how boxes find their way back. Pure numpy and OpenCV.

A bundle's card lists its steps in order, with every parameter, so that the station does exactly what training
did. Each step takes a picture and returns another, with the affine map from its pixels back to those it was
given. A step that cannot do its work raises ValueError: the part is then NOT_INSPECTED, never guessed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import ConfigDict, Field

from inspection.align import Align, Canvas, Stretch
from inspection.pixels import Corners, Letterbox, with_channels

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
SAME = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""The affine map that changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Bring the picture's level to `target` by one factor. `at`: where the level is read, as a quantile.

    0.5 is the median, which is the background where parts are small.
    """

    __pydantic_config__ = _STRICT

    kind: Literal["gain"] = "gain"
    target: Annotated[float, Field(gt=0, le=255)]
    at: Annotated[float, Field(ge=0, le=1)] = 0.5

    def apply(self, picture: np.ndarray, reference: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Scale the whole picture, saturating; ValueError for a black one."""
        del reference
        level = float(np.quantile(picture, self.at))
        if level <= 0:
            raise ValueError("the picture is black: its gain cannot be normalised")
        return cv2.convertScaleAbs(picture, alpha=self.target / level), SAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Put a defect-free picture of the same place beside the picture: planes picture, reference, difference.

    search_px: how far the reference may be shifted to fit (phase correlation, whole pixels); 0 for pictures
    that are registered already.
    """

    __pydantic_config__ = _STRICT

    kind: Literal["reference"] = "reference"
    search_px: Annotated[int, Field(ge=0, le=256)] = 0

    def apply(self, picture: np.ndarray, reference: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 (h, w, 3); ValueError where there is no reference, or none of this size."""
        if reference is None:
            raise ValueError("the model compares with a reference picture, and none was given")
        grey, other = with_channels(picture, 1), with_channels(reference, 1)
        if grey.shape != other.shape:
            raise ValueError(f"the reference is {other.shape[::-1]} px, the picture {grey.shape[::-1]} px")
        if self.search_px:
            other = self._fitted(grey, other)
        return np.dstack((grey, other, cv2.absdiff(grey, other))), SAME

    def _fitted(self, grey: np.ndarray, other: np.ndarray) -> np.ndarray:
        window = cv2.createHanningWindow(grey.shape[::-1], cv2.CV_32F)
        (right, down), _ = cv2.phaseCorrelate(other.astype(np.float32), grey.astype(np.float32), window)
        shift = round(right), round(down)
        if max(map(abs, shift)) > self.search_px:
            raise ValueError(
                f"the picture lies {shift} px off its reference, further than the {self.search_px} px searched"
            )
        move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
        return cv2.warpAffine(other, move, grey.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


Step = Annotated[Gain | Reference | Align | Canvas | Stretch, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A picture after its steps. back: affine (2, 3) from its pixels to those of the picture that came in."""

    pixels: np.ndarray
    back: np.ndarray


def prepare(picture: np.ndarray, steps: Sequence[Step], reference: np.ndarray | None = None) -> Prepared:
    """Apply the steps in order. Raises ValueError (or cv2.error) when a step cannot do its work."""
    back = SAME
    for step in steps:
        picture, one_back = step.apply(picture, reference)
        back = back @ np.vstack((one_back, (0.0, 0.0, 1.0)))
    return Prepared(pixels=picture, back=back)


def takes_reference(steps: Sequence[Step]) -> bool:
    """Whether pictures are compared with a reference: then they are read in grey, and make three planes."""
    return any(isinstance(step, Reference) for step in steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How a prepared picture lies in a network's input, and the way back to the pixels that came in.

    Has what decoders ask of a `Letterbox`; source_px: width and height of the picture that came in.
    """

    box: Letterbox
    back: np.ndarray
    source_px: tuple[int, int]

    @property
    def width_px(self) -> int:
        """Of the network's input."""
        return self.box.width_px

    @property
    def height_px(self) -> int:
        """Of the network's input."""
        return self.box.height_px

    @property
    def inner_px(self) -> tuple[int, int]:
        """Width and height of the picture inside the input; on a canvas, of the part that came in."""
        inner, box = self.box.inner_px, self.box
        (per_x, skew_x, left), (skew_y, per_y, top) = self.back
        if skew_x or skew_y or left or top:  # turned or cut out: all of it is picture
            return inner
        wide = min(1.0, self.source_px[0] / per_x / box.source_width_px)
        high = min(1.0, self.source_px[1] / per_y / box.source_height_px)
        return max(1, round(inner[0] * wide)), max(1, round(inner[1] * high))

    @property
    def offset_px(self) -> tuple[int, int]:
        """Left and top padding of the input."""
        return self.box.offset_px

    @property
    def identity(self) -> bool:
        """Whether input and source pixels are the same."""
        return self.box.identity and self.back is SAME

    def to_source(self, corners: Corners) -> Corners:
        """The upright box around the box as it lies in the source, clipped to the source."""
        x0, y0, x1, y1 = self.box.to_source(corners)
        points = np.array([[x0, y0, 1], [x1, y0, 1], [x1, y1, 1], [x0, y1, 1]]) @ self.back.T
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        width_px, height_px = self.source_px
        return (
            min(max(float(left), 0.0), width_px),
            min(max(float(top), 0.0), height_px),
            min(max(float(right), 0.0), width_px),
            min(max(float(bottom), 0.0), height_px),
        )
