# SPDX-License-Identifier: AGPL-3.0-or-later
"""The limit, from scores of good parts by models that never saw them, and what it promises. Pure.

A part counts once, with its worst picture: pictures of one part rise and fall together, and counted one by one
they would make the bound as narrow as so many parts would. What is promised is the share of good parts of which
any picture is rejected; the share of pictures is no larger.

The limit is an order statistic: of n held-out good parts, at most the wanted share lies above it. How many more
good parts will be rejected then follows Beta(above + 1, n - above) whatever the scores' distribution (Wilks,
Ann. Math. Statist. 12, 1941), so the exact bound is that of Clopper and Pearson. Scores of the teaching
pictures under a model that knows them would promise 1 % and reject half of all good parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inspection.statistics import upper_bound

OVERKILL = 0.02
_CLEAR = 1.002
"""The limit stands this much above the good part it is taken from, which then passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """value: distance. above: held-out good parts with a picture beyond it, of `good`, seen in `pictures`."""

    value: float
    good: int
    pictures: int
    above: int
    wanted: float

    @property
    def expected_overkill(self) -> float:
        """Share of good parts that will be rejected, on average."""
        return (self.above + 1) / (self.good + 1)

    def figures(self) -> dict[str, object]:
        """For the card, the record and the person."""
        return {
            "good": self.pictures,
            "good_parts": self.good,
            "rejected_when_held_out": self.above,
            "wanted_overkill": self.wanted,
            "expected_overkill": round(self.expected_overkill, 5),
            "overkill_upper_95": round(upper_bound(self.above, self.good), 5),
            "misses": "unknown until defects are shown",
        }

    def sentence(self) -> str:
        """What a person must know."""
        seen = f" in {self.pictures} pictures" if self.pictures > self.good else ""
        text = (
            f"expected overkill {self.expected_overkill:.1%}, at most {upper_bound(self.above, self.good):.1%}"
            f" (one-sided 95 %, from {self.good} held-out good parts{seen})"
        )
        needed = round(1 / self.wanted) - 1
        if self.good < needed:
            text += f"; for {self.wanted:.1%} at least {needed} good parts are needed"
        return text


def choose_limit(
    held_out: Sequence[float], wanted: float = OVERKILL, *, parts: Sequence[str] | None = None
) -> Limit:
    """The lowest limit whose expected overkill is at most `wanted`; the highest score where none is.

    parts: which part each score is of; without it each is of a part of its own.
    """
    worst: dict[str | int, float] = {}
    for part, score in zip(range(len(held_out)) if parts is None else parts, held_out, strict=True):
        worst[part] = max(score, worst.get(part, score))
    ordered = np.sort(np.asarray(list(worst.values()), np.float64))
    good = len(ordered)
    rank = min(good, int(np.ceil((good + 1) * (1 - wanted) - 1e-9)))
    value = float(ordered[rank - 1]) * _CLEAR
    above = int((ordered >= value).sum())
    return Limit(value=value, good=good, pictures=len(held_out), above=above, wanted=wanted)
