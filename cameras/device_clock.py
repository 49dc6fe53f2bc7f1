# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera's clock on ours: an offset from latched pairs, with its uncertainty. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_OLDEST_NS = 60_000_000_000  # an exposure that long before its arrival is a stamp of some other clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """One reading of the camera's clock between two readings of ours, all in nanoseconds."""

    before_ns: int
    device_ns: int
    after_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClock:
    """Maps device stamps to the monotonic clock: monotonic = device + offset, within +- uncertainty."""

    offset_ns: int
    uncertainty_ns: int

    @classmethod
    def from_latches(cls, latches: Iterable[Latch]) -> DeviceClock | None:
        """The tightest reading wins: the device was latched somewhere between `before` and `after`.

        A clock that agrees with ours within the uncertainty *is* ours (the simulated camera): offset 0, exact.
        None without readings.
        """
        tightest = min(latches, key=lambda latch: latch.after_ns - latch.before_ns, default=None)
        if tightest is None:
            return None
        offset_ns = (tightest.before_ns + tightest.after_ns) // 2 - tightest.device_ns
        uncertainty_ns = (tightest.after_ns - tightest.before_ns + 1) // 2
        if abs(offset_ns) <= uncertainty_ns:
            return cls(offset_ns=0, uncertainty_ns=0)
        return cls(offset_ns=offset_ns, uncertainty_ns=uncertainty_ns)

    def to_monotonic(self, device_ns: int, arrival_ns: int) -> int | None:
        """Exposure instant, monotonic; None when the stamp cannot belong to a frame that arrived just now."""
        at_ns = device_ns + self.offset_ns
        if arrival_ns - _OLDEST_NS < at_ns <= arrival_ns + self.uncertainty_ns:
            return min(at_ns, arrival_ns)
        return None
