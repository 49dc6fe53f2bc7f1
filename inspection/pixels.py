# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a picture to a network's input and back: letterbox, channels, boxes. Pixel formats: cameras/pfnc.py.

Pure numpy and OpenCV, shared by training and every engine, so that a network is asked with exactly the pixels
it was taught with. Pictures are uint8 (H, W) grey or (H, W, 3) in R, G, B order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

PAD_GREY = 114  # what YOLO training pads with
PICTURE_ERRORS = (ValueError, TypeError, IndexError, ZeroDivisionError, cv2.error)
"""What numpy, OpenCV and this file raise for an array that is no picture, by its shape, type or emptiness."""
Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """How a picture of one size lies in an input of another: scaled evenly, centred, padded grey."""

    source_width_px: int
    source_height_px: int
    width_px: int
    height_px: int

    scale: float = field(init=False)
    """Input pixels per source pixel."""
    inner_px: tuple[int, int] = field(init=False)
    """Width and height of the scaled picture inside the input."""
    offset_px: tuple[int, int] = field(init=False)
    """Left and top padding."""
    identity: bool = field(init=False)
    """True when nothing has to be moved: the sizes agree."""

    def __post_init__(self) -> None:
        # computed once: every picture and every box asks for them
        source, size = (self.source_width_px, self.source_height_px), (self.width_px, self.height_px)
        scale = min(size[0] / source[0], size[1] / source[1])
        inner = (
            min(size[0], max(1, round(source[0] * scale))),
            min(size[1], max(1, round(source[1] * scale))),
        )
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "inner_px", inner)
        object.__setattr__(self, "offset_px", ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
        object.__setattr__(self, "identity", source == size)

    def apply(self, picture: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return `picture` uint8 (h, w[, c]) as (height_px, width_px[, c]); writes into `out` when given.

        Shrinking by 2 or more averages areas first (linear sampling alone would skip pixels, and with them thin
        defects); everything else is linear. Raises ValueError when the picture is not of the stated source
        size.
        """
        if picture.shape[:2] != (self.source_height_px, self.source_width_px):
            raise ValueError(
                f"letterbox made for {self.source_width_px}x{self.source_height_px} px was given a picture of "
                f"{picture.shape[1]}x{picture.shape[0]} px"
            )
        shape = (self.height_px, self.width_px, *picture.shape[2:])
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8:
            raise ValueError(f"letterbox output must be uint8 {shape}, not {out.dtype} {out.shape}")
        if self.identity:
            np.copyto(out, picture)
            return out
        inner_width, inner_height = self.inner_px
        left, top = self.offset_px
        out[:top] = out[top + inner_height :] = PAD_GREY
        out[:, :left] = out[:, left + inner_width :] = PAD_GREY
        how = cv2.INTER_AREA if self.scale <= 0.8 else cv2.INTER_LINEAR
        resized = cv2.resize(picture, (inner_width, inner_height), interpolation=how)
        out[top : top + inner_height, left : left + inner_width] = resized.reshape(
            inner_height, inner_width, *shape[2:]
        )
        return out

    def to_source(self, corners: Corners) -> Corners:
        """Map a box x0, y0, x1, y1 from input to source pixels, clipped to the source picture."""
        left, top = self.offset_px
        inner_width, inner_height = self.inner_px
        width_px, height_px = self.source_width_px, self.source_height_px
        per_x, per_y = width_px / inner_width, height_px / inner_height
        x0, y0, x1, y1 = corners
        return (
            min(max((x0 - left) * per_x, 0.0), width_px),
            min(max((y0 - top) * per_y, 0.0), height_px),
            min(max((x1 - left) * per_x, 0.0), width_px),
            min(max((y1 - top) * per_y, 0.0), height_px),
        )

    def to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (N, 4) from source to input pixels; the inverse of `to_source` without its clipping."""
        left, top = self.offset_px
        inner_width, inner_height = self.inner_px
        mapped = np.array(boxes, np.float64).reshape(-1, 4)
        mapped[:, 0::2] = mapped[:, 0::2] * (inner_width / self.source_width_px) + left
        mapped[:, 1::2] = mapped[:, 1::2] * (inner_height / self.source_height_px) + top
        return mapped


def with_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """Return a uint8 picture as grey (H, W) for 1 channel, RGB (H, W, 3) for 3; else ValueError."""
    if channels == 1:
        return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if channels == 3:
        return picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    raise ValueError(f"a network takes 1 or 3 channels, not {channels}")
