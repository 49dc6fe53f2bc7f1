# SPDX-License-Identifier: AGPL-3.0-or-later
"""How well one number tells two kinds apart, by ranks. Pure; whoever needs an AUROC takes this one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[place]


def auroc(good: Sequence[float] | np.ndarray, bad: Sequence[float] | np.ndarray) -> float:
    """Chance that a bad one has a higher value than a good one, ties counted half (Mann and Whitney 1947).

    Both sides hold one value or more. With an interval: `training/areas.py`.
    """
    low, high = np.asarray(good, np.float64), np.asarray(bad, np.float64)
    together = midranks(np.concatenate([high, low]))
    return float((together[: len(high)] - midranks(high)).sum() / (len(low) * len(high)))
