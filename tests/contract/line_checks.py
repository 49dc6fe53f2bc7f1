# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is checked after every single step of the contract line: torn slots, counters, fates."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from inspection.types import Outcome
from tests.contract.code import Code
from tests.contract.plc import read_slot

if TYPE_CHECKING:
    from tests.contract.line import Station


def watched_image(code: Code) -> Any:
    """The image under test, with a reader who looks after every single word that is written."""
    base: Any = code.registers.RegisterImage

    class Watched(base):
        overrun = False
        given: dict[int, Any]

        def announce(self, seq: int, outcome: Outcome) -> None:
            self.given = {**self.__dict__.get("given", {}), seq: outcome}
            self.publish(seq, outcome)

        def clear_verdicts(self) -> None:
            super().clear_verdicts()
            self.given = {}

        def store(self, address: int, value: int) -> None:
            super().store(address, value)
            words = struct.unpack(">80H", self.input_bytes())
            given = self.__dict__.get("given", {})
            for at in range(16, 80, 4):
                slot = read_slot(words, words[at])
                if slot is not None and at == 16 + 4 * (words[at] % 16):
                    assert slot.seq in given, "a reader saw a verdict that nobody gave"
                    assert slot.verdict == given[slot.seq].name, "a reader saw a torn slot"
            if words[10]:
                assert read_slot(words, words[10]) is not None, "newest_seq points at an unfinished slot"

    return Watched


def verify_counters(station: Station) -> None:
    """Invariant 11, after every call."""
    c = station.tracker.counters
    outs = [outcome for outcome, _, _ in station.published.values()]
    assert c.triggers == len(station.history.lives)
    assert c.passed == outs.count(Outcome.PASS)
    assert c.rejected == outs.count(Outcome.REJECT)
    assert c.not_inspected == outs.count(Outcome.NOT_INSPECTED)
    assert c.triggers == c.passed + c.rejected + c.not_inspected + c.in_flight


def verify_fates(station: Station) -> None:
    """Everything published is what the oracle says, in the very call in which it says so."""
    fates = station.history.fates()
    said = {i: (fate.outcome, fate.call) for i, fate in enumerate(fates) if fate.call is not None}
    done = {i: (outcome, call) for i, (outcome, call, _) in station.published.items()}
    assert done == said
    counters = station.tracker.counters
    assert counters.unknown == station.history.unknown, "verdicts that name no part"
    assert counters.late == sum(fate.late for fate in fates)
    assert counters.duplicates == sum(fate.duplicates for fate in fates)
    assert counters.missed_triggers == sum(life.position is None for life in station.history.lives)
    announced = {i for i in station.announced if i in station.published}
    assert {i + 1 for i in announced} == station.closed
