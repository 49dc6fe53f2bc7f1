# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Gaussian at each position, for parts in a fixed pose; running sums, so that it learns without refit.

After PaDiM (Defard et al., arXiv:2011.08785), on few components, its covariance shrunk towards that of all
positions together (Ledoit and Wolf's target with a fixed weight: 20 parts give no covariance of their own).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COMPONENTS = 32
ALONE = 16
"""Components where the Gaussian stands alone (magnetic tiles, cross-validated: 32 were worse by 0.013)."""
OWN_WEIGHT_PARTS = 40.0
"""With so many parts, a position's own covariance counts as much as the common one."""
RIDGE = 0.05
_AT_ONCE = 256


@dataclass(slots=True, kw_only=True)
class PoseSums:
    """Running sums of n parts: features (p, d) and their products (p, d, d), float64."""

    parts: float
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def empty(cls, positions: int, components: int) -> PoseSums:
        """Nothing seen yet."""
        return cls(
            parts=0.0,
            first=np.zeros((positions, components)),
            second=np.zeros((positions, components, components)),
        )

    @classmethod
    def of(cls, features: np.ndarray) -> PoseSums:
        """Of the features (n, p, d) of n parts, some positions at a time: float64 of all would be much."""
        parts, positions, components = features.shape
        sums = cls.empty(positions, components)
        sums.parts = float(parts)
        for start in range(0, positions, _AT_ONCE):
            here = np.s_[start : start + _AT_ONCE]
            wide = features[:, here].transpose(1, 0, 2).astype(np.float64)
            sums.first[here] = wide.sum(axis=1)
            sums.second[here] = wide.transpose(0, 2, 1) @ wide
        return sums

    def copy(self) -> PoseSums:
        """Sums of their own."""
        return PoseSums(parts=self.parts, first=self.first.copy(), second=self.second.copy())

    def add(self, features: np.ndarray, weight: float = 1.0) -> None:
        """Take in one part's features (p, d)."""
        wide = features.astype(np.float64)
        self.parts += weight
        self.first += weight * wide
        self.second += weight * (wide[:, :, None] * wide[:, None, :])

    def solved(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean (p, d), whitening (p, d, d)): the distance of x is |(x - mean) @ whitening| / sqrt(d)."""
        mean = self.first / self.parts
        own = self.second / self.parts - mean[:, :, None] * mean[:, None, :]
        common = own.mean(axis=0)
        share = self.parts / (self.parts + OWN_WEIGHT_PARTS)
        size = mean.shape[1]
        ridge = RIDGE * np.trace(common) / size * np.eye(size)
        covariance = share * own + (1 - share) * common + ridge
        lower = np.linalg.cholesky(covariance)
        whitening = np.linalg.inv(lower).transpose(0, 2, 1)
        return mean.astype(np.float32), np.ascontiguousarray(whitening, np.float32)


def pose_distances(features: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Root mean square of the whitened deviation at each position; float32 (p,)."""
    away = np.matmul((features - mean)[:, None, :], whitening)[:, 0, :]
    return np.sqrt(np.einsum("pd,pd->p", away, away) / features.shape[1])
