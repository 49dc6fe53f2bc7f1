# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scenes: textures laid over each other in shapes of parts, with the class of the texture at every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from inspection.twin.renderer import PartRenderer
from training.backbone.chance import log_uniform
from training.backbone.textures import draw_texture

NO_CLASS = -1
"""Pixels whose texture belongs to no class: drawn parts and flat grounds."""
BANK_SIDE_PX = 320


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What scenes are made of: `textures` uint8 (classes, side, side), `parts` uint8 (parts, side, side)."""

    textures: np.ndarray
    parts: np.ndarray


def draw_bank(seed: int, classes: int, parts: int) -> Bank:
    """Draw every texture class and a few drawn parts of the twin (good ones, four faces)."""
    textures = np.stack([draw_texture(seed, number, BANK_SIDE_PX) for number in range(classes)])
    faces = [PartRenderer(seed=seed * 1000 + k, views=4, defective_share=0.0) for k in range(-(-parts // 8))]
    drawn = [faces[k // 8].render(7 * k, k % 4)[:BANK_SIDE_PX] for k in range(parts)]
    return Bank(textures=textures, parts=np.stack(drawn))


def draw_scene(rng: np.random.Generator, bank: Bank, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene without noise: float32 grey levels (side, side), and int16 classes of the same shape."""
    if rng.random() < 0.12:
        return _part_crop(rng, bank, side)
    picture, label = _filled(rng, bank, side)
    for _ in range(int(rng.choice([0, 1, 2, 3, 4], p=[0.25, 0.3, 0.25, 0.12, 0.08]))):
        mask = _shape(rng, side)
        over, over_label = _filled(rng, bank, side)
        if rng.random() < 0.4:
            over = over + _rim(rng, mask)
        soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.2))
        picture = picture + soft * (over - picture)
        label = np.where(mask > 0.5, over_label, label)
    return _lit(rng, picture), label


def _filled(rng: np.random.Generator, bank: Bank, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A whole picture of one texture at some contrast, or of an almost flat grey."""
    level = rng.uniform(25, 225)
    if rng.random() < 0.15:
        flat = np.full((side, side), level, np.float32)
        return flat, np.full((side, side), NO_CLASS, np.int16)
    number = int(rng.integers(len(bank.textures)))
    texture = _crop(rng, bank.textures[number], side, log_uniform(rng, 0.8, 1.25), np.deg2rad(12))
    contrast = log_uniform(rng, 20, 190) / 255.0
    picture = level + contrast * (texture - 127.0)
    return picture, np.full((side, side), number, np.int16)


def _crop(rng: np.random.Generator, source: np.ndarray, side: int, scale: float, turn_rad: float) -> np.ndarray:
    """Cut a turned and scaled square out of a larger picture, float32."""
    room = source.shape[0] - side
    angle = rng.uniform(-turn_rad, turn_rad)
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    middle = side / 2 + rng.uniform(0.1, 0.9, 2) * room
    there = np.array([[c, -s, middle[0] - (c - s) * side / 2], [s, c, middle[1] - (s + c) * side / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(source, there, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return cut.astype(np.float32)


def _part_crop(rng: np.random.Generator, bank: Bank, side: int) -> tuple[np.ndarray, np.ndarray]:
    part = bank.parts[int(rng.integers(len(bank.parts)))]
    picture = _crop(rng, part, side, log_uniform(rng, 0.45, 1.6), np.pi)
    return _lit(rng, picture), np.full((side, side), NO_CLASS, np.int16)


def _lit(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Uneven light and a lens: a slope of light over the scene, and a slight blur."""
    side = picture.shape[0]
    along = np.linspace(-1, 1, side, dtype=np.float32)
    slope = rng.normal(0, 0.1, 2)
    picture = picture * (1 + slope[0] * along[None] + slope[1] * along[:, None])
    if rng.random() < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.2))
    return np.clip(picture, 0, 255).astype(np.float32)


def _rim(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Light and shade along the border of a shape, as on a chamfer."""
    blurred = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1.0, 4.0))
    if rng.random() < 0.5:
        return rng.uniform(-90, 90) * blurred * (1 - blurred) * 4
    lamp = rng.uniform(0, 2 * np.pi)
    gx, gy = cv2.Sobel(blurred, cv2.CV_32F, 1, 0), cv2.Sobel(blurred, cv2.CV_32F, 0, 1)
    return rng.uniform(20, 90) * (gx * np.cos(lamp) + gy * np.sin(lamp))


def _shape(rng: np.random.Generator, side: int) -> np.ndarray:
    """The mask of one part-like shape, float32 0..1: round, ring, polygon, band, blob, rod with thread,
    gear.
    """
    kind = int(rng.integers(7))
    mask = np.zeros((side, side), np.float32)
    x, y = (int(v) for v in rng.uniform(0.1, 0.9, 2) * side)
    radius = log_uniform(rng, 0.1, 0.5) * side
    if kind <= 1:
        axes = (int(radius), max(2, int(radius * rng.uniform(0.4, 1))))
        thick = -1 if kind == 0 else int(rng.uniform(3, 0.5 * radius + 4))
        cv2.ellipse(mask, (x, y), axes, rng.uniform(0, 180), 0, 360, 1.0, thick, cv2.LINE_AA)
    elif kind == 2:
        turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        corners = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], 1)
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    elif kind == 3:
        half = np.array([np.cos(t := rng.uniform(0, np.pi)), np.sin(t)]) * side
        a, b = (int(x - half[0]), int(y - half[1])), (int(x + half[0]), int(y + half[1]))
        cv2.line(mask, a, b, 1.0, int(log_uniform(rng, 2, 50)), cv2.LINE_AA)
    elif kind == 4:
        small = rng.standard_normal((9, 9)).astype(np.float32)
        field = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        mask = np.clip((field - rng.uniform(-0.3, 0.8)) * 8, 0, 1)
    else:
        cv2.fillPoly(mask, [_toothed(rng, x, y, radius, side, rod=kind == 5)], 1.0, cv2.LINE_AA, 4)
    return mask


def _toothed(rng: np.random.Generator, x: int, y: int, radius: float, side: int, *, rod: bool) -> np.ndarray:
    """Outline of a threaded rod or a gear, fixed-point for cv2 (4 fractional bits)."""
    depth, along = rng.uniform(1, 6), np.linspace(0, 1, 400)
    teeth = np.abs(2 * np.mod(along * int(rng.integers(6, 40)), 1) - 1) ** rng.uniform(0.4, 2) * depth
    if rod:
        half, turn = log_uniform(rng, 4, 30), rng.uniform(0, np.pi)
        t = (along - 0.5) * side * rng.uniform(0.6, 1.6)
        shift = int(rng.integers(0, 20))
        u = np.concatenate([t, t[::-1]])
        v = np.concatenate([half + teeth, -(half + np.roll(teeth, shift))[::-1]])
        points = np.stack([x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)], 1)
    else:
        angle = 2 * np.pi * along
        points = np.stack([x + (radius + teeth) * np.cos(angle), y + (radius + teeth) * np.sin(angle)], 1)
    return np.round(points * 16).astype(np.int32)
