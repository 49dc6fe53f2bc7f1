# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where to put the limits: by what mistakes cost, or by a bound on escapes that holds with stated confidence.
Pure.

One dial: every class's score limit is moved by the same step in log-odds, from low limits (nearly everything is
rejected, nothing escapes) to high ones. What each step rejects comes from the real rules
(training/part_level.py). Raising a limit can only let more pass, so the risk of an escape is monotone along the
dial.

`hold_escapes` is Learn-then-Test (Angelopoulos et al., Annals of Applied Statistics 19, 2025) with
fixed-sequence testing: from the strictest step on, "the risk here is above the target" is tested with the exact
binomial at level 1 - confidence, and the first step that cannot be refuted ends it. The sequence is fixed
before the data is seen, so the whole search keeps the confidence of one test: with 95 % confidence the risk at
the chosen step, on parts of the same kind, is at most the target.

`hold_escapes_next` promises something else: the share that will be *counted* on the next `next_parts` defective
parts, which scatters around the risk. It is the exact predictive bound of sampling without replacement:
whatever the pool, calibration parts and next parts lie in it in random order, and the chance that calibration
sees at most k escapes before the next parts see more than they may is hypergeometric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, floor

import numpy as np

from inspection.statistics import upper_bound

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A step of the dial, and what was counted at it. `promise`: the bound that it was chosen for."""

    step: int
    escapes: int
    defective: int
    overkill: int
    good: int
    promise: float | None = None


def counts(rejected: np.ndarray, defective: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Escapes and overkill at each step. rejected: bool (parts, steps); defective: bool (parts,)."""
    return (~rejected[defective]).sum(axis=0), rejected[~defective].sum(axis=0)


def monotone(rejected: np.ndarray) -> np.ndarray:
    """The same with each part rejected up to its last rejecting step: raising a limit never rejects more."""
    return np.logical_or.accumulate(rejected[:, ::-1], axis=1)[:, ::-1]


def cheapest(
    rejected: np.ndarray,
    defective: np.ndarray,
    *,
    escape_cost: float,
    overkill_cost: float = 1.0,
    defective_share: float | None = None,
) -> Chosen:
    """The step of least expected cost a part; of equals the strictest.

    defective_share: on the line; without it, as in the sample (which is rarely the line's).
    """
    escapes, overkill = counts(rejected, defective)
    cost = expected_cost(
        escapes,
        overkill,
        defective,
        escape_cost=escape_cost,
        overkill_cost=overkill_cost,
        defective_share=defective_share,
    )
    step = int(np.argmin(cost))
    return _chosen(step, escapes, overkill, defective, None)


def expected_cost(
    escapes: np.ndarray,
    overkill: np.ndarray,
    defective: np.ndarray,
    *,
    escape_cost: float,
    overkill_cost: float = 1.0,
    defective_share: float | None = None,
) -> np.ndarray:
    """Expected cost of one part at each step."""
    bad, good = int(defective.sum()), int((~defective).sum())
    share = bad / max(bad + good, 1) if defective_share is None else defective_share
    return share * escape_cost * escapes / max(bad, 1) + (1 - share) * overkill_cost * overkill / max(good, 1)


def hold_escapes(
    rejected: np.ndarray, defective: np.ndarray, *, at_most: float, confidence: float = CONFIDENCE
) -> Chosen | None:
    """The most lenient step whose escape risk is at most `at_most`; None: too few parts to say so."""
    escapes, overkill = counts(monotone(rejected), defective)
    most = most_escapes(int(defective.sum()), at_most, confidence)
    step = None if most is None else _last_before_failure([int(k) <= most for k in escapes])
    return None if step is None else _chosen(step, escapes, overkill, defective, at_most)


def hold_escapes_next(
    rejected: np.ndarray,
    defective: np.ndarray,
    *,
    at_most: float,
    next_parts: int,
    confidence: float = CONFIDENCE,
) -> Chosen | None:
    """The most lenient step at which the next `next_parts` show at most that share of escapes."""
    escapes, overkill = counts(monotone(rejected), defective)
    allowed = floor(at_most * next_parts + 1e-9)
    most = most_seen(int(defective.sum()), next_parts, allowed, confidence)
    step = None if most is None else _last_before_failure([int(k) <= most for k in escapes])
    return None if step is None else _chosen(step, escapes, overkill, defective, at_most)


@lru_cache(maxsize=256)
def most_escapes(parts: int, at_most: float, confidence: float = CONFIDENCE) -> int | None:
    """Most escapes in so many parts whose upper bound is at most `at_most`; None: not even 0 will do."""
    low, high = -1, floor(at_most * parts) + 1  # a bound lies above the share that was counted
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if upper_bound(middle, parts, confidence) <= at_most else (low, middle)
    return None if low < 0 else low


@lru_cache(maxsize=256)
def most_seen(seen_parts: int, next_parts: int, allowed: int, confidence: float = CONFIDENCE) -> int | None:
    """Most escapes that may be seen so that the next parts show at most `allowed`, with that confidence.

    In a random order of all parts, the next ones reach `allowed` + 1 escapes before the seen ones exceed k
    exactly when at most k of the first k + allowed + 1 escapes lie among the seen. None: not even 0 will do.
    """
    pool = seen_parts + next_parts
    best = None
    for k in range(seen_parts + 1):
        first = k + allowed + 1
        if allowed >= next_parts:
            return seen_parts
        if first > pool or _hypergeometric_at_most(k, pool, first, seen_parts) > 1 - confidence:
            break
        best = k
    return best


def _hypergeometric_at_most(k: int, pool: int, marked: int, drawn: int) -> float:
    """P(at most k of `marked` lie among `drawn` of `pool`)."""
    ways = sum(comb(marked, i) * comb(pool - marked, drawn - i) for i in range(min(k, drawn) + 1))
    return ways / comb(pool, drawn)


def _last_before_failure(passed: Sequence[bool]) -> int | None:
    step = next((i for i, ok in enumerate(passed) if not ok), len(passed)) - 1
    return None if step < 0 else step


def _chosen(
    step: int, escapes: np.ndarray, overkill: np.ndarray, defective: np.ndarray, promise: float | None
) -> Chosen:
    bad = int(defective.sum())
    return Chosen(
        step=step,
        escapes=int(escapes[step]),
        defective=bad,
        overkill=int(overkill[step]),
        good=len(defective) - bad,
        promise=promise,
    )
