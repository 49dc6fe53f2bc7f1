# SPDX-License-Identifier: AGPL-3.0-or-later
"""From camera pixels to network input and back: demosaic, letterbox, normalise, map boxes back.

Pure numpy and OpenCV, shared by training and every engine, so that a network is asked with exactly the pixels
it was taught with. Pictures are uint8 (H, W) grey or (H, W, 3) in R, G, B order.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from inspection.types import Box

PAD_GREY = 114  # what YOLO training pads with
# OpenCV names a mosaic by its second row's second and third pixel, PFNC by its first two: RG <-> BayerBG
_DEMOSAIC = {
    "BayerRG": cv2.COLOR_BayerBG2RGB,
    "BayerGR": cv2.COLOR_BayerGB2RGB,
    "BayerGB": cv2.COLOR_BayerGR2RGB,
    "BayerBG": cv2.COLOR_BayerRG2RGB,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """How a picture of one size lies in an input of another: scaled evenly, centred, padded grey."""

    source_width_px: int
    source_height_px: int
    width_px: int
    height_px: int

    @property
    def scale(self) -> float:
        """Input pixels per source pixel."""
        return min(self.width_px / self.source_width_px, self.height_px / self.source_height_px)

    @property
    def inner_px(self) -> tuple[int, int]:
        """Width and height of the scaled picture inside the input."""
        return (
            min(self.width_px, max(1, round(self.source_width_px * self.scale))),
            min(self.height_px, max(1, round(self.source_height_px * self.scale))),
        )

    @property
    def offset_px(self) -> tuple[int, int]:
        """Left and top padding."""
        inner_width, inner_height = self.inner_px
        return (self.width_px - inner_width) // 2, (self.height_px - inner_height) // 2

    @property
    def identity(self) -> bool:
        """True when nothing has to be moved: the sizes agree."""
        return (self.source_width_px, self.source_height_px) == (self.width_px, self.height_px)

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

    def to_source(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (N, 4) x0, y0, x1, y1 from input to source pixels, clipped to the source picture."""
        left, top = self.offset_px
        inner_width, inner_height = self.inner_px
        mapped = np.array(boxes, np.float64).reshape(-1, 4)
        mapped[:, 0::2] = (mapped[:, 0::2] - left) * (self.source_width_px / inner_width)
        mapped[:, 1::2] = (mapped[:, 1::2] - top) * (self.source_height_px / inner_height)
        np.clip(mapped[:, 0::2], 0, self.source_width_px, out=mapped[:, 0::2])
        np.clip(mapped[:, 1::2], 0, self.source_height_px, out=mapped[:, 1::2])
        return mapped

    def to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (N, 4) from source to input pixels; the inverse of `to_source` without its clipping."""
        left, top = self.offset_px
        inner_width, inner_height = self.inner_px
        mapped = np.array(boxes, np.float64).reshape(-1, 4)
        mapped[:, 0::2] = mapped[:, 0::2] * (inner_width / self.source_width_px) + left
        mapped[:, 1::2] = mapped[:, 1::2] * (inner_height / self.source_height_px) + top
        return mapped


def demosaic(raw: np.ndarray, pixel_format: str) -> np.ndarray:
    """Return raw camera pixels (H, W) or (H, W, 3) as uint8 grey (H, W) or RGB (H, W, 3).

    Knows the PFNC names Mono8, Mono10, Mono12, Mono16, BayerRG8 (and GR, GB, BG, 10 to 16 bit, unpacked),
    RGB8, BGR8. More than 8 bits are shifted down. Raises ValueError for any other name.
    """
    base = pixel_format.rstrip("0123456789")
    digits = pixel_format[len(base) :]
    if not digits or (base not in _DEMOSAIC and base not in ("Mono", "RGB", "BGR")):
        raise ValueError(
            f"pixel format {pixel_format} is not supported; choose Mono8, Mono16, Bayer*8, RGB8 or BGR8"
        )
    shift = int(digits) - 8
    if raw.dtype == np.uint16:
        raw = (raw >> max(shift, 0)).astype(np.uint8)
    elif shift > 0:
        raise ValueError(f"pixel format {pixel_format} needs 16 bit words, not {raw.dtype}")
    if base == "BGR":
        return np.ascontiguousarray(raw[:, :, ::-1])
    return cv2.cvtColor(raw, _DEMOSAIC[base]) if base in _DEMOSAIC else raw


def with_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """Return a uint8 picture as grey (H, W) for 1 channel, RGB (H, W, 3) for 3; else ValueError."""
    if channels == 1:
        return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if channels == 3:
        return picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    raise ValueError(f"a network takes 1 or 3 channels, not {channels}")


def normalise(picture: np.ndarray, out: np.ndarray) -> None:
    """Write a uint8 picture (H, W) or (H, W, C) into a float32 input `out` (C, H, W), scaled to 0..1."""
    if picture.ndim == 2:
        np.multiply(picture, np.float32(1 / 255), out=out[0], casting="unsafe")
    else:
        np.multiply(picture.transpose(2, 0, 1), np.float32(1 / 255), out=out, casting="unsafe")


def boxes_of(rows: np.ndarray) -> list[Box]:
    """Turn rows (N, >=4) of x0, y0, x1, y1 into boxes."""
    return [Box(x0_px=float(r[0]), y0_px=float(r[1]), x1_px=float(r[2]), y1_px=float(r[3])) for r in rows]
