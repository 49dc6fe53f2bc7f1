# SPDX-License-Identifier: AGPL-3.0-or-later
"""A PLC and its gate, written from the line contract alone: register addresses are numbers here, on purpose.

It counts in unbounded integers inside and wraps only on the wire.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

WORD = {0xA55A: "PASS", 0x5AA5: "REJECT", 0x3CC3: "NOT_INSPECTED"}


class Slot(NamedTuple):
    seq: int
    epoch: int
    verdict: str


def on_wire(number: int) -> int:
    """Trigger number as the wire has it: 1..65535 and then 1 again; 0 before the first."""
    return number if number == 0 else (number - 1) % 65535 + 1


def read_slot(words: tuple[int, ...], number: int) -> Slot | None:
    """The verdict slot of this number, when it is whole."""
    at = 16 + 4 * (on_wire(number) % 16)
    seq, epoch, verdict, check = words[at : at + 4]
    if check != seq ^ epoch ^ verdict or verdict not in WORD or seq == 0:
        return None
    return Slot(seq, epoch, WORD[verdict])


@dataclass
class Tracked:
    """A part on the belt, as the PLC knows it."""

    number: int
    position: int  # true, unbounded
    epoch: int
    crossed_ns: int
    too_close: bool = False
    verdict: str | None = None
    given_up: bool = False
    passed: bool | None = None
    decided_ns: int = 0


class Plc:
    def __init__(self, *, newest: int, travel: int, min_pitch: int) -> None:
        self.newest = newest
        self.epoch = 0
        self.armed = False
        self.parts: list[Tracked] = []
        self.ring: dict[int, tuple[int, int]] = {}  # slot -> (number, wire encoder)
        self._travel = travel
        self._min_pitch = min_pitch

    def trigger(self, position: int, wire_encoder: int, now_ns: int, *, write_slot: bool) -> None:
        self.newest += 1
        part = Tracked(self.newest, position, self.epoch, now_ns, given_up=not self.armed)
        before = self.parts[-1] if self.parts else None
        if before is not None and position - before.position < self._min_pitch:
            part.too_close = before.too_close = True
        self.parts.append(part)
        if write_slot:
            self.ring[on_wire(self.newest) % 8] = (self.newest, wire_encoder)

    def held(self, number: int) -> int | None:
        """Wire encoder of this number, while the ring holds it."""
        number_there, encoder = self.ring.get(on_wire(number) % 8, (None, 0))
        return encoder if number_there == number else None

    def registers(self) -> list[int]:
        """Holding registers 3 and 8..39."""
        words = [0] * 40
        for slot, (number, encoder) in self.ring.items():
            words[8 + 4 * slot : 12 + 4 * slot] = [on_wire(number), encoder >> 16, encoder & 0xFFFF, 0]
        words[3] = on_wire(self.newest)
        return words

    def drop(self) -> None:
        """Lose trust in the station: what is on the belt is diverted."""
        self.armed = False
        for part in self.parts:
            part.given_up = True

    def arm(self, epoch: int) -> None:
        self.drop()
        self.epoch = epoch
        self.armed = True

    def poll(self, image: bytes) -> None:
        words = struct.unpack(">80H", image)
        for part in self.parts:
            slot = read_slot(words, part.number)
            mine = slot is not None and (slot.seq, slot.epoch) == (on_wire(part.number), part.epoch)
            if slot is None or not mine or part.given_up:
                continue
            assert part.verdict in (None, slot.verdict), f"outcome of {part.number} changed after publication"
            part.verdict = slot.verdict

    def gate(self, position: int, now_ns: int) -> None:
        """Decide the parts that have reached the gate; the gate's rest position diverts."""
        for part in self.parts:
            if part.passed is None and part.position + self._travel <= position:
                part.decided_ns = now_ns
                part.passed = part.verdict == "PASS" and not part.given_up and not part.too_close
        self.parts = [p for p in self.parts if p.position + 2 * self._travel > position]
