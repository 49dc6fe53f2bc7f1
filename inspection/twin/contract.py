# SPDX-License-Identifier: AGPL-3.0-or-later
"""The PLC's own reading of the line contract, version 1: register numbers and words, written from its text.

Deliberately not shared with the station: where the two readings differ, the simulated line shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

# Input registers, station -> PLC
INPUT_REGISTERS = 80
IN_MAP_VERSION = 0
IN_HEARTBEAT = 1
IN_STATUS = 2
IN_EPOCH = 3
IN_STATE = 4
IN_ERROR_CODE = 5
IN_TRIGGER_ACK_SEQ = 8
IN_NEWEST_SEQ = 10
IN_VERDICTS = 16
VERDICT_SLOTS = 16

STATUS_READY = 1 << 0
STATUS_RESYNC_NEEDED = 1 << 7

VERDICT_PASS = 0xA55A
VERDICT_REJECT = 0x5AA5
VERDICT_NOT_INSPECTED = 0x3CC3
VERDICTS = (VERDICT_PASS, VERDICT_REJECT, VERDICT_NOT_INSPECTED)

STATE_ERROR = 3
STATE_INITIALIZED = 5
STATE_READY = 6
STATE_CONTINUOUS = 8

# Holding registers, PLC -> station
HOLDING_WRITTEN = 56  # 0..55 in one FC16: the newest number and its slot arrive together
OUT_HEARTBEAT = 0
OUT_CONTROL = 1
OUT_EPOCH_ECHO = 2
OUT_NEWEST_TRIGGER = 3
OUT_ACK_SEQ = 4
OUT_SPEED_MM_S = 6
OUT_NEWEST_OUTCOME = 7
OUT_TRIGGERS = 8
TRIGGER_SLOTS = 8
OUT_DISPOSITIONS = 40
DISPOSITION_SLOTS = 8

CONTROL_ARM = 1 << 0
CONTROL_RESET_ERROR = 1 << 1
CONTROL_PREPARE_RECIPE = 1 << 2
CONTROL_RESYNC = 1 << 4

PASSED = 1
DIVERTED_CONFIRMED = 2
DIVERTED_BY_GATE = 4

HEARTBEAT_LIMIT_NS = 200_000_000
LAST_SEQ = 0xFFFF


def next_seq(seq: int) -> int:
    """The number after `seq`: 1..65535 and then 1 again, never 0."""
    return 1 if seq >= LAST_SEQ else seq + 1


def forward_distance(older: int, newer: int) -> int:
    """How many steps of `next_seq` lead from older to newer, 0..65534; both 1..65535."""
    return (newer - older) % LAST_SEQ


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictWord:
    """One verdict ring slot that keeps its promise: right slot, right check, a known word."""

    seq: int
    epoch: int
    verdict: int


def read_slot(slot: int, words: tuple[int, int, int, int]) -> VerdictWord | None:
    """A valid verdict, or None: zeros, ones, stale or torn memory never read as one."""
    seq, epoch, verdict, check = words
    if seq == 0 or epoch == 0 or seq % VERDICT_SLOTS != slot:
        return None
    if verdict not in VERDICTS or check != seq ^ epoch ^ verdict:
        return None
    return VerdictWord(seq=seq, epoch=epoch, verdict=verdict)


def slot_words(image: tuple[int, ...], slot: int) -> tuple[int, int, int, int]:
    """The four words of one verdict ring slot in an input image of 80."""
    first = IN_VERDICTS + 4 * slot
    return image[first], image[first + 1], image[first + 2], image[first + 3]
