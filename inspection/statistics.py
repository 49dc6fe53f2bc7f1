# SPDX-License-Identifier: AGPL-3.0-or-later
"""Exact bounds on a share that was counted: Clopper and Pearson, Biometrika 26 (1934), without scipy.

`upper_bound(k, n)` answers "k escapes in n parts: how many may it be, at worst?" The bound p solves
P(X <= k | n, p) = 1 - confidence, found by bisection on the binomial tail.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p

_STEPS = 80  # halvings: far below float resolution of a share


def _check(k: int, n: int, confidence: float) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} events in {n} trials cannot be")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")


def _tail_at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) for X binomial(n, p), summed from the largest term down so that nothing underflows early."""
    if p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 1.0 if k >= n else 0.0
    log_p, log_q, base = log(p), log1p(-p), lgamma(n + 1)
    total = 0.0
    for i in range(k, -1, -1):
        term = exp(base - lgamma(i + 1) - lgamma(n - i + 1) + i * log_p + (n - i) * log_q)
        total += term
        if i < n * p and term < total * 1e-17:
            break
    return min(total, 1.0)


def upper_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of the share behind `k` events in `n` trials; 1.0 when nothing was tried."""
    _check(k, n, confidence)
    if k == n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _tail_at_most(k, n, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """One-sided lower bound of the share behind `k` events in `n` trials; 0.0 when nothing was tried."""
    _check(k, n, confidence)
    return 0.0 if k == 0 else 1.0 - upper_bound(n - k, n, confidence)
