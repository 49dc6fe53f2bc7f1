# SPDX-License-Identifier: AGPL-3.0-or-later
"""One thing that a readiness report says, how much it weighs, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Weight(str, Enum):
    """FORBIDS: training on this gives wrong figures or a crash. WARNS: poor figures. TELLS: good to know."""

    FORBIDS = "forbids"
    WARNS = "warns"
    TELLS = "tells"

    @property
    def rank(self) -> int:
        """Order in a report: the heaviest first."""
        return list(Weight).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """`text` says what and how many, `remedy` what to do, in one sentence; `names` are those concerned, all."""

    topic: str
    weight: Weight
    where: str  # part of the split
    text: str
    remedy: str
    names: tuple[str, ...] = ()
