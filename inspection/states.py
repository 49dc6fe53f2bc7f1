# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""The station's states and the one table of their changes, shared by every adapter. Pure.

State numbers are those of OPC 40100-1 (`StationState`). A fault of one part changes no state, and no
verdict is ever inferred from one. The table is the whole truth: what is not in it does not happen.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType

from inspection.types import StationState


class Event(str, Enum):
    """What may move the station from one state to another."""

    DEVICES_FOUND = "devices_found"  # every process has reported once: cameras, engine, journal
    PREPARED = "prepared"  # recipe loaded, camera settings read back, everything ready
    UNPREPARED = "unprepared"  # another recipe is asked for
    ARMED = "armed"  # Arm accepted; see `arming_refusal`
    DISARMED = "disarmed"  # the PLC took Arm back, or the line must re-arm after a resync
    DEVICE_LOST = "device_lost"  # a camera, the engine or the PLC
    STATION_FAULT = "station_fault"  # journal or registers
    ERROR_RESET = "error_reset"
    HALTED = "halted"


_S = StationState
_E = Event

TRANSITIONS = MappingProxyType(
    {
        (_S.PREOPERATIONAL, _E.DEVICES_FOUND): _S.INITIALIZED,
        (_S.INITIALIZED, _E.PREPARED): _S.READY,
        (_S.READY, _E.ARMED): _S.CONTINUOUS_EXECUTION,
        (_S.CONTINUOUS_EXECUTION, _E.DISARMED): _S.READY,
        (_S.READY, _E.UNPREPARED): _S.INITIALIZED,
        # A lost device: settings are read back before Ready, and only the PLC or a person arms again.
        (_S.READY, _E.DEVICE_LOST): _S.INITIALIZED,
        (_S.CONTINUOUS_EXECUTION, _E.DEVICE_LOST): _S.INITIALIZED,
        # Error never leads straight back to execution.
        (_S.PREOPERATIONAL, _E.STATION_FAULT): _S.ERROR,
        (_S.INITIALIZED, _E.STATION_FAULT): _S.ERROR,
        (_S.READY, _E.STATION_FAULT): _S.ERROR,
        (_S.CONTINUOUS_EXECUTION, _E.STATION_FAULT): _S.ERROR,
        (_S.ERROR, _E.ERROR_RESET): _S.INITIALIZED,
        # Halted is left by a reset only, and from the very beginning (OPC 40100-1).
        (_S.PREOPERATIONAL, _E.HALTED): _S.HALTED,
        (_S.INITIALIZED, _E.HALTED): _S.HALTED,
        (_S.READY, _E.HALTED): _S.HALTED,
        (_S.CONTINUOUS_EXECUTION, _E.HALTED): _S.HALTED,
        (_S.ERROR, _E.HALTED): _S.HALTED,
        (_S.HALTED, _E.ERROR_RESET): _S.PREOPERATIONAL,
    }
)


class StateMachine:
    """Where the station is. The owner fires events; whether one applies is the table's affair alone."""

    def __init__(self, state: StationState = StationState.PREOPERATIONAL) -> None:
        self._state = state

    @property
    def state(self) -> StationState:
        """The present state, as in input register 4."""
        return self._state

    @property
    def executing(self) -> bool:
        """Whether triggers count now."""
        return self._state is StationState.CONTINUOUS_EXECUTION

    def fire(self, event: Event) -> bool:
        """Take the event; False, and no change, where the table has no such line."""
        target = TRANSITIONS.get((self._state, event))
        if target is None:
            return False
        self._state = target
        return True


def arming_refusal(*, state: StationState, epoch: int, epoch_echo: int, plc_alive: bool) -> str | None:
    """Why a rising edge of control.Arm is refused now, in one sentence for people; None when it is accepted.

    A refused edge is not remembered: the PLC has to take Arm back and set it again. The echoed epoch proves
    that the PLC has read *this* start of the station, so that nothing it counted before can be judged.
    """
    if state is not StationState.READY:
        return f"Arm refused: the station is {state.name}, not READY."
    if epoch_echo != epoch:
        return f"Arm refused: epoch_echo is {epoch_echo}, the station's epoch is {epoch}."
    if not plc_alive:
        return "Arm refused: the PLC's heartbeat does not change."
    return None
