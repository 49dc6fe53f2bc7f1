# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Reads what the PLC says: triggers, dispositions and control bits, out of the holding registers. Pure.

A reader is given the whole holding image after each write of the PLC and answers with what is new in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inspection.counting import next_seq, seq_distance
from inspection.gates.registers import Control, Holding
from inspection.types import Disposition, Seq

TRIGGER_SLOTS = 8
TRIGGER_WORDS = 4  # seq, encoder_hi, encoder_lo, flags
DISPOSITION_SLOTS = 8
DISPOSITION_WORDS = 2  # seq, disposition
LONGEST_GAP = 14
"""A newer number at most this far ahead is a run of new triggers; anything else is no gap but a resync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One new trigger number; `encoder_pulses` is None when the ring no longer holds it: a skipped trigger."""

    seq: Seq
    encoder_pulses: int | None
    flags: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resync:
    """newest_trigger_seq jumped too far, or backwards: nothing in flight can be trusted, the line re-arms."""

    expected: int
    found: int


class TriggerReader:
    """Turns newest_trigger_seq and the trigger ring into triggers, each number once and in order."""

    def __init__(self) -> None:
        self._last: int | None = None

    def arm(self, holding: Sequence[int]) -> int:
        """Take the newest number as the baseline: it is no trigger. Returns it."""
        self._last = holding[Holding.NEWEST_TRIGGER_SEQ]
        return self._last

    def disarm(self) -> None:
        """Read nothing until the next `arm`."""
        self._last = None

    def read(self, holding: Sequence[int]) -> tuple[Trigger, ...] | Resync:
        """Triggers that are new since the last call, oldest first; after a `Resync` nothing until `arm`."""
        newest = holding[Holding.NEWEST_TRIGGER_SEQ]
        if self._last is None or newest == self._last:
            return ()
        steps = seq_distance(newest, self._last)
        # 0 is no number. 65535 from a baseline of 0 is a distance of nothing, and a jump all the same.
        if newest == 0 or not 1 <= steps <= LONGEST_GAP:
            resync = Resync(expected=next_seq(self._last), found=newest)
            self._last = None
            return resync
        triggers: list[Trigger] = []
        seq = self._last
        for _ in range(steps):
            seq = next_seq(seq)
            triggers.append(_trigger_in(holding, seq))
        self._last = newest
        return tuple(triggers)


def _trigger_in(holding: Sequence[int], seq: Seq) -> Trigger:
    at = Holding.TRIGGER_RING + TRIGGER_WORDS * (seq % TRIGGER_SLOTS)
    found, high, low, flags = holding[at : at + TRIGGER_WORDS]
    if found != seq:
        return Trigger(seq=seq, encoder_pulses=None)
    return Trigger(seq=seq, encoder_pulses=high << 16 | low, flags=flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class DispositionSeen:
    """What the gate did with one part; None when the ring no longer holds it, or holds no known word."""

    seq: Seq
    disposition: Disposition | None


class DispositionReader:
    """Turns newest_outcome_seq and the disposition ring into dispositions, each number once and in order."""

    def __init__(self) -> None:
        self._last: int | None = None

    def arm(self, holding: Sequence[int]) -> None:
        """Begin after the newest number there is."""
        self._last = holding[Holding.NEWEST_OUTCOME_SEQ]

    def read(self, holding: Sequence[int]) -> tuple[DispositionSeen, ...]:
        """Dispositions new since the last call. A jump is no fault of the line: reading begins anew there."""
        newest = holding[Holding.NEWEST_OUTCOME_SEQ]
        if self._last is None or newest in (self._last, 0):
            return ()
        steps = seq_distance(newest, self._last)
        seq, self._last = self._last, newest
        if steps > LONGEST_GAP:
            return ()
        seen: list[DispositionSeen] = []
        for _ in range(steps):
            seq = next_seq(seq)
            seen.append(_disposition_in(holding, seq))
        return tuple(seen)


def _disposition_in(holding: Sequence[int], seq: Seq) -> DispositionSeen:
    at = Holding.DISPOSITION_RING + DISPOSITION_WORDS * (seq % DISPOSITION_SLOTS)
    found, word = holding[at : at + DISPOSITION_WORDS]
    known = found == seq and word in Disposition.__members__.values()
    return DispositionSeen(seq=seq, disposition=Disposition(word) if known else None)


class ControlEdges:
    """Rising edges of the control bits: an order counts when its bit goes from 0 to 1, not while it stays."""

    def __init__(self) -> None:
        self._previous = Control(0)

    def rising(self, holding: Sequence[int]) -> Control:
        """Bits that are set now and were not at the last call."""
        now = Control(holding[Holding.CONTROL] & 0x7F)
        rose, self._previous = now & ~self._previous, now
        return rose


def part_id(holding: Sequence[int]) -> tuple[Seq, str] | None:
    """The PLC's own name of a part: (seq, up to 16 ASCII characters); None when it gives none."""
    seq = holding[Holding.PART_ID_SEQ]
    words = holding[Holding.PART_ID : Holding.PART_ID + 8]
    raw = b"".join(word.to_bytes(2, "big") for word in words)
    text = raw.split(b"\0", 1)[0].decode("ascii", errors="replace")
    return (Seq(seq), text) if seq and text else None
