# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was taught: a basis, a memory bank, a pose or both, and the limit; how a picture's features are scored.

The distance of a cell is its distance to the bank over `bank_unit`, plus, where the part lies in a fixed pose,
its deviation from that position's Gaussian over `pose_unit`; a unit is what a typical good part reaches, so the
two weigh alike. An empty bank takes no part. Distances are averaged over 3 x 3 cells, `smoothings` times. The
score of a cell is d^4 / (d^4 + limit^4): 0.5 at the limit, strictly rising, never clamped (clamping flips
verdicts); the fourth power keeps what is far below the limit near 0, where d / (d + limit) stays at a third.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.anomaly.bank import distances
from training.anomaly.features import smoothed
from training.anomaly.gaussian import PoseSums, pose_distances
from training.anomaly.modes import Modes

AXES = 64
SHARPNESS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Standardise each channel, then keep the leading principal axes of good parts."""

    mean: np.ndarray  # (channels,)
    spread: np.ndarray
    axes: np.ndarray  # (channels, kept)

    @classmethod
    def of(cls, features: Sequence[np.ndarray]) -> Basis:
        """From features (cells, channels) of some good pictures."""
        count, channels = sum(len(f) for f in features), features[0].shape[1]
        mean, square = np.zeros(channels), np.zeros(channels)
        for f in features:
            mean += f.sum(axis=0, dtype=np.float64) / count
            square += (f.astype(np.float64) ** 2).sum(axis=0) / count
        spread = np.sqrt(np.maximum(square - mean**2, 0)) + 1e-6
        turned = np.zeros((channels, channels))
        for f in features:
            part = ((f - mean) / spread).astype(np.float32)
            turned += (part.T @ part).astype(np.float64)
        _, vectors = np.linalg.eigh(turned / count)
        axes = vectors[:, ::-1][:, : min(AXES, channels)]
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1.0, 1.0)
        return cls(mean=mean.astype(np.float32), spread=spread.astype(np.float32), axes=axes.astype(np.float32))

    def turn(self, features: np.ndarray) -> np.ndarray:
        """(cells, channels) to (cells, kept)."""
        return ((features - self.mean) / self.spread) @ self.axes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """The Gaussian of each position on the grid, and the sums it comes from.

    modes: how parts vary as a whole, taken off first; None in what was taught before there were any.
    """

    sums: PoseSums
    modes: Modes | None
    mean: np.ndarray = field(repr=False)
    whitening: np.ndarray = field(repr=False)

    @property
    def components(self) -> int:
        """How many of the basis's axes it looks at."""
        return self.mean.shape[1]

    @classmethod
    def of(cls, sums: PoseSums, modes: Modes | None) -> Pose:
        """Solve the sums."""
        mean, whitening = sums.solved()
        return cls(sums=sums, modes=modes, mean=mean, whitening=whitening)

    def local(self, turned: np.ndarray) -> np.ndarray:
        """What the Gaussian looks at, of turned features: its axes, without what varies as a whole."""
        leading = turned[:, : self.components]
        return leading if self.modes is None else self.modes.without(leading)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """Everything but the backbone. limit: distance at which a part is rejected."""

    basis: Basis
    bank: np.ndarray
    pose: Pose | None
    bank_unit: float
    pose_unit: float
    limit: float
    lines: int
    columns: int
    smoothings: int

    def distance_map(self, turned: np.ndarray) -> np.ndarray:
        """Distances (lines, columns) of one picture's turned features."""
        size, passes = (self.lines, self.columns), self.smoothings
        total = np.zeros(size, np.float32)
        if len(self.bank):
            total = total + bank_map(turned, self.bank, size, passes) / np.float32(self.bank_unit)
        if self.pose is not None:
            total = total + pose_map(turned, self.pose, size, passes) / np.float32(self.pose_unit)
        return total


def bank_map(turned: np.ndarray, bank: np.ndarray, size: tuple[int, int], passes: int) -> np.ndarray:
    """Smoothed distances to the bank."""
    return _smooth(distances(turned, bank).reshape(size), passes)


def pose_map(turned: np.ndarray, pose: Pose, size: tuple[int, int], passes: int) -> np.ndarray:
    """Smoothed deviations from each position's Gaussian."""
    away = pose_distances(pose.local(turned), pose.mean, pose.whitening)
    return _smooth(away.reshape(size), passes)


def _smooth(scores: np.ndarray, passes: int) -> np.ndarray:
    for _ in range(passes):
        scores = smoothed(scores)
    return scores


def scores_of(distance: np.ndarray, limit: float) -> np.ndarray:
    """Scores 0..1 of distances."""
    ratio = (distance / np.float32(limit)) ** SHARPNESS
    return ratio / (ratio + np.float32(1))
