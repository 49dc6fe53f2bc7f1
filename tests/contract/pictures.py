# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a picture that a verdict rests on was exposed, and whether the line contract believes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.contract.oracle import Life

MS = 1_000_000
BAND_MS = 8
FIRE_LIMIT_MS = 16


@dataclass(frozen=True)
class Taken:
    """When a picture was exposed: so long after the edge, or after the earliest or latest it can have been."""

    after: Literal["edge", "earliest", "latest"] = "edge"
    off_ns: int = 0
    stamped: bool = True

    def instant_ns(self, life: Life, crossing_ns: int) -> int:
        earliest_ns, latest_ns = life.edge_ns
        return {"edge": crossing_ns, "earliest": earliest_ns, "latest": latest_ns}[self.after] + self.off_ns

    def fits(self, life: Life, crossing_ns: int, *, fired: bool) -> bool:
        """By the contract: within the band around what is known of the edge; unstamped, not before it.

        A picture that the station fired itself also within the fire limit of the earliest edge.
        """
        instant_ns = self.instant_ns(life, crossing_ns)
        earliest_ns, latest_ns = life.edge_ns
        if fired and instant_ns >= earliest_ns + FIRE_LIMIT_MS * MS:
            return False
        if instant_ns < earliest_ns - BAND_MS * MS:
            return False
        return not self.stamped or instant_ns <= latest_ns + BAND_MS * MS
