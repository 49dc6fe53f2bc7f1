# SPDX-License-Identifier: AGPL-3.0-or-later
"""The status board: one shared page where each process writes its own row and everyone may read.

A row has one writer (the process it names), so no lock is needed: each cell is an aligned 8-byte word,
which x86-64 and aarch64 store whole. Heartbeats are monotonic nanoseconds; a reader decides what is stale.
The gate watches cameras and inspector here, the supervisor watches everybody, the console shows it.
"""

from __future__ import annotations

import json
import mmap
import os
import time
from enum import IntEnum
from pathlib import Path

from inspection.types import StationFault

_MAGIC = 0x4753_424F_4152_4401  # "GSBOARD" + layout version 1
_HEADER_BYTES = 4096
_WORDS = 64
_TEXT_BYTES = 512
_ROW_BYTES = _WORDS * 8 + _TEXT_BYTES
_FIRST_COUNTER = 8


class ProcessState(IntEnum):
    """What a process says of itself."""

    DOWN = 0
    STARTING = 1
    READY = 2  # can do its work now
    DEGRADED = 3  # alive, but something it needs is missing (camera lost, disk full)
    FAULT = 4  # about to stop; the text says why


class CameraCounter(IntEnum):
    """Counter cells of a camera row; the accounting closes: TRIGGERS = DELIVERED + ... + UNEXPLAINED_ID_GAP."""

    TRIGGERS = 0
    DELIVERED = 1
    RING_FULL = 2
    INCOMPLETE = 3
    UNDERRUN = 4
    MISSED = 5
    UNEXPLAINED_ID_GAP = 6
    UNHEALTHY = 7
    RECONNECTS = 8
    LAST_FRAME_ID = 9
    LAST_EXPOSURE_NS = 10
    MEAN_GREY_MILLI = 11
    FOCUS_MILLI = 12
    LINK_DROPPED = 13
    FETCH_CPU_NS = 14


class InspectorCounter(IntEnum):
    """Counter cells of the inspector row."""

    FRAMES = 0
    BATCHES = 1
    INFERENCES = 2
    SHED = 3
    ENGINE_FAULTS = 4
    ENGINE_BUSY_NS = 5
    UNPAIRED_FRAMES = 6
    JUDGED = 7
    IMAGES_HANDED = 8
    IMAGES_SHED = 9
    LINK_DROPPED = 10
    ENGINE_THREADS = 11
    SHADOW_SENT = 12  # parts copied for the shadow
    SHADOW_DROPPED = 13  # parts that were not: no time, or no room


class GateCounter(IntEnum):
    """Counter cells of the gate row; TRIGGERS = PASS + REJECT + NOT_INSPECTED + IN_FLIGHT at every moment."""

    TRIGGERS = 0
    PASS = 1
    REJECT = 2
    NOT_INSPECTED = 3
    IN_FLIGHT = 4
    EPOCH = 5
    STATION_STATE = 6
    ARMED = 7
    LATE = 8
    MISSED_TRIGGERS = 9
    DUPLICATES = 10
    PLC_ALIVE = 11
    NEWEST_SEQ = 12
    JOURNAL_RECORDS = 13
    JOURNAL_SYNC_NS_LAST = 14
    JOURNAL_SYNC_NS_MAX = 15
    LAST_MARGIN_MS = 16
    REFUSED_CONNECTIONS = 17
    MODBUS_PORT = 18
    PASSED_WITHOUT_PASS = 19  # parts that the PLC says it passed and that have no published PASS


class ShadowCounter(IntEnum):
    """Counter cells of the shadow row."""

    WANTS = 0  # 1 while a candidate is loaded
    JUDGED = 1
    DISAGREED = 2
    FAULTS = 3
    DROPPED = 4  # answers that the recorder had no room for


class RecorderCounter(IntEnum):
    """Counter cells of the recorder row."""

    RECORDS = 0
    LAG_BYTES = 1
    IMAGES_STORED = 2
    IMAGES_SHED = 3
    PREVIEWS = 4
    DISK_FREE_MB = 5
    RETRIES = 6


class Row:
    """One process's row. Only the process it names may call the writing methods."""

    def __init__(self, board: Board, name: str, index: int) -> None:
        self.name = name
        self._text_at = _HEADER_BYTES + index * _ROW_BYTES + _WORDS * 8
        first = (_HEADER_BYTES + index * _ROW_BYTES) // 8
        self._words = board.words[first : first + _WORDS]
        self._bytes = board.memory

    # --- writing (owner only)
    def claim(self, state: ProcessState = ProcessState.STARTING) -> None:
        """Take the row for this process: a new incarnation, counters at zero."""
        for i in range(_FIRST_COUNTER, _WORDS):
            self._words[i] = 0
        self._words[0] = os.getpid()
        self._words[1] += 1
        self.report(state, "")
        self.beat()

    def beat(self, now_ns: int | None = None) -> None:
        """Say "alive" at now_ns (monotonic)."""
        self._words[2] = time.monotonic_ns() if now_ns is None else now_ns

    def report(self, state: ProcessState, text: str = "") -> None:
        """State and one sentence for people. Who says READY is alive: without that beat a start that took
        longer than the running limit would look like a process that hangs the moment it is ready.
        """
        if state is ProcessState.READY:
            self.beat()
        raw = text.encode()[: _TEXT_BYTES - 1]
        self._bytes[self._text_at : self._text_at + _TEXT_BYTES] = raw.ljust(_TEXT_BYTES, b"\0")
        self._words[3] = int(state)

    def set(self, counter: IntEnum, value: int) -> None:
        """Write one counter cell."""
        self._words[_FIRST_COUNTER + counter] = value

    def add(self, counter: IntEnum, value: int = 1) -> None:
        """Add to one counter cell."""
        self._words[_FIRST_COUNTER + counter] += value

    # --- reading (anyone)
    @property
    def pid(self) -> int:
        """Process id of the present incarnation, 0 before the first."""
        return self._words[0]

    @property
    def incarnation(self) -> int:
        """How often this row was claimed."""
        return self._words[1]

    @property
    def heartbeat_ns(self) -> int:
        """Monotonic instant of the last beat."""
        return self._words[2]

    def age_ns(self, now_ns: int) -> int:
        """How long ago the last beat was."""
        return now_ns - self._words[2]

    @property
    def state(self) -> ProcessState:
        """Last reported state."""
        return ProcessState(self._words[3])

    @property
    def text(self) -> str:
        """Last reported sentence."""
        raw = bytes(self._bytes[self._text_at : self._text_at + _TEXT_BYTES])
        return raw.split(b"\0", 1)[0].decode(errors="replace")

    def get(self, counter: IntEnum) -> int:
        """Read one counter cell."""
        return self._words[_FIRST_COUNTER + counter]

    def release(self) -> None:
        """Drop the view so that the board's memory can be unmapped."""
        self._words.release()


class Board:
    """The shared page. The supervisor creates it, others attach by path; rows are looked up by name."""

    def __init__(self, path: Path, names: list[str], memory: mmap.mmap) -> None:
        self.path = path
        self.names = names
        self.memory = memory
        self._view = memoryview(memory)
        self.words = self._view.cast("q")
        self._rows = {name: Row(self, name, i) for i, name in enumerate(names)}

    @classmethod
    def create(cls, path: Path, names: list[str]) -> Board:
        """Make a fresh board (temp file, then rename, so that no reader sees half of one)."""
        header = json.dumps({"names": names}).encode()
        if len(header) > _HEADER_BYTES - 16:
            raise StationFault(f"Too many processes for one status board ({len(names)}): use fewer cameras.")
        size = _HEADER_BYTES + len(names) * _ROW_BYTES
        temp = path.with_suffix(".new")
        with temp.open("wb") as f:
            f.write(_MAGIC.to_bytes(8, "little") + len(header).to_bytes(8, "little") + header)
            f.truncate(size)
        temp.rename(path)
        return cls.attach(path)

    @classmethod
    def attach(cls, path: Path) -> Board:
        """Map an existing board; StationFault when it is absent or not one of ours."""
        try:
            with path.open("r+b") as f:
                memory = mmap.mmap(f.fileno(), 0)
        except (OSError, ValueError) as e:
            raise StationFault(f"No status board at {path}: is the station running? ({e})") from e
        if int.from_bytes(memory[:8], "little") != _MAGIC:
            memory.close()
            raise StationFault(f"{path} is not a status board of this version: stop the old station first.")
        length = int.from_bytes(memory[8:16], "little")
        return cls(path, json.loads(memory[16 : 16 + length])["names"], memory)

    def row(self, name: str) -> Row:
        """The row of one process; KeyError for a name that is not on the board."""
        return self._rows[name]

    def close(self) -> None:
        """Unmap; the file stays."""
        for row in self._rows.values():
            row.release()
        self.words.release()
        self._view.release()
        self.memory.close()
