# SPDX-License-Identifier: AGPL-3.0-or-later
"""Formula-drawn textures: one function a family, each (rng, side) -> float32 (side, side) of any scale.

`draw_texture(seed, class_no)` picks the family and its parameters from the class number alone and returns
uint8.
A class is one texture with its parameters: what the pre-training tells apart.
Idea of learning from formulas: H. Kataoka et al., Pre-training without Natural Images, ACCV 2020 (fractals);
M. Baradad et al., Learning to See by Looking at Noise, NeurIPS 2021 (noise, dead leaves), and Procedural Image
Programs, NeurIPS 2022 (random programs). Code and formulas here are our own.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from training.backbone.chance import Purpose, generator, log_uniform

Draw = Callable[[np.random.Generator, int], np.ndarray]


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    return x, y


def _turned(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates turned by a random angle, px."""
    x, y = _grid(side)
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def spectral_noise(rng: np.random.Generator, side: int, slope: float, stretch: float = 1.0) -> np.ndarray:
    """Noise whose amplitude falls with frequency to the power `-slope`; unit deviation."""
    fy = np.fft.fftfreq(side)[:, None]
    fx = np.fft.rfftfreq(side)[None]
    angle = rng.uniform(0, np.pi)
    u, v = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    gain = np.maximum(np.hypot(u * stretch, v / stretch), 1.0 / side) ** -slope
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * gain, s=(side, side))
    return (field / (field.std() + 1e-9)).astype(np.float32)


def _fbm(rng: np.random.Generator, side: int) -> np.ndarray:
    field = spectral_noise(rng, side, rng.uniform(0.3, 2.0), log_uniform(rng, 1.0, 4.0))
    kind = rng.integers(4)
    if kind == 1:
        return np.abs(field)
    if kind == 2:
        return np.tanh(field * rng.uniform(1, 5))
    return field if kind else np.sin(field * rng.uniform(2, 8))


def _gabor(rng: np.random.Generator, side: int) -> np.ndarray:
    """Band-pass noise: a ring of frequencies, wide or narrow in angle."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    centre, angle = log_uniform(rng, 0.02, 0.25), rng.uniform(0, np.pi)
    radius = np.hypot(fx, fy) + 1e-9
    gain = np.exp(-((np.log(radius / centre) / rng.uniform(0.1, 0.5)) ** 2))
    around = np.abs(np.angle(np.exp(2j * (np.arctan2(fy, fx) - angle)))) / 2
    if rng.random() < 0.7:
        gain = gain * np.exp(-((around / log_uniform(rng, 0.05, 1.0)) ** 2))
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * gain, s=(side, side))
    field = (field / (field.std() + 1e-9)).astype(np.float32)
    return np.sign(field) if rng.random() < 0.25 else field


def _wave(phase: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A periodic profile of period one: sine, triangle, saw, bar or thread-like."""
    kind, part = rng.integers(5), phase - np.floor(phase)
    if kind == 0:
        return np.sin(2 * np.pi * phase)
    if kind == 1:
        return np.abs(part - 0.5)
    if kind == 2:
        return part
    if kind == 3:
        return np.clip((part - rng.uniform(0.2, 0.8)) * rng.uniform(4, 30), -1, 1)
    return np.abs(np.sin(np.pi * phase)) ** rng.uniform(0.4, 3)


def _bend(rng: np.random.Generator, side: int, u: np.ndarray) -> np.ndarray:
    """Bend coordinates a little, or not at all."""
    if rng.random() < 0.5:
        return u
    return u + log_uniform(rng, 0.5, 12.0) * spectral_noise(rng, side, rng.uniform(1.6, 2.6))


def _grating(rng: np.random.Generator, side: int) -> np.ndarray:
    u, v = _turned(rng, side)
    field = _wave(_bend(rng, side, u) / log_uniform(rng, 4, 48), rng)
    if rng.random() < 0.5:
        other = _wave(_bend(rng, side, v) / log_uniform(rng, 4, 64), rng)
        field = field * other if rng.random() < 0.5 else np.maximum(field, other)
    return field


def _rings(rng: np.random.Generator, side: int) -> np.ndarray:
    """Turned faces, wood and eccentric circles."""
    x, y = _turned(rng, side)
    cx, cy = rng.uniform(-0.5, 1.2, 2) * side
    radius = np.hypot((x - cx) * rng.uniform(0.3, 1), y - cy)
    field = _wave(_bend(rng, side, radius) / log_uniform(rng, 4, 40), rng)
    return field + rng.uniform(0, 0.6) * spectral_noise(rng, side, 0.3, 3.0)


def _brushed(rng: np.random.Generator, side: int) -> np.ndarray:
    """Grinding marks: noise stretched along one direction, two scales."""
    noise = rng.standard_normal((side * 2, side * 2), np.float32)
    fine = cv2.GaussianBlur(noise, (0, 0), sigmaX=log_uniform(rng, 4, 40), sigmaY=log_uniform(rng, 0.4, 2.0))
    noise = rng.standard_normal((side * 2, side * 2), np.float32)
    coarse = cv2.GaussianBlur(noise, (0, 0), sigmaX=40, sigmaY=log_uniform(rng, 1.5, 5.0))
    field = fine / fine.std() + rng.uniform(0, 1) * coarse / coarse.std()
    turn = cv2.getRotationMatrix2D((side, side), rng.uniform(0, 180), 1.0)
    turned = cv2.warpAffine(field, turn, (side * 2, side * 2), borderMode=cv2.BORDER_REFLECT)
    return turned[side // 2 : side // 2 + side, side // 2 : side // 2 + side]


def _cells(rng: np.random.Generator, side: int) -> np.ndarray:
    """Voronoi cells: distance to the nearest seed, to the border, or a grey level a cell."""
    count = int(log_uniform(rng, 30, 1500))
    seeds = np.ones((side, side), np.uint8)
    seeds[rng.integers(0, side, count), rng.integers(0, side, count)] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    kind = rng.integers(4)
    if kind == 0:
        return distance
    level = rng.uniform(0, 1, label.max() + 1).astype(np.float32)[label]
    if kind == 1:
        return level
    border = (cv2.morphologyEx(label.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0).astype(
        np.uint8
    )
    if kind == 2:
        return np.minimum(cv2.distanceTransform(1 - border, cv2.DIST_L2, 5), rng.uniform(2, 8))
    return level - cv2.GaussianBlur(border.astype(np.float32), (0, 0), 0.8)


def _turing(rng: np.random.Generator, side: int) -> np.ndarray:
    """Spots and stripes of reaction and diffusion: a difference of blurs, sharpened a few times."""
    small, bias = log_uniform(rng, 1.0, 4.0), rng.uniform(-0.2, 0.2)
    wide = small * rng.uniform(1.5, 2.2)
    stretch = log_uniform(rng, 0.6, 1.6)
    field = rng.standard_normal((side, side)).astype(np.float32)
    for _ in range(8):
        near = cv2.GaussianBlur(field, (0, 0), sigmaX=small * stretch, sigmaY=small)
        field = near - cv2.GaussianBlur(field, (0, 0), sigmaX=wide * stretch, sigmaY=wide)
        field = np.tanh(3 * field / (field.std() + 1e-6) + bias)
    return field


def _lattice(rng: np.random.Generator, side: int) -> np.ndarray:
    """Dots or holes on a square or hexagonal lattice, jittered or not."""
    pitch = log_uniform(rng, 7, 40)
    u, v = _turned(rng, side)
    row = np.floor(v / pitch)
    du = u / pitch + (0.5 * (row % 2) if rng.random() < 0.5 else 0.0)
    fu, fv = du - np.floor(du) - 0.5, v / pitch - row - 0.5
    if rng.random() < 0.4:
        jitter = rng.uniform(-0.25, 0.25, (2, 64, 64)).astype(np.float32)
        index = (row.astype(int) % 64, np.floor(du).astype(int) % 64)
        fu, fv = fu + jitter[0][index], fv + jitter[1][index]
    power = rng.choice([1.0, 2.0, 4.0])
    radius = (np.abs(fu) ** power + np.abs(fv) ** power) ** (1 / power)
    dot = np.clip((rng.uniform(0.15, 0.4) - radius) * pitch, 0, rng.uniform(1, 4))
    return dot + rng.uniform(0, 0.5) * spectral_noise(rng, side, rng.uniform(0, 1.5))


def _weave(rng: np.random.Generator, side: int) -> np.ndarray:
    """Cloth: threads over and under each other, plain or twill."""
    pitch, step = log_uniform(rng, 5, 24), int(rng.integers(1, 4))
    u, v = _turned(rng, side)
    u, v = _bend(rng, side, u) / pitch, v / pitch
    iu, iv = np.floor(u), np.floor(v)
    over = (iu + step * iv) % (step + 1) < 1 + (step > 2)
    across, along = np.abs(np.sin(np.pi * u)), np.abs(np.sin(np.pi * v))
    return np.where(over, across, rng.uniform(0.4, 0.9) * along) + 0.1 * rng.standard_normal((side, side))


def _ifs(rng: np.random.Generator, side: int) -> np.ndarray:
    """Fractals of iterated function systems (chaos game), several copies."""
    maps = int(rng.integers(2, 6))
    a = rng.uniform(-1, 1, (maps, 2, 2))
    for k in range(maps):
        a[k] *= rng.uniform(0.4, 0.85) / max(np.linalg.norm(a[k], 2), 1e-3)
    b = rng.uniform(-1, 1, (maps, 2))
    points = rng.uniform(-1, 1, (1500, 2))
    seen = []
    for step in range(40):
        choice = rng.integers(maps, size=len(points))
        points = np.einsum("nij,nj->ni", a[choice], points) + b[choice]
        if step > 8:
            seen.append(points)
    cloud = np.concatenate(seen)
    cloud = (cloud - cloud.mean(0)) / (3 * cloud.std(0) + 1e-6)
    field = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(4, 30))):
        turn, size = rng.uniform(0, 2 * np.pi), log_uniform(rng, 0.15, 0.6) * side
        c, s = np.cos(turn), np.sin(turn)
        at = np.round(cloud @ np.array([[c, -s], [s, c]]) * size + rng.uniform(0, side, 2)).astype(int) % side
        np.add.at(field, (at[:, 1], at[:, 0]), 1.0)
    return np.log1p(cv2.GaussianBlur(field, (0, 0), rng.uniform(0.6, 1.5)) * 4)


def _fibres(rng: np.random.Generator, side: int) -> np.ndarray:
    """Scattered strokes of a common length, width and spread of direction."""
    field = np.zeros((side, side), np.float32)
    count, length = int(log_uniform(rng, 60, 900)), log_uniform(rng, 5, 90)
    middle, spread, width = rng.uniform(0, np.pi), log_uniform(rng, 0.05, 3.0), int(rng.integers(1, 4))
    at = rng.uniform(0, side, (count, 2))
    turn = middle + spread * rng.standard_normal(count)
    end = at + length * np.stack([np.cos(turn), np.sin(turn)], 1)
    for (x0, y0), (x1, y1), level in zip(at, end, rng.uniform(-1, 1, count), strict=True):
        cv2.line(field, (int(x0), int(y0)), (int(x1), int(y1)), float(level), width, cv2.LINE_AA)
    return field


def _leaves(rng: np.random.Generator, side: int) -> np.ndarray:
    """Dead leaves: opaque shapes over each other, their sizes by a power law."""
    field = np.zeros((side, side), np.float32)
    power, corners = rng.uniform(1.5, 3.0), int(rng.integers(0, 7))
    textured = rng.random() < 0.5
    noise = spectral_noise(rng, side, rng.uniform(0.3, 1.5)) * 0.3
    for _ in range(int(log_uniform(rng, 150, 500))):
        radius = min(5.0 * (1 - rng.random()) ** (-1 / power), side / 3)
        x, y = rng.uniform(0, side, 2)
        if corners < 3:
            axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.4, 1))))
            cv2.ellipse(
                field,
                (int(x), int(y)),
                axes,
                rng.uniform(0, 180),
                0,
                360,
                float(rng.uniform(-1, 1)),
                -1,
                cv2.LINE_AA,
            )
        else:
            turn = np.sort(rng.uniform(0, 2 * np.pi, corners))
            shape = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], 1)
            cv2.fillPoly(
                field, [np.round(shape * 16).astype(np.int32)], float(rng.uniform(-1, 1)), cv2.LINE_AA, 4
            )
    return field + noise if textured else field


def _program(rng: np.random.Generator, side: int) -> np.ndarray:
    """A random little program of waves, products, bends and folds over the plane."""
    x, y = _turned(rng, side)
    scale = log_uniform(rng, 12, 90)
    stack: list[np.ndarray] = [x / scale, y / scale]
    for _ in range(int(rng.integers(4, 10))):
        a, b = stack[int(rng.integers(len(stack)))], stack[int(rng.integers(len(stack)))]
        k, kind = rng.uniform(0.5, 3), rng.integers(7)
        if kind == 0:
            c = np.sin(k * a + rng.uniform(0, 6.28))
        elif kind == 1:
            c = a + k * np.sin(b)
        elif kind == 2:
            c = np.tanh(a) * np.sin(k * b)
        elif kind == 3:
            c = np.hypot(np.sin(a), np.sin(k * b))
        elif kind == 4:
            c = np.abs(np.mod(k * a, 2) - 1) + 0.3 * b
        elif kind == 5:
            c = np.maximum(np.sin(a), np.sin(b * k))
        else:
            c = np.arctan2(np.sin(a) + 1e-3, np.cos(k * b))
        stack.append(np.clip(c, -60, 60).astype(np.float32))
    return np.sin(stack[-1] * rng.uniform(0.8, 2)) + 0.3 * np.sin(stack[-2])


FAMILIES: tuple[Draw, ...] = (
    _fbm,
    _gabor,
    _grating,
    _rings,
    _brushed,
    _cells,
    _turing,
    _lattice,
    _weave,
    _ifs,
    _fibres,
    _leaves,
    _program,
)


def draw_texture(seed: int, class_no: int, side: int) -> np.ndarray:
    """Draw the texture of one class, uint8 (side, side); its family is `class_no` modulo the families."""
    rng = generator(seed, Purpose.TEXTURE, class_no)
    field = FAMILIES[class_no % len(FAMILIES)](rng, side).astype(np.float32)
    if rng.random() < 0.3:  # grain on top
        field = field + rng.uniform(0.05, 0.4) * field.std() * spectral_noise(rng, side, rng.uniform(0, 1))
    if rng.random() < 0.3:
        field = cv2.GaussianBlur(field, (0, 0), log_uniform(rng, 0.5, 1.5))
    low, high = np.percentile(field[::4, ::4], [0.5, 99.5])
    field = (field - low) / max(float(high - low), 1e-6)
    return np.clip(field * 255 + 0.5, 0, 255).astype(np.uint8)
