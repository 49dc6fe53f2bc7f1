# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""The one rule that says whether a picture shows a part (line contract, "Which picture belongs...")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inspection.counting import encoder_within
from inspection.types import PartRef


@dataclass(frozen=True, slots=True, kw_only=True)
class PairWindow:
    """Picture and part belong together by latched encoder count or, without one, by time; never by order.

    Where the encoder says so, the clock must not contradict it: a counter that slips by a whole pitch would
    pair every picture with its neighbour, and only the exposure instant can tell. The inspector pairs by this
    window, and the gate checks each verdict by it once more.
    """

    kind: Literal["encoder", "timestamp"] = "encoder"
    pulses: int = 0  # half the minimum pitch
    time_ns: int = 0  # how far an exposure may lie outside the span in which the trigger's edge is known to lie

    def shows(self, part: PartRef, encoder_pulses: int | None, exposure_ns: int, *, stamped: bool) -> bool:
        """Whether a picture with this encoder count and exposure instant (monotonic) claims to show `part`."""
        if self.kind == "timestamp":
            return stamped and self.agrees_in_time(part, exposure_ns, stamped=True)
        if encoder_pulses is None:
            return False
        return encoder_within(encoder_pulses, part.encoder_pulses, self.pulses)

    def agrees_in_time(self, part: PartRef, exposure_ns: int, *, stamped: bool) -> bool:
        """Whether the clock allows that claim.

        Of an unstamped picture only its arrival is known, so only this much can be said: it did not reach us
        before its part was triggered.
        """
        since_trigger_ns = exposure_ns - part.trigger_ns
        if since_trigger_ns < -self.time_ns:
            return False
        return not stamped or since_trigger_ns <= part.edge_spread_ns + self.time_ns
