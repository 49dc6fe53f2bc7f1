# SPDX-License-Identifier: AGPL-3.0-or-later
"""The books of one camera: where every trigger went. Pure.

    triggers = delivered + ring_full + incomplete + underrun + missed + unexplained_id_gap

Each trigger stands in exactly one term. Frames we saw are counted by their fate. What we did not see is
known from two sides: holes in the frame ids, and the driver's and camera's own counters. A hole that the
driver explains as an underrun is not counted twice; what is left of the holes is unexplained.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cameras.base import DeviceCounters

_ID_16_BIT = 0xFFFF  # GigE Vision 1 block ids run 1..65535 and then 1 again
_NEAR_THE_END = 0x1000


class Fate(Enum):
    """What became of a frame that reached us."""

    DELIVERED = "delivered"
    RING_FULL = "ring_full"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The balance. `counted`: triggers is the camera's own number; else it is the sum of the other terms."""

    triggers: int
    delivered: int
    ring_full: int
    incomplete: int
    underrun: int
    missed: int
    unexplained_id_gap: int
    counted: bool
    surplus: int = 0  # frames beyond the camera's own count of triggers: its counter cannot be right

    @property
    def closes(self) -> bool:
        """Whether every trigger stands in exactly one term."""
        known = self.delivered + self.ring_full + self.incomplete + self.underrun + self.missed
        return self.triggers == known + self.unexplained_id_gap and self.surplus == 0


class Accounting:
    """Counts the frames of one acquisition; `books` gives the balance at any moment."""

    def __init__(self) -> None:
        self._seen = dict.fromkeys(Fate, 0)
        self._last_id: int | None = None
        self._id_gap = 0
        self.id_restarts = 0

    def saw(self, frame_id: int, fate: Fate) -> None:
        """A frame reached us, whole or not. Ids rise by one a frame; a hole is as many lost frames."""
        self._seen[fate] += 1
        last, self._last_id = self._last_id, frame_id
        if last is None:
            return
        if frame_id > last:
            self._id_gap += frame_id - last - 1
        elif last <= _ID_16_BIT and last > _ID_16_BIT - _NEAR_THE_END and 1 <= frame_id < _NEAR_THE_END:
            self._id_gap += _ID_16_BIT - last + frame_id - 1
        else:
            self.id_restarts += 1  # the camera began to count anew: nothing can be said of the hole

    def books(self, device: DeviceCounters, *, at_rest: bool = False) -> Books:
        """The balance now.

        `at_rest`: nothing is in flight between camera and us (acquisition stopped, or long idle). Only then can
        the camera's own trigger count close the books, frames lost before the first and after the last one seen
        included. While frames are in flight, and for a camera that does not count triggers, the holes decide.
        """
        delivered = self._seen[Fate.DELIVERED]
        ring_full = self._seen[Fate.RING_FULL]
        incomplete = self._seen[Fate.INCOMPLETE]
        underrun = device.underrun or 0
        missed = device.missed or 0
        known = delivered + ring_full + incomplete + underrun + missed
        if at_rest and device.triggers is not None:
            rest = device.triggers - known
            return Books(
                triggers=device.triggers,
                delivered=delivered,
                ring_full=ring_full,
                incomplete=incomplete,
                underrun=underrun,
                missed=missed,
                unexplained_id_gap=max(0, rest),
                counted=True,
                surplus=max(0, -rest),
            )
        unexplained = max(0, self._id_gap - underrun)
        return Books(
            triggers=known + unexplained,
            delivered=delivered,
            ring_full=ring_full,
            incomplete=incomplete,
            underrun=underrun,
            missed=missed,
            unexplained_id_gap=unexplained,
            counted=False,
        )
