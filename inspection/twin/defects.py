# SPDX-License-Identifier: AGPL-3.0-or-later
"""Shapes of the drawn defects: seven kinds, each a small signed picture of what it does to the light.

A shape is drawn at four times the resolution and averaged down, so that a 4 px pit has soft, honest edges.
Values are relative to the defect's contrast: -1 is fully dark, +1 fully bright, 0 untouched.
"""

from __future__ import annotations

from enum import Enum

import cv2
import numpy as np

SUPERSAMPLE = 4
MARGIN_PX = 5


class DefectKind(str, Enum):
    """What can be wrong with a drawn part. The order is the class order of the default bundle."""

    SCRATCH = "scratch"
    PIT = "pit"
    DENT = "dent"
    STAIN = "stain"
    BURR = "burr"
    CRACK = "crack"
    CHIP = "chip"


CONTRAST_GREY: dict[DefectKind, tuple[float, float]] = {
    DefectKind.SCRATCH: (24.0, 80.0),
    DefectKind.PIT: (20.0, 85.0),
    DefectKind.DENT: (26.0, 75.0),
    DefectKind.STAIN: (18.0, 55.0),
    DefectKind.BURR: (26.0, 95.0),
    DefectKind.CRACK: (26.0, 90.0),
    DefectKind.CHIP: (36.0, 110.0),
}
"""Range of the contrast in grey levels, log-uniform."""
EDGE_KINDS = frozenset({DefectKind.BURR, DefectKind.CHIP})


def _canvas(size_px: float) -> tuple[np.ndarray, float, float]:
    """Return an empty supersampled square, its centre, and the scale from a unit extent."""
    side = (int(np.ceil(size_px)) + 2 * MARGIN_PX) | 1
    fine = side * SUPERSAMPLE
    return np.zeros((fine, fine), np.float32), (fine - 1) / 2, size_px * SUPERSAMPLE


def _fit(points: np.ndarray, extent: float, centre: float) -> np.ndarray:
    """Scale and centre points (N, 2) so that their bounding box's largest side is `extent`."""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = extent / max(float((high - low).max()), 1e-6)
    return (points - (low + high) / 2) * scale + centre


def _turn(points: np.ndarray, angle_rad: float) -> np.ndarray:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _polyline(fine: np.ndarray, points: np.ndarray, width_px: float, value: float) -> None:
    corners = np.round(points * 16).astype(np.int32).reshape(-1, 1, 2)
    thickness = max(1, round(width_px * SUPERSAMPLE))
    cv2.polylines(fine, [corners], False, value, thickness, cv2.LINE_AA, 4)


def _blob(rng: np.random.Generator, roughness: float, aspect: float) -> np.ndarray:
    """Return the outline (N, 2) of an irregular round shape of radius about 1."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(turn)
    for wave in range(2, 7):
        radius += roughness / wave * rng.standard_normal() * np.sin(wave * turn + rng.uniform(0, 6.28))
    radius = np.maximum(radius, 0.35)
    return np.stack([radius * np.cos(turn) * aspect, radius * np.sin(turn)], axis=1)


def _fill(fine: np.ndarray, outline: np.ndarray, value: float) -> None:
    cv2.fillPoly(fine, [np.round(outline * 16).astype(np.int32).reshape(-1, 1, 2)], value, cv2.LINE_AA, 4)


def _scratch(rng: np.random.Generator, size_px: float, angle_rad: float) -> np.ndarray:
    fine, centre, extent = _canvas(size_px)
    width_px = float(rng.uniform(1.1, 2.0))
    along = np.linspace(-0.5, 0.5, 24)
    arc = np.stack([along, rng.uniform(-0.25, 0.25) * (along**2 - 0.25)], axis=1)
    points = _fit(_turn(arc, angle_rad), max(extent - width_px * SUPERSAMPLE, SUPERSAMPLE), centre)
    _polyline(fine, points, width_px, 1.0)
    if rng.random() < 0.5:  # the ploughed-up lip beside the groove
        lip = np.zeros_like(fine)
        _polyline(lip, points + width_px * SUPERSAMPLE * 0.8, width_px * 0.6, 1.0)
        fine = fine - 0.6 * lip * (fine == 0)
    return fine


def _crack(rng: np.random.Generator, size_px: float, angle_rad: float) -> np.ndarray:
    fine, centre, extent = _canvas(size_px)
    width_px = float(rng.uniform(1.0, 1.7))
    count = int(np.clip(size_px / 4, 3, 10))
    along = np.linspace(-0.5, 0.5, count)
    jag = np.stack([along, rng.uniform(-0.14, 0.14, count)], axis=1)
    points = _turn(jag, angle_rad)
    parts = [points]
    if size_px > 14 and rng.random() < 0.6:
        start = points[count // 2]
        swing = angle_rad + float(rng.choice([-1, 1])) * rng.uniform(0.5, 1.0)
        parts.append(np.stack([start, start + 0.3 * np.array([np.cos(swing), np.sin(swing)])]))
    fitted = _fit(np.concatenate(parts), max(extent - width_px * SUPERSAMPLE, SUPERSAMPLE), centre)
    _polyline(fine, fitted[:count], width_px, -1.0)
    if len(parts) > 1:
        _polyline(fine, fitted[count:], width_px * 0.8, -0.8)
    return fine


def _pit(rng: np.random.Generator, size_px: float, angle_rad: float) -> np.ndarray:
    fine, centre, extent = _canvas(size_px)
    outline = _fit(_turn(_blob(rng, 0.25, rng.uniform(0.75, 1.0)), angle_rad), extent, centre)
    _fill(fine, outline, -1.0)
    if size_px > 6:  # the far wall of the hole catches the lamp
        rim = np.zeros_like(fine)
        _fill(rim, (outline - centre) * 0.55 + centre + extent * 0.12, 1.0)
        fine += 0.5 * rim * (fine < 0)
    return fine


def _dent(rng: np.random.Generator, size_px: float, angle_rad: float) -> np.ndarray:
    fine, centre, extent = _canvas(size_px)
    grid_y, grid_x = np.mgrid[0 : fine.shape[0], 0 : fine.shape[1]].astype(np.float32) - centre
    aspect = rng.uniform(0.7, 1.0)
    reach = 0.58 * extent
    u = (grid_x * np.cos(angle_rad) + grid_y * np.sin(angle_rad)) / reach
    v = (-grid_x * np.sin(angle_rad) + grid_y * np.cos(angle_rad)) / (reach * aspect)
    bowl = np.exp(-(u * u + v * v) / 0.30)
    slope = u * bowl
    return (slope / np.abs(slope).max()).astype(np.float32)


def _stain(rng: np.random.Generator, size_px: float, angle_rad: float) -> np.ndarray:
    fine, centre, extent = _canvas(size_px)
    outline = _fit(_turn(_blob(rng, 0.45, rng.uniform(0.55, 1.0)), angle_rad), extent * 0.92, centre)
    _fill(fine, outline, -1.0)
    soft = max(0.05 * extent, 0.5 * SUPERSAMPLE)
    fine = cv2.GaussianBlur(fine, (0, 0), soft)
    cloud = cv2.GaussianBlur(rng.standard_normal(fine.shape, np.float32), (0, 0), max(extent / 8, 1.0))
    return fine * (1 + 0.18 * cloud / max(float(cloud.std()), 1e-6))


def _bite(
    rng: np.random.Generator, size_px: float, angle_rad: float, value: float, roughness: float
) -> np.ndarray:
    """An irregular lump along the edge; `angle_rad` is the direction of the edge's normal."""
    fine, centre, extent = _canvas(size_px)
    outline = _turn(_blob(rng, roughness, rng.uniform(0.5, 0.85)), angle_rad)
    _fill(fine, _fit(outline, extent, centre), value)
    return fine


def draw_shape(kind: DefectKind, size_px: float, angle_rad: float, rng: np.random.Generator) -> np.ndarray:
    """Return the signed shape (S, S), float32, S odd, of one defect whose largest extent is about `size_px`.

    Linear kinds run along `angle_rad`; edge kinds (burr, chip) take it as the outward normal of the edge.
    About half of an edge kind's height falls on the wrong side of the edge and is cut away by the caller.
    """
    if kind is DefectKind.SCRATCH:
        fine = _scratch(rng, size_px, angle_rad)
    elif kind is DefectKind.CRACK:
        fine = _crack(rng, size_px, angle_rad)
    elif kind is DefectKind.PIT:
        fine = _pit(rng, size_px, angle_rad)
    elif kind is DefectKind.DENT:
        fine = _dent(rng, size_px, angle_rad)
    elif kind is DefectKind.STAIN:
        fine = _stain(rng, size_px, angle_rad)
    elif kind is DefectKind.BURR:
        fine = _bite(rng, size_px, angle_rad, 1.0, 0.5)
    else:
        fine = _bite(rng, size_px, angle_rad, -1.0, 0.35)
    side = fine.shape[0] // SUPERSAMPLE
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
