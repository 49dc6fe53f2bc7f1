# SPDX-License-Identifier: AGPL-3.0-or-later
"""What happens to a scene before the camera has seen it: drawn defects, and the harmless changes of a line.

Defects are of ten kinds: the twin's drawn ones (scratch, crack, pit, dent, stain, burr, chip) and pieces put in
the wrong place, bent, blurred, or made of another texture. Their mask is where the picture really changed, so
that
an invisible defect is never taught.
"""

from __future__ import annotations

import cv2
import numpy as np

from inspection.twin.defects import DefectKind, draw_shape
from training.backbone.chance import log_uniform
from training.backbone.scenes import Bank

KINDS = 5
"""Groups of defects that the network tells apart: dark or bright mark, foreign piece, displaced piece, bent,
blurred."""
_VISIBLE_GREY = 5.0


def add_defects(
    rng: np.random.Generator, picture: np.ndarray, bank: Bank, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture with up to `count` defects, and uint8 masks: 0 good, 1 + kind at a visible defect."""
    side = picture.shape[0]
    out, kinds = picture, np.zeros((side, side), np.uint8)
    for _ in range(count):
        before = out
        kind = int(rng.choice(KINDS, p=[0.45, 0.15, 0.15, 0.15, 0.1]))
        out = _mark(rng, before) if kind == 0 else _piece(rng, before, bank, kind)
        change = cv2.GaussianBlur(np.abs(out - before), (0, 0), 1.0)
        kinds[change > _VISIBLE_GREY] = 1 + kind
    return out, kinds


def _mark(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Add one of the twin's drawn defects, at a contrast of its own."""
    side = picture.shape[0]
    kind = list(DefectKind)[int(rng.integers(len(DefectKind)))]
    shape = draw_shape(kind, log_uniform(rng, 4, 36), rng.uniform(0, 2 * np.pi), rng)
    stamp = np.zeros_like(picture)
    x, y = rng.integers(0, side, 2) - shape.shape[0] // 2
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + shape.shape[1], side), min(y + shape.shape[0], side)
    if x1 <= x0 or y1 <= y0:
        return picture
    stamp[y0:y1, x0:x1] = shape[y0 - y : y1 - y, x0 - x : x1 - x]
    contrast = log_uniform(rng, 12, 100) * rng.choice([-1.0, 1.0])
    return np.clip(picture + contrast * stamp, 0, 255)


def _piece(rng: np.random.Generator, picture: np.ndarray, bank: Bank, kind: int) -> np.ndarray:
    """Change a small region: another texture, a piece from elsewhere, a bend, or a blur."""
    side = picture.shape[0]
    x, y = (int(v) for v in rng.integers(4, side - 4, 2))
    extent, ratio = log_uniform(rng, 3, 18), rng.uniform(0.4, 1.0)
    region = np.zeros_like(picture)
    turn, axes = rng.uniform(0, 180), (max(1, int(extent)), max(1, int(extent * ratio)))
    if rng.random() < 0.5:
        cv2.ellipse(region, (x, y), axes, turn, 0, 360, 1.0, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints(((float(x), float(y)), (2.0 * axes[0], 2.0 * axes[1]), turn))
        cv2.fillPoly(region, [np.round(corners * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(region, (0, 0), rng.uniform(0.5, 2.0))
    if kind == 1:
        source = bank.textures[int(rng.integers(len(bank.textures)))]
        at = rng.integers(0, source.shape[0] - side, 2)
        cut = source[at[0] : at[0] + side, at[1] : at[1] + side].astype(np.float32)
        other = picture[y, x] + rng.uniform(0.2, 1) * (cut - cut.mean()) + rng.normal(0, 25)
    elif kind == 2:
        away = rng.integers(6, 40, 2) * rng.choice([-1, 1], 2)
        other = np.roll(picture, tuple(int(v) for v in away), (0, 1))
    elif kind == 3:
        return _bent(rng, picture, x, y, 1.5 * extent + 4)
    else:
        other = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.5, 5))
    return np.clip(picture + soft * (other - picture), 0, 255)


def _bent(rng: np.random.Generator, picture: np.ndarray, x: int, y: int, reach: float) -> np.ndarray:
    """Push a spot of the surface aside by a few pixels."""
    side = picture.shape[0]
    v, u = np.mgrid[0:side, 0:side].astype(np.float32)
    bell = np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * (0.5 * reach) ** 2)).astype(np.float32)
    push = log_uniform(rng, 2, 8)
    turn = rng.uniform(0, 2 * np.pi)
    map_x, map_y = u + np.float32(push * np.cos(turn)) * bell, v + np.float32(push * np.sin(turn)) * bell
    return cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def see(rng: np.random.Generator, picture: np.ndarray, shift_px: float) -> np.ndarray:
    """One exposure: pose, light, focus, gain and noise of the moment; uint8."""
    side = picture.shape[0]
    angle, scale = rng.uniform(-0.02, 0.02), 1 + rng.uniform(-0.02, 0.02)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    move, half = rng.uniform(-shift_px, shift_px, 2), side / 2
    there = np.array([[c, -s, half - (c - s) * half + move[0]], [s, c, half - (s + c) * half + move[1]]])
    seen = cv2.warpAffine(picture, there, (side, side), borderMode=cv2.BORDER_REFLECT)
    if rng.random() < 0.4:
        seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.3, 0.9))
    along = np.linspace(-1, 1, side, dtype=np.float32)
    slope = rng.normal(0, 0.05, 2)
    seen = seen * (1 + slope[0] * along[None] + slope[1] * along[:, None]) * rng.uniform(0.88, 1.12)
    seen = seen + rng.uniform(-10, 10)
    seen += log_uniform(rng, 0.5, 7.0) * rng.standard_normal(seen.shape, np.float32)
    return np.clip(seen + 0.5, 0, 255).astype(np.uint8)
