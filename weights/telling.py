# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Whether counted escapes and overkill tell a bundle from one that looks at nothing. Pure.

A bundle that passes everything has no overkill, one that rejects everything no escapes: either figure alone can
look perfect. What counts is that defective parts are rejected more often than good ones, by Fisher's exact test
(Statistical Methods for Research Workers, 1934, section 21.02).
"""

from __future__ import annotations

from math import comb, exp, lgamma

LEAST_CAUGHT = 0.1
"""A bundle that catches a smaller share of the defective parts finds next to nothing, chance or not."""


def finds_nothing(*, defective: int, escapes: int, good: int, overkill: int, level: float = 0.05) -> str:
    """`finds nothing: ...` or `finds next to nothing: ...` with the reason; empty where it finds something.

    Said of any set, however small: it passes every defective part, catches less than LEAST_CAUGHT of them, or
    rejects every good one. That defective parts are rejected no more often than good ones, or than chance
    explains, is said only of a set that could have shown more: one on which a bundle without a mistake is told
    from chance at this level. Empty too where no defective part was shown.
    """
    caught = defective - escapes
    if not defective:
        return ""
    if not caught:
        return f"finds nothing: it passes all {defective} defective parts"
    if caught < LEAST_CAUGHT * defective:
        return f"finds next to nothing: it catches {caught} of {defective} defective parts"
    both = f"it rejects {caught} of {defective} defective parts and {overkill} of {good} good ones"
    if good and overkill == good:
        return f"finds nothing: {both}, defective ones no more often"
    if 1 / comb(defective + good, defective) > level:  # `by_chance` of the best, without its rounding: 1 in 20
        return ""
    if caught * good <= overkill * defective:
        return f"finds nothing: {both}, defective ones no more often"
    p = by_chance(defective=defective, caught=caught, good=good, overkill=overkill)
    if p > level:
        return f"finds next to nothing: {both}, which chance explains (exact Fisher p = {p:.2g})"
    return ""


def by_chance(*, defective: int, caught: int, good: int, overkill: int) -> float:
    """Exact one-sided p: how often so many of the rejected parts would be defective by a blind draw."""
    parts, rejected = defective + good, caught + overkill
    all_ways = _log_ways(parts, rejected)
    most = min(defective, rejected)
    tail = (
        exp(_log_ways(defective, i) + _log_ways(good, rejected - i) - all_ways) for i in range(caught, most + 1)
    )
    return min(1.0, sum(tail))


def _log_ways(n: int, k: int) -> float:
    """Logarithm of "n choose k"."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
