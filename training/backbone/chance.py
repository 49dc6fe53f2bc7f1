# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where every random number of the pre-training comes from: a seed, a purpose and an index, nothing else."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for; streams of different purposes never meet."""

    TEXTURE = 1
    BATCH = 2
    PROXY = 3


def generator(seed: int, purpose: Purpose, *index: int) -> np.random.Generator:
    """Return the stream of one thing; the same arguments give the same numbers on any machine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, int(purpose), *index))))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw between `low` and `high`, each octave as likely as the next."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
