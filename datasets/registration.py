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
_STEPS = (3, 15, 1e-3)  # ECC: by count and by change, iterations, change
_NO_MOVE = np.eye(2, 3, dtype=np.float32)
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


def agreement(a: np.ndarray, b: np.ndarray) -> Agreement:
    """Compare two thumbnails, tolerating small shifts, crops and changes of scale."""
    first, second = a.astype(np.float32), b.astype(np.float32)
    coarse = _detail(first, _COARSE_PX), _detail(second, _COARSE_PX)
    window = cv2.createHanningWindow((SIDE_PX, SIDE_PX), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(coarse[0], coarse[1], window)
    shifted = _NO_MOVE.copy()
    shifted[:, 2] = dx, dy
    still, moved = _at(first, second, _NO_MOVE), _at(first, second, shifted)
    start = shifted if moved.coarse > still.coarse else _NO_MOVE
    best = still.better(moved)
    blurred = cv2.GaussianBlur(first, (0, 0), 1.5), cv2.GaussianBlur(second, (0, 0), 1.5)
    for seen in (blurred, coarse):  # light leads further, detail leads where light is even
        best = best.better(_refined(first, second, seen, start))
        if best.fine > 0.97:
            break
    return best


def _refined(
    first: np.ndarray, second: np.ndarray, seen: tuple[np.ndarray, np.ndarray], start: np.ndarray
) -> Agreement:
    try:
        _, warp = cv2.findTransformECC(
            seen[0], seen[1], start.copy(), cv2.MOTION_AFFINE, _STEPS, _EVERYWHERE, 1
        )
    except cv2.error:  # it does not converge on pictures that have nothing in common
        return NONE
    return _at(first, second, np.asarray(warp, np.float32))


def _at(first: np.ndarray, second: np.ndarray, warp: np.ndarray) -> Agreement:
    """Agreement with the second picture moved by `warp`; nothing when that leaves too little to compare."""
    if not np.isfinite(warp).all() or abs(np.linalg.det(warp[:, :2]) - 1) > _LARGEST_CHANGE:
        return NONE
    size, back = (SIDE_PX, SIDE_PX), cv2.WARP_INVERSE_MAP
    lies = cv2.warpAffine(second, warp, size, flags=cv2.INTER_LINEAR | back, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(np.ones_like(first), warp, size, flags=cv2.INTER_NEAREST | back)
    seen[:_EDGE_PX] = seen[-_EDGE_PX:] = 0
    seen[:, :_EDGE_PX] = seen[:, -_EDGE_PX:] = 0
    common = seen > 0
    if common.mean() < _SMALLEST_OVERLAP:
        return NONE
    values = [
        _correlation(_detail(first, sigma)[common], _detail(lies, sigma)[common])
        for sigma in (_FINE_PX, _COARSE_PX)
    ]
    return Agreement(fine=values[0], coarse=values[1])


def _detail(picture: np.ndarray, sigma_px: float) -> np.ndarray:
    """Details around one size, each divided by the contrast around it and capped: no edge outshouts texture."""
    band = cv2.GaussianBlur(picture, (0, 0), sigma_px / 3) - cv2.GaussianBlur(picture, (0, 0), sigma_px)
    around = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 4 * sigma_px)) + 0.5
    return np.clip(band / around, -3, 3)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 1e-6 else 0.0
