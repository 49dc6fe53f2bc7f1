# SPDX-License-Identifier: AGPL-3.0-or-later
"""Is this picture fit to be judged? Mean, saturation, dark share, focus and frozen picture of each frame.

Statistics come from a grid of samples, so that they cost far less than a copy of the frame; grey values are
scaled to 0..255 whatever the depth. A frozen picture is one whose samples equal the previous frame's exactly:
real sensors have noise, so no two exposures are alike to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cameras.pfnc import PixelFormat, format_of, samples

_ROWS = 64  # rows looked at, at most
_COLUMNS = 160  # samples taken from each of them for the shares and the mean
_FOCUS_ROWS = 16
_SATURATED = 250  # of 255
_DARK = 5


class Limits(Protocol):
    """The recipe's health limits (inspection.recipe.HealthLimits)."""

    @property
    def min_mean(self) -> float: ...  # noqa: D102
    @property
    def max_mean(self) -> float: ...  # noqa: D102
    @property
    def max_saturated_share(self) -> float: ...  # noqa: D102
    @property
    def max_dark_share(self) -> float: ...  # noqa: D102
    @property
    def min_focus(self) -> float: ...  # noqa: D102
    @property
    def frozen(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was measured on one frame, grey values 0..255."""

    mean: float
    saturated_share: float
    dark_share: float
    focus: float  # variance of the second difference along x, grey^2: falls when edges blur
    frozen: bool  # equal to the previous frame


class HealthMeter:
    """Measures the frames of one camera, in order; remembers the previous one's samples."""

    def __init__(self, code: int, width_px: int, height_px: int, view_px: tuple[int, int, int, int]) -> None:
        self._format: PixelFormat = format_of(code)
        self._code = code
        self._size = (width_px, height_px)
        self._view = view_px
        self._previous: tuple[bytes, bytes] | None = None

    def measure(self, pixels: np.ndarray) -> Health:
        """Of a whole frame, uint8 (n,).

        Statistics are of the detector's view; frozen looks at all of the frame, because two equal photographs
        with different stamps beside the view are two exposures.
        """
        frame = samples(pixels, self._code, *self._size)
        if frame.ndim == 3:
            frame = frame[:, :, 1]  # green stands for the light
        x, y, width, height = self._view
        view = frame[y : y + height, x : x + width]
        rows = view[:: max(1, height // _ROWS)]
        grid = np.ascontiguousarray(rows[:, :: max(1, width // _COLUMNS)])
        shift = self._format.depth_bits - 8
        focus = _focus(view[:: max(1, height // _FOCUS_ROWS)], 2 if self._format.mosaic else 1) / 4.0**shift
        count = grid.size
        fingerprint = (grid.tobytes(), self._outside(frame))
        frozen = fingerprint == self._previous
        self._previous = fingerprint
        return Health(
            mean=float(grid.sum(dtype=np.int64)) / count / (1 << shift),
            saturated_share=int(np.count_nonzero(grid >= _SATURATED << shift)) / count,
            dark_share=int(np.count_nonzero(grid <= _DARK << shift)) / count,
            focus=focus,
            frozen=frozen,
        )

    def _outside(self, frame: np.ndarray) -> bytes:
        """Every sample above and below the view (a stamp may be small), and a grid of the columns beside it."""
        x, y, width, height = self._view
        step = max(1, height // _ROWS)
        parts = (frame[:y], frame[y + height :], frame[y : y + height : step, :x], frame[::step, x + width :])
        return b"".join(part[:: max(1, part.size // 65536)].tobytes() for part in parts if part.size)


def _focus(rows: np.ndarray, step: int) -> float:
    """Variance of the second difference over `step` samples (2 keeps to one colour of a mosaic)."""
    wide = rows.astype(np.float32)  # exact for 16 bits, and no overflow in the squares
    second = wide[:, 2 * step :] - 2 * wide[:, step:-step] + wide[:, : -2 * step]
    if not second.size:
        return 0.0
    flat = second.ravel()
    mean = float(flat.mean())
    return float(np.dot(flat, flat)) / flat.size - mean * mean


def breaches(health: Health, limits: Limits) -> tuple[str, ...]:
    """Names of the limits that a frame breaks; empty when it is fit to be judged."""
    checks = (
        ("dark", health.mean < limits.min_mean or health.dark_share > limits.max_dark_share),
        ("bright", health.mean > limits.max_mean),
        ("saturated", health.saturated_share > limits.max_saturated_share),
        ("blurred", health.focus < limits.min_focus),
        ("frozen", limits.frozen and health.frozen),
    )
    return tuple(name for name, broken in checks if broken)
