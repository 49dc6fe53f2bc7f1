# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""The one rule that says whether a picture shows a part (line contract, "Which picture belongs...")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inspection.counting import encoder_delta
from inspection.types import PartRef


@dataclass(frozen=True, slots=True, kw_only=True)
class PairWindow:
    """Picture and part belong together by latched encoder count or, without one, by time; never by order.

    The inspector pairs by it, and the gate checks each verdict by it once more.
    """

    kind: Literal["encoder", "timestamp"] = "encoder"
    pulses: int = 0  # half the minimum pitch
    time_ns: int = 0  # how far the camera's mapped clock may be off, for "timestamp"
    edge_spread_ns: int = 0  # the true edge lies in trigger_ns .. trigger_ns + this: one poll interval

    def matches(self, part: PartRef, encoder_pulses: int | None, exposure_ns: int) -> bool:
        """Whether a picture with this encoder count and exposure instant (monotonic) shows `part`."""
        if self.kind == "encoder":
            if encoder_pulses is None:
                return False
            return abs(encoder_delta(encoder_pulses, part.encoder_pulses)) <= self.pulses
        since_trigger_ns = exposure_ns - part.trigger_ns
        return -self.time_ns <= since_trigger_ns <= self.edge_spread_ns + self.time_ns
