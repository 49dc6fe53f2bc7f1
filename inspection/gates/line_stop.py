# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""When the station asks the line to stop: rejects in a row, a reject not confirmed, a full bin. Pure.

The request is latched until the PLC raises AckLineStop. It changes no outcome: the station only asks, and
what happens to the parts on the belt is the PLC's to decide.
"""

from __future__ import annotations

from collections import deque

from inspection.gates.plc_rings import DispositionSeen
from inspection.gates.registers import Status
from inspection.types import Disposition, Outcome

_REMEMBERED = 64


class LineStop:
    """Follows outcomes and dispositions; `status` holds the bits that belong in the status register."""

    def __init__(self, *, consecutive_rejects: int) -> None:
        """`consecutive_rejects` in a row ask for a stop; 0 never does."""
        self.status = Status(0)
        self.mismatches = 0
        self._limit = consecutive_rejects
        self._run = 0
        self._outcomes: deque[tuple[int, Outcome]] = deque(maxlen=_REMEMBERED)

    def published(self, seq: int, outcome: Outcome) -> None:
        """An outcome went out. A part that was not inspected neither makes nor breaks a run of rejects."""
        self._outcomes.append((seq, outcome))
        if outcome is Outcome.PASS:
            self._run = 0
        elif outcome is Outcome.REJECT:
            self._run += 1
            if self._run == self._limit:
                self._request(Status.CONSECUTIVE_REJECTS)

    def disposed(self, seen: DispositionSeen) -> None:
        """The PLC says what its gate did: a mismatch, or a part passed without a PASS, is a fault."""
        passed_without = (
            seen.disposition is Disposition.PASSED and self._outcome_of(seen.seq) is not Outcome.PASS
        )
        if seen.disposition is Disposition.MISMATCH or passed_without:
            self.mismatches += 1
            self._request(Status.REJECT_CONFIRM_FAULT)

    def bin_full(self) -> None:
        """The reject bin takes no more."""
        self._request(Status.BIN_FULL)

    def acknowledge(self) -> None:
        """AckLineStop was raised."""
        self.status = Status(0)
        self._run = 0

    def _request(self, cause: Status) -> None:
        self.status |= cause | Status.LINE_STOP_REQUEST

    def _outcome_of(self, seq: int) -> Outcome | None:
        """The newest outcome published under this number, if it is still remembered."""
        return next((outcome for other, outcome in reversed(self._outcomes) if other == seq), None)
