# SPDX-License-Identifier: AGPL-3.0-or-later
"""The vocabulary of the station. Imports nothing of ours; read this file first.

A *trigger* creates a `PartRef` with a deadline. Cameras deliver one `FrameRef` a view. A detector turns
frames into `Finding`s, the rules turn findings into one `Verdict`, and the gate publishes one `Outcome`
for (epoch, seq) before the deadline. Silence is reject: whatever is late, lost, torn or unknown ends as
`Outcome.NOT_INSPECTED` with a `Reason`, never as PASS.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NewType

Epoch = NewType("Epoch", int)
"""Random number, 1..65535, new at every start of the gate. A verdict of another epoch changes nothing."""
Seq = NewType("Seq", int)
"""Trigger number of the PLC, 1..65535 and then 1 again; 0 is never used."""
Ordinal = NewType("Ordinal", int)
"""The gate's own count of parts since its start; never wraps, so it names a part without ambiguity."""


class Outcome(IntEnum):
    """What the station says of a part; values are the Modbus words of the line contract."""

    PASS = 0xA55A
    REJECT = 0x5AA5
    NOT_INSPECTED = 0x3CC3


class Disposition(IntEnum):
    """What the gate did with a part, as the PLC reports it (line contract, holding registers 40..55)."""

    PASSED = 1
    DIVERTED_CONFIRMED = 2
    MISMATCH = 3
    DIVERTED_BY_GATE = 4


class Reason(str, Enum):
    """Why an outcome is what it is. Closed set, shown to operators, stored in the journal."""

    NONE = "none"
    # REJECT
    DEFECT = "defect"
    # NOT_INSPECTED: the part's own pictures
    FRAME_MISSING = "frame_missing"
    FRAME_LOST = "frame_lost"  # no free ring slot
    FRAME_INCOMPLETE = "frame_incomplete"
    FRAME_UNHEALTHY = "frame_unhealthy"  # dark, saturated, blurred, frozen
    PAIRING_AMBIGUOUS = "pairing_ambiguous"
    PAIRING_MISMATCH = "pairing_mismatch"  # the gate's own check of the encoder counts failed
    PAIRING_TIME = "pairing_time"  # right place by the encoder, wrong instant by the clock
    # NOT_INSPECTED: time
    DEADLINE_MISSED = "deadline_missed"
    SHED = "shed"  # given up before inference: it could not have finished in time
    JOURNAL_LATE = "journal_late"  # PASS was decided, its record was not on disk in time
    # NOT_INSPECTED: the line
    TRIGGER_MISSED = "trigger_missed"
    TRIGGER_LATE = "trigger_late"  # told too late: the part may have left the place where it is photographed
    PITCH_TOO_SMALL = "pitch_too_small"
    RESYNC = "resync"
    ENCODER_FAULT = "encoder_fault"
    PLC_LOST = "plc_lost"
    HALTED = "halted"
    # NOT_INSPECTED: the station
    ENGINE_FAULT = "engine_fault"  # raised, or returned nonsense
    ENGINE_HUNG = "engine_hung"
    INSPECTOR_LOST = "inspector_lost"
    CAMERA_LOST = "camera_lost"
    JOURNAL_FAULT = "journal_fault"
    RECIPE_CHANGED = "recipe_changed"
    BUNDLE_CHANGED = "bundle_changed"  # judged by another bundle than the one that was in use at its trigger
    VERDICT_CONFLICT = "verdict_conflict"
    RESTART = "restart"


class StationState(IntEnum):
    """State numbers of OPC 40100-1, as in input register 4."""

    PREOPERATIONAL = 1
    HALTED = 2
    ERROR = 3
    OPERATIONAL = 4
    INITIALIZED = 5
    READY = 6
    SINGLE_EXECUTION = 7
    CONTINUOUS_EXECUTION = 8


class StationFault(Exception):
    """Stops the process. The message is one sentence: what, where (file, line or field), and the remedy."""


class PartFault(Exception):
    """Makes one part NOT_INSPECTED; the station goes on."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Half-open rectangle in original image pixels: x0 <= x < x1, y0 <= y < y1."""

    x0_px: float
    y0_px: float
    x1_px: float
    y1_px: float

    @property
    def width_px(self) -> float:
        """Horizontal extent."""
        return self.x1_px - self.x0_px

    @property
    def height_px(self) -> float:
        """Vertical extent."""
        return self.y1_px - self.y0_px

    @property
    def size_px(self) -> float:
        """Largest extent: the size a quality engineer speaks of."""
        return max(self.width_px, self.height_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a detector saw in one view: one candidate defect, before any rule."""

    defect_class: str
    score: float  # 0..1
    box: Box
    camera: int = 0  # index of the view


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """One exposure, lying in a slot of its camera's ring; valid while (slot, generation) is leased."""

    camera: int
    slot: int
    generation: int
    frame_id: int
    encoder_pulses: int | None  # latched at the trigger edge, unsigned 32 bit
    exposure_ns: int  # monotonic clock; when the frame reached us where `stamped` is False
    ready_ns: int  # monotonic clock, slot filled
    width_px: int
    height_px: int
    pixel_format: int  # PFNC code
    unhealthy: tuple[str, ...] = ()  # names of the health limits this frame broke
    stamped: bool = True  # False: the camera has no clock that maps to ours; nobody knows when it exposed


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRef:
    """One object on the belt, created by its trigger, whether or not a picture ever comes."""

    ordinal: Ordinal
    epoch: Epoch
    seq: Seq
    encoder_pulses: int  # latched by the PLC at the same edge, unsigned 32 bit
    trigger_ns: int  # monotonic; never later than the true edge
    deadline_ns: int  # monotonic
    edge_spread_ns: int = 0  # the true edge lies in trigger_ns .. trigger_ns + this


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rules decided of a part, all views together. Not yet an outcome: the gate has the last word."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    findings: tuple[Finding, ...] = ()
    rejected_by: tuple[str, ...] = ()  # defect classes (or rule names) that broke a limit
