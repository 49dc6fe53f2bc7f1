# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the gate watches beside the parts: devices on the board, its own clock, reasons to stop the line. Pure.

All of it is told the time; nothing here reads a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from inspection.board import ProcessState
from inspection.counting import seq_distance
from inspection.gates.registers import Status
from inspection.types import Disposition, Outcome, Reason

CAMERA_STALE_NS = 200_000_000
INSPECTOR_STALE_NS = 150_000_000
FROZEN_AFTER_NS = 200_000_000
_REMEMBERED = 64
_RESIDUALS = 32
_ENOUGH = 8


class ErrorCode(IntEnum):
    """Input register 5: why the station is not where it was, until ResetError or the next Arm."""

    NONE = 0
    JOURNAL = 1
    CAMERA = 2
    INSPECTOR = 3
    PLC = 4
    UNKNOWN_RECIPE = 5
    ARM_REFUSED = 6
    RESYNC = 7
    FROZEN = 8
    HALTED = 9


class BoardRow(Protocol):
    """What the watch reads of a row (`inspection.board.Row`)."""

    @property
    def pid(self) -> int: ...  # noqa: D102 - the names say it
    @property
    def incarnation(self) -> int: ...  # noqa: D102
    @property
    def state(self) -> ProcessState: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    def age_ns(self, now_ns: int) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """How cameras and inspector stand. `loss` is the first one that is not ready, None when all are."""

    found: bool  # each has reported at least once
    loss: DeviceLoss | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLoss:
    """One process that cannot do its work now, and what is written on the parts for it."""

    reason: Reason
    code: ErrorCode
    text: str


class DeviceWatch:
    """Cameras and inspector, as the status board shows them. A restart between two looks counts as a loss."""

    def __init__(self, rows: Mapping[str, BoardRow]) -> None:
        """`rows`: role (board row name) -> row, of every process without which no part can be judged."""
        self._rows = rows
        self._seen: dict[str, int] = {}

    def look(self, now_ns: int) -> DeviceReport:
        """The present report."""
        found, first = True, None
        for role, row in self._rows.items():
            found = found and row.pid != 0
            loss = self._loss(now_ns, role, row)
            first = first or loss
        return DeviceReport(found=found, loss=first)

    def _loss(self, now_ns: int, role: str, row: BoardRow) -> DeviceLoss | None:
        incarnation = row.incarnation
        restarted = self._seen.get(role, incarnation) != incarnation
        self._seen[role] = incarnation
        camera = role.startswith("camera")
        age_ns = row.age_ns(now_ns)
        stale = age_ns > (CAMERA_STALE_NS if camera else INSPECTOR_STALE_NS)
        lost = Reason.CAMERA_LOST if camera else Reason.INSPECTOR_LOST
        code = ErrorCode.CAMERA if camera else ErrorCode.INSPECTOR
        if row.pid == 0:
            return DeviceLoss(reason=lost, code=code, text=f"{role} has not started yet")
        if restarted:
            return DeviceLoss(reason=lost, code=code, text=f"{role} was restarted")
        said = f"{role} is {row.state.name.lower()}" + (f": {row.text}" if row.text else "")
        if stale:
            # the last words of a process that ended say more than its silence
            gone = row.state in (ProcessState.DOWN, ProcessState.FAULT)
            text = said if gone else f"{role} is silent for {age_ns // 1_000_000} ms"
            return DeviceLoss(reason=lost, code=code, text=text)
        if row.state is not ProcessState.READY:
            working = not camera and row.state is ProcessState.DEGRADED
            return DeviceLoss(reason=Reason.ENGINE_FAULT if working else lost, code=code, text=said)
        return None


class FreezeWatch:
    """Notices that this process itself stood still (SIGSTOP, a suspended machine, a stuck loop)."""

    def __init__(self, now_ns: int) -> None:
        self._last_ns = now_ns

    def gap_ns(self, now_ns: int) -> int:
        """Time since the last call when it is long enough to count as frozen, else 0."""
        gap, self._last_ns = now_ns - self._last_ns, now_ns
        return gap if gap > FROZEN_AFTER_NS else 0


class LineStop:
    """LineStopRequest and its causes: latched until the PLC sends AckLineStop."""

    def __init__(self, consecutive_rejects: int) -> None:
        """`consecutive_rejects`: so many REJECTs without a PASS between them ask for a stop; 0 never does."""
        self._limit = consecutive_rejects
        self._rejects = 0
        self._outcomes: deque[tuple[int, Outcome]] = deque(maxlen=_REMEMBERED)  # newest last
        self.bits = Status(0)
        self.passed_without_pass = 0

    def armed(self, baseline: int) -> None:
        """Numbers after `baseline` come anew: a PASS of an earlier arming says nothing of these parts."""
        kept = (pair for pair in self._outcomes if seq_distance(baseline, pair[0]) < _REMEMBERED)
        self._outcomes = deque(kept, maxlen=_REMEMBERED)

    def outcome(self, seq: int, outcome: Outcome) -> None:
        """A published outcome. NOT_INSPECTED says nothing about the product and neither counts nor clears."""
        self._outcomes.append((seq, outcome))
        if outcome is Outcome.PASS:
            self._rejects = 0
        elif outcome is Outcome.REJECT:
            self._rejects += 1
            if self._limit and self._rejects >= self._limit:
                self.bits |= Status.LINE_STOP_REQUEST | Status.CONSECUTIVE_REJECTS

    def disposition(self, seq: int, disposition: Disposition) -> str | None:
        """What the gate did: a reject not confirmed, or a part passed without a PASS, asks for a stop.

        The sentence for the journal when it does.
        """
        known = next((outcome for other, outcome in reversed(self._outcomes) if other == seq), None)
        if disposition is Disposition.PASSED and known is not Outcome.PASS:
            self.passed_without_pass += 1
            said = f"its outcome is {known.name}" if known is not None else "it has no outcome"
            text = f"the PLC says that it passed part {seq}, and {said}: find that part, and look at the gate"
        elif disposition is Disposition.MISMATCH:
            text = f"the PLC could not confirm where part {seq} went: find that part, and look at the gate"
        else:
            return None
        self.bits |= Status.LINE_STOP_REQUEST | Status.REJECT_CONFIRM_FAULT
        return text

    def acknowledge(self) -> None:
        """AckLineStop."""
        self._rejects = 0
        self.bits = Status(0)


class ResidualWatch:
    """How far, on average, the cameras' counts lie from the triggers': a slipping counter shows here first.

    Pictures pair within half a minimum pitch; a mean beyond a quarter is on its way to the neighbour.
    """

    def __init__(self, min_pitch_pulses: int) -> None:
        """`min_pitch_pulses`: 0 where pictures do not pair by encoder."""
        self._limit_pulses = min_pitch_pulses / 4
        self._residuals: dict[int, deque[int]] = {}  # by camera, newest last

    def armed(self) -> None:
        """Counts may have been set anew."""
        self._residuals.clear()

    def see(self, camera: int, residual_pulses: int) -> None:
        """One picture's count, less its part's."""
        self._residuals.setdefault(camera, deque(maxlen=_RESIDUALS)).append(residual_pulses)

    @property
    def text(self) -> str:
        """What is wrong, for people; "" while nothing is."""
        if not self._limit_pulses:
            return ""
        for camera, residuals in sorted(self._residuals.items()):
            mean_pulses = sum(residuals) / len(residuals)
            if len(residuals) >= _ENOUGH and abs(mean_pulses) > self._limit_pulses:
                side = "ahead of" if mean_pulses > 0 else "behind"
                return (
                    f"the encoder count of camera {camera} runs more than a quarter pitch"
                    f" ({self._limit_pulses:g} pulses) {side} the PLC's: check both encoder inputs"
                )
        return ""
