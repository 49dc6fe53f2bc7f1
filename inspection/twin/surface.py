# SPDX-License-Identifier: AGPL-3.0-or-later
"""Defect-free surfaces of the drawn part: a turned flange face, its ground back, the belt and the light.

Everything costly (grooves, grain, edges) is drawn once per renderer in *part space* (a square picture with
the part
centred, unrotated) and only warped into each frame. Grey levels are those of an 8 bit camera at nominal light.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

OUTER_RADIUS_PX = 139.0
BORE_RADIUS_PX = 37.0
HOLE_CIRCLE_PX = 91.0
CHAMFER_PX = 7.0
METAL_GREY = 132.0
BELT_GREY = 36.0
HOLES_BY_FACE = ((6, 10.5), (6, 7.5), (3, 9.0), (4, 12.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One face in part space; all arrays float32 of shape (side, side), read-only by convention."""

    albedo: np.ndarray  # grey levels, texture included
    metal: np.ndarray  # coverage 0..1 of the part
    texture_rms: np.ndarray  # local standard deviation of the texture, grey levels
    grain_angle_rad: float | None  # direction of the grinding marks, None on a turned face
    holes: tuple[tuple[float, float, float], ...]  # x, y from the centre, and radius, px


def _grain(rng: np.random.Generator, side: int, sigma_px: float) -> np.ndarray:
    """White noise smoothed to a correlation length, unit standard deviation, (side, side)."""
    field = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), sigma_px)
    return field / field.std()


def _turned_texture(rng: np.random.Generator, radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Concentric feed marks: a radial profile with a pitch, its jitter, and slow changes around the part."""
    steps = np.arange(0.0, 260.0, 0.125)
    noise = rng.standard_normal(steps.size)
    fine = np.convolve(noise, np.hanning(13), "same")
    coarse = np.convolve(noise, np.hanning(61), "same")
    pitch_px = rng.uniform(3.2, 4.6)
    wobble = np.cumsum(rng.standard_normal(steps.size)) * 0.03
    profile = (
        fine / fine.std() + 0.8 * coarse / coarse.std() + 0.9 * np.sin(2 * np.pi * steps / pitch_px + wobble)
    )
    marks = np.interp(radius.ravel(), steps, profile).reshape(radius.shape)
    around = 1 + 0.35 * np.sin(angle * rng.integers(2, 5) + rng.uniform(0, 6.28))
    return (marks * around).astype(np.float32)


def _ground_texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Linear grinding marks along x: noise stretched 60:1, two scales."""
    fine = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), sigmaX=18, sigmaY=0.5)
    coarse = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), sigmaX=40, sigmaY=2.0)
    return fine / fine.std() + 0.8 * coarse / coarse.std()


def _edge(distance_px: np.ndarray) -> np.ndarray:
    """Anti-aliased coverage of the inside of an edge; distance is positive inside."""
    return np.clip(distance_px + 0.5, 0.0, 1.0)


def draw_surface(rng: np.random.Generator, face: int, side: int) -> Surface:
    """Draw one face (0 turned, 1 ground, then alternating) on a square of `side` px."""
    centre = (side - 1) / 2
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) - centre
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    turned = face % 2 == 0
    hole_count, hole_radius = HOLES_BY_FACE[face % len(HOLES_BY_FACE)]
    turns = np.arange(hole_count) * 2 * np.pi / hole_count + 0.3 * face
    holes = tuple(
        (float(HOLE_CIRCLE_PX * np.cos(t)), float(HOLE_CIRCLE_PX * np.sin(t)), float(hole_radius))
        for t in turns
    )
    inside = np.minimum(OUTER_RADIUS_PX - radius, radius - BORE_RADIUS_PX)
    texture = _turned_texture(rng, radius, angle) if turned else _ground_texture(rng, side)
    texture = 2.1 * texture + 1.2 * _grain(rng, side, 0.7)
    mottle = 2.2 * _grain(rng, side, 22.0)
    albedo = np.full((side, side), METAL_GREY, np.float32) + mottle
    if turned:  # a step between hub and flange catches the light on one side and shades on the other
        step = radius - 61.0
        albedo += (
            7.0 * (step < 0) - 26.0 * np.exp(-((step / 1.3) ** 2)) + 18.0 * np.exp(-(((step + 3.0) / 1.2) ** 2))
        )
    else:  # a stamped ring groove on the back
        step = radius - 118.0
        albedo += -20.0 * np.exp(-((step / 1.5) ** 2)) + 10.0 * np.exp(-(((step - 2.6) / 1.1) ** 2))
    for hole_x, hole_y, size in holes:
        edge = np.hypot(x - hole_x, y - hole_y) - size
        albedo += 20.0 * np.exp(-(((edge - 1.8) / 1.5) ** 2))  # countersink
        inside = np.minimum(inside, edge)
    outer = OUTER_RADIUS_PX - radius
    albedo += np.where(outer < CHAMFER_PX, 20.0 - 34.0 * (CHAMFER_PX - outer) / CHAMFER_PX, 0.0).astype(
        np.float32
    )
    albedo += 22.0 * np.exp(-(((radius - BORE_RADIUS_PX - 2.0) / 1.6) ** 2))
    albedo += texture
    mean = cv2.blur(texture, (15, 15))
    rms = np.sqrt(np.maximum(cv2.blur(texture * texture, (15, 15)) - mean * mean, 0.01))
    return Surface(
        albedo=albedo.astype(np.float32),
        metal=_edge(inside).astype(np.float32),
        texture_rms=rms.astype(np.float32),
        grain_angle_rad=None if turned else 0.0,
        holes=holes,
    )


def draw_belt(rng: np.random.Generator, side: int) -> tuple[np.ndarray, float]:
    """Draw a woven conveyor belt of `side` px, float32 grey levels; return it with its texture RMS."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    weave = np.sin(2 * np.pi * (x + y) / 5.3) * np.sin(2 * np.pi * (x - y) / 5.3)
    texture = 1.6 * weave + 1.5 * _grain(rng, side, 0.8) + 1.6 * _grain(rng, side, 9.0)
    return (BELT_GREY + texture).astype(np.float32), 2.3


def draw_light(rng: np.random.Generator, width_px: int, height_px: int, *, turned: bool) -> np.ndarray:
    """Draw the uneven light of one view in camera space, float32 (H, W), mean about 1.

    A lamp off to one side, lens vignetting, and on a turned face the bow-tie highlight that concentric grooves
    make: bright where the groove's normal points to the lamp.
    """
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    x, y = (x - width_px / 2) / (width_px / 2), (y - height_px / 2) / (height_px / 2)
    lamp = rng.uniform(0, 2 * np.pi)
    slope = 1 + 0.10 * (x * np.cos(lamp) + y * np.sin(lamp))
    vignette = 1 - 0.13 * (x * x + y * y)
    light = slope * vignette
    if turned:
        highlight = np.cos(np.arctan2(y, x) - lamp) ** 2
        light = light * (0.90 + 0.26 * highlight**3 * np.clip(np.hypot(x, y) / 0.25, 0, 1))
    else:
        spot = np.exp(-((x - 0.4 * np.cos(lamp)) ** 2 + (y - 0.4 * np.sin(lamp)) ** 2) / 0.5)
        light = light * (0.94 + 0.14 * spot)
    return light.astype(np.float32)
