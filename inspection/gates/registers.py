# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""The register image of the line contract, version 1: what the station shows and what the PLC wrote. Pure.

Addresses, status bits and slot layouts stand here once, for every adapter and for the tests. The protocol
files (modbus.py and its neighbours) move bytes and know no meaning; `plc_rings.py` reads the PLC's rings.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag

from inspection.counting import previous_seq
from inspection.types import Outcome, StationState

MAP_VERSION = 1
INPUT_COUNT = 80
HOLDING_COUNT = 65

VERDICT_RING_AT = 16
VERDICT_SLOTS = 16
VERDICT_WORDS = 4  # seq, epoch, verdict, check


class Input(IntEnum):
    """Input registers, station -> PLC (FC04)."""

    MAP_VERSION = 0
    HEARTBEAT = 1
    STATUS = 2
    EPOCH = 3
    STATE = 4
    ERROR_CODE = 5
    RECIPE_ID = 6
    RECIPE_CRC = 7
    TRIGGER_ACK_SEQ = 8
    EXPOSURE_DONE_SEQ = 9
    NEWEST_SEQ = 10
    OLDEST_SEQ = 11
    LAST_MARGIN_MS = 12
    LATE_COUNT = 13
    MISSED_TRIGGER_COUNT = 14
    DUPLICATE_COUNT = 15


class Status(IntFlag):
    """Bits of `Input.STATUS`."""

    READY = 1 << 0
    ONLINE = 1 << 1
    TRIGGER_READY = 1 << 2
    BUSY = 1 << 3
    RECIPE_OK = 1 << 4
    WARNING = 1 << 5
    ERROR = 1 << 6
    RESYNC_NEEDED = 1 << 7
    TEST = 1 << 8
    RING_OVERRUN = 1 << 9
    MISSED_TRIGGER = 1 << 10
    LINE_STOP_REQUEST = 1 << 11
    BIN_FULL = 1 << 12
    REJECT_CONFIRM_FAULT = 1 << 13
    CONSECUTIVE_REJECTS = 1 << 14
    SIMULATED = 1 << 15


class Holding(IntEnum):
    """Holding registers, PLC -> station (FC06, FC16, FC23)."""

    PLC_HEARTBEAT = 0
    CONTROL = 1
    EPOCH_ECHO = 2
    NEWEST_TRIGGER_SEQ = 3
    ACK_SEQ = 4
    RECIPE_REQUEST = 5
    SPEED_MM_S = 6
    NEWEST_OUTCOME_SEQ = 7
    TRIGGER_RING = 8
    DISPOSITION_RING = 40
    PART_ID_SEQ = 56
    PART_ID = 57


class Control(IntFlag):
    """Bits of `Holding.CONTROL`."""

    ARM = 1 << 0
    RESET_ERROR = 1 << 1
    PREPARE_RECIPE = 1 << 2
    TEST = 1 << 3
    RESYNC = 1 << 4
    ACK_LINE_STOP = 1 << 5
    HALT = 1 << 6


def verdict_check(seq: int, epoch: int, verdict: int) -> int:
    """The check word that makes a torn, stale or blank verdict slot recognisable."""
    return seq ^ epoch ^ verdict


def _verdict_slot(seq: int) -> int:
    """Address of the slot that belongs to a sequence number."""
    return VERDICT_RING_AT + VERDICT_WORDS * (seq % VERDICT_SLOTS)


class RegisterImage:
    """All registers of one station, owned by the gate's loop.

    Input registers change only through `store`, one word at a time in the contract's write order, so that even
    a reader without atomic snapshots sees each slot whole or recognisably torn. `input_bytes` is the atomic
    snapshot that FC04 serves. Holding registers are the PLC's: the station never writes them.
    """

    def __init__(self, *, epoch: int, simulated: bool = False) -> None:
        self._input = [0] * INPUT_COUNT
        self._input_bytes: bytes | None = None
        self._holding = [0] * HOLDING_COUNT
        self._epoch = epoch
        self.store(Input.MAP_VERSION, MAP_VERSION)
        self.store(Input.EPOCH, epoch)
        self.store(Input.STATE, StationState.PREOPERATIONAL)
        self.status(Status.SIMULATED, on=simulated)

    # --- input registers: the station writes, the PLC reads
    def store(self, address: int, value: int) -> None:
        """Write one input word (low 16 bits count)."""
        word = value & 0xFFFF
        if self._input[address] != word:
            self._input[address] = word
            self._input_bytes = None

    def read(self, address: int) -> int:
        """One input word."""
        return self._input[address]

    def input_bytes(self) -> bytes:
        """All input registers, big-endian, as one immutable snapshot; rebuilt only after a change."""
        if self._input_bytes is None:
            self._input_bytes = struct.pack(f">{INPUT_COUNT}H", *self._input)
        return self._input_bytes

    def status(self, bits: Status, *, on: bool) -> None:
        """Set or clear status bits."""
        word = self._input[Input.STATUS]
        self.store(Input.STATUS, word | bits if on else word & ~bits)

    def beat(self) -> None:
        """Advance the station's heartbeat; called every 50 ms by the loop that decides."""
        self.store(Input.HEARTBEAT, self._input[Input.HEARTBEAT] + 1)

    def publish(self, seq: int, outcome: Outcome) -> None:
        """Announce one outcome: payload, then check, then newest_seq, so that no reader trusts half of it."""
        at = _verdict_slot(seq)
        self.store(at + 2, outcome)
        self.store(at + 1, self._epoch)
        self.store(at, seq)
        self.store(at + 3, verdict_check(seq, self._epoch, outcome))
        self.store(Input.OLDEST_SEQ, self._oldest_seq(seq))
        self.store(Input.NEWEST_SEQ, seq)

    def clear_verdicts(self) -> None:
        """Empty the verdict ring; done before each arming.

        After a resync the PLC may count from an earlier number again. A PASS that this epoch gave to that
        number before would then be read as the verdict on another part.
        """
        self.store(Input.NEWEST_SEQ, 0)
        self.store(Input.OLDEST_SEQ, 0)
        for address in range(VERDICT_RING_AT, INPUT_COUNT):
            self.store(address, 0)

    def _oldest_seq(self, newest: int) -> int:
        """The oldest number that the ring still holds in an unbroken run back from `newest`."""
        oldest = newest
        for _ in range(VERDICT_SLOTS):
            before = previous_seq(oldest)
            if self._input[_verdict_slot(before)] != before:
                break
            oldest = before
        return oldest

    # --- holding registers: the PLC writes, the station reads
    def write_holding(self, address: int, words: Sequence[int]) -> None:
        """Take the PLC's words; IndexError (and nothing written) outside 0..64."""
        if address < 0 or address + len(words) > HOLDING_COUNT:
            raise IndexError(f"holding registers {address}..{address + len(words) - 1} are outside the map")
        self._holding[address : address + len(words)] = words

    def holding(self) -> tuple[int, ...]:
        """All holding registers as they stand."""
        return tuple(self._holding)

    def holding_bytes(self) -> bytes:
        """All holding registers, big-endian (FC03)."""
        return struct.pack(f">{HOLDING_COUNT}H", *self._holding)
