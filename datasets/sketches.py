# SPDX-License-Identifier: AGPL-3.0-or-later
"""A first look at many pairs of pictures: which of them are worth laying on each other.

A sketch is the coarse detail of a thumbnail on 32 x 32 cells. Two sketches are slid over each other in all ways
at once (by Fourier transform), the second also a little turned and scaled. That costs a hundredth of a
registration (`datasets/registration.py`), and the few pairs that can be twins stand out.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby

import cv2
import numpy as np

from datasets.registration import detail

PROMISING = 0.36
"""Correlation from which a pair is registered. Copies of real pictures, shifted by a fifth, cropped by an
eighth, turned by 5 degrees, or changed in light, noise or JPEG, reach 0.51 or more where registration confirms
them; of 2,011 confirmed pairs of real pictures the lowest had 0.42."""
_SIDE_PX, _DRAWN_PX = 32, 64
_SIGMA_PX = 4.0  # of 64: only what is larger than a cell counts
_SCALES, _TURNS_DEG = (0.89, 1.0, 1.12), (-6.0, 0.0, 6.0)
_MIDDLE = ((_DRAWN_PX - 1) / 2, (_DRAWN_PX - 1) / 2)
_POSES = tuple(cv2.getRotationMatrix2D(_MIDDLE, turn, scale) for scale in _SCALES for turn in _TURNS_DEG)


def promising(
    first: np.ndarray, second: np.ndarray, pairs: Collection[tuple[int, int]], least: float = PROMISING
) -> list[tuple[int, int]]:
    """Of pairs (i, j) of thumbnails (N, 128, 128) and (M, 128, 128) those that may be twins, sorted."""
    plain = {i: _plain(_drawn(first[i])) for i in {i for i, _ in pairs}}
    kept = []
    for j, group in groupby(sorted(pairs, key=lambda pair: pair[1]), key=lambda pair: pair[1]):
        asked = [i for i, _ in group]
        likeness = _likeness(np.stack([plain[i] for i in asked]), _posed(_drawn(second[j])))
        kept += [(i, j) for i, value in zip(asked, likeness.tolist(), strict=True) if value >= least]
    return sorted(kept)


def _drawn(thumbnail: np.ndarray) -> np.ndarray:
    small = cv2.resize(thumbnail, (_DRAWN_PX, _DRAWN_PX), interpolation=cv2.INTER_AREA)
    return detail(small.astype(np.float32), _SIGMA_PX)


def _plain(drawn: np.ndarray) -> np.ndarray:
    return _spectra(cv2.resize(drawn, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)[None])[0]


def _posed(drawn: np.ndarray) -> np.ndarray:
    """Spectra of a sketch in each pose; what is turned in from outside is empty."""
    size = (_DRAWN_PX, _DRAWN_PX)
    poses = [cv2.warpAffine(drawn, pose, size, flags=cv2.INTER_LINEAR) for pose in _POSES]
    cells = [cv2.resize(pose, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA) for pose in poses]
    return _spectra(np.stack(cells))


def _spectra(cells: np.ndarray) -> np.ndarray:
    centred = cells - cells.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt((centred * centred).sum(axis=(1, 2), keepdims=True))
    return np.fft.rfft2(centred / np.maximum(length, 1e-6)).astype(np.complex64)


def _likeness(plain: np.ndarray, posed: np.ndarray) -> np.ndarray:
    """Largest correlation over all poses and shifts, for each of `plain`."""
    both = plain[:, None] * posed[None].conj()
    return np.fft.irfft2(both, s=(_SIDE_PX, _SIDE_PX)).max(axis=(1, 2, 3))
