# SPDX-License-Identifier: AGPL-3.0-or-later
"""Do two small pictures show the same thing? They are laid on each other, then their details are compared.

Hashes and features say which pictures may be twins; this says whether they are. What is compared is detail with
its local contrast divided out: two frames of one set-up agree in layout and light, only twins agree in texture.
Alignment: phase correlation, then ECC (Evangelidis and Psarakis, PAMI 30 (2008) 1858) for an affine change.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SIDE_PX = 128
_FINE_PX, _COARSE_PX = 1.8, 4.0  # Gaussian sigma below which detail counts
_EDGE_PX = 5  # filters and borders disturb so much of a thumbnail's edge
_LARGEST_CHANGE = 0.35  # of area: more is not the same picture
_SMALLEST_OVERLAP = 0.4
_SURE = 0.97  # of fine details: no alignment makes it more certain
_STEPS = (3, 15, 1e-3)  # ECC: by count and by change, iterations, change
_NO_MOVE = np.eye(2, 3, dtype=np.float32)
_WINDOW = cv2.createHanningWindow((SIDE_PX, SIDE_PX), cv2.CV_32F)
_EVERYWHERE = np.ones((SIDE_PX, SIDE_PX), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Correlation of details after alignment, -1..1: fine ones, and coarse ones that survive noise and JPEG."""

    fine: float
    coarse: float

    def better(self, other: Agreement) -> Agreement:
        """The larger of each."""
        return Agreement(fine=max(self.fine, other.fine), coarse=max(self.coarse, other.coarse))


NONE = Agreement(fine=0.0, coarse=0.0)


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """Shrink a grey picture to uint8 (128, 128), its aspect ratio given up."""
    shrinks = max(grey.shape) > SIDE_PX
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=how)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A thumbnail made ready to be compared: float32 (128, 128) each."""

    light: np.ndarray
    fine: np.ndarray
    coarse: np.ndarray


def sight(thumb: np.ndarray) -> Sight:
    """Its light and its details; whoever compares one picture with many makes it once."""
    light = thumb.astype(np.float32)
    return Sight(light=light, fine=detail(light, _FINE_PX), coarse=detail(light, _COARSE_PX))


def agreement(a: Sight, b: Sight, enough: float = _SURE) -> Agreement:
    """Compare two pictures, tolerating small shifts, crops and changes of scale.

    enough: as soon as fine details agree better, no better alignment is looked for.
    """
    best = still = _at(a, b, _NO_MOVE)
    if best.fine > enough:
        return best
    faded = a.coarse * _WINDOW, b.coarse * _WINDOW  # phaseCorrelate would do it in place, on what we keep
    (dx, dy), _ = cv2.phaseCorrelate(*faded)
    shifted = _NO_MOVE.copy()
    shifted[:, 2] = dx, dy
    moved = _at(a, b, shifted)
    start = shifted if moved.coarse > still.coarse else _NO_MOVE
    best = still.better(moved)
    for of_light in (True, False):  # light leads further, detail leads where light is even
        if best.fine > enough:
            break
        seen = (_blurred(a), _blurred(b)) if of_light else faded
        best = best.better(_refined(a, b, seen, start))
    return best


def _blurred(one: Sight) -> np.ndarray:
    return cv2.GaussianBlur(one.light, (0, 0), 1.5)


def _refined(a: Sight, b: Sight, seen: tuple[np.ndarray, np.ndarray], start: np.ndarray) -> Agreement:
    try:
        _, warp = cv2.findTransformECC(
            seen[0], seen[1], start.copy(), cv2.MOTION_AFFINE, _STEPS, _EVERYWHERE, 1
        )
    except cv2.error:  # it does not converge on pictures that have nothing in common
        return NONE
    return _at(a, b, np.asarray(warp, np.float32))


def _at(a: Sight, b: Sight, warp: np.ndarray) -> Agreement:
    """Agreement with the second picture moved by `warp`; nothing when that leaves too little to compare."""
    if not np.isfinite(warp).all() or abs(np.linalg.det(warp[:, :2]) - 1) > _LARGEST_CHANGE:
        return NONE
    size, back = (SIDE_PX, SIDE_PX), cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(_EVERYWHERE, warp, size, flags=cv2.INTER_NEAREST | back)
    seen[:_EDGE_PX] = seen[-_EDGE_PX:] = 0
    seen[:, :_EDGE_PX] = seen[:, -_EDGE_PX:] = 0
    common = seen > 0
    if common.mean() < _SMALLEST_OVERLAP:
        return NONE
    fine, coarse = b.fine, b.coarse
    if warp is not _NO_MOVE:
        lies = cv2.warpAffine(
            b.light, warp, size, flags=cv2.INTER_LINEAR | back, borderMode=cv2.BORDER_REPLICATE
        )
        fine, coarse = detail(lies, _FINE_PX), detail(lies, _COARSE_PX)
    return Agreement(
        fine=_correlation(a.fine[common], fine[common]), coarse=_correlation(a.coarse[common], coarse[common])
    )


def detail(picture: np.ndarray, sigma_px: float) -> np.ndarray:
    """Details around one size, each divided by the contrast around it and capped: no edge outshouts texture."""
    band = cv2.GaussianBlur(picture, (0, 0), sigma_px / 3) - cv2.GaussianBlur(picture, (0, 0), sigma_px)
    around = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 4 * sigma_px)) + 0.5
    return np.clip(band / around, -3, 3)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 1e-6 else 0.0
