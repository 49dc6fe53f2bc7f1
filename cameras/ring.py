# SPDX-License-Identifier: AGPL-3.0-or-later
"""Shared-memory slots between one camera worker, the inspector and the recorder: pixels only, with leases.

A ring is one file of the station's shared-memory folder, mapped by all three processes. Every slot has exactly
one owner at a time, so there is no lock:

    FREE -(worker)-> FILLING -(worker)-> READY -(inspector)-> FREE
                                           `---(inspector)-> ARCHIVE -(recorder)-> FREE

State and generation of a slot live in *one* 8-byte word on a cache line of its own. It is stored whole
(x86-64 and aarch64 store aligned 8-byte words at once), so no reader sees a state of one generation with the
number of another. Each fill raises the generation; whoever holds an older one gets `StaleLease`, never somebody
else's picture.
"""

from __future__ import annotations

import mmap
import os
import struct
from enum import IntEnum
from pathlib import Path

import numpy as np

from inspection.types import StationFault

_MAGIC = b"GSRING\x00\x01"  # name and layout version
_HEADER = struct.Struct("<8sIIQQ")  # magic, slots, reserved, slot_bytes, stride
_PAGE_BYTES = 4096
_LINE_BYTES = 64
_STATE_BITS = 8


class SlotState(IntEnum):
    """Who a slot belongs to, in the low byte of its word."""

    FREE = 0  # the worker may take it
    FILLING = 1  # the worker's
    READY = 2  # the inspector's
    ARCHIVE = 3  # the recorder's


class SlotOwner(IntEnum):
    """The process whose death leaves slots of this state behind."""

    WORKER = SlotState.FILLING
    INSPECTOR = SlotState.READY
    RECORDER = SlotState.ARCHIVE


class StaleLease(Exception):
    """The slot no longer holds the picture that was meant: it was freed, reclaimed or filled again."""


def _word(generation: int, state: SlotState) -> int:
    return generation << _STATE_BITS | state


class Ring:
    """One camera's slots. The supervisor creates the file, everybody else attaches to it by path.

    Which method belongs to which process is written at each; nothing here waits, allocates or copies pixels.
    """

    def __init__(self, path: Path, memory: mmap.mmap) -> None:
        self.path = path
        _, self.slots, _, self.slot_bytes, self._stride = _HEADER.unpack_from(memory, 0)
        self._memory = memory
        self._view = memoryview(memory)
        lines = self._view[_PAGE_BYTES : _PAGE_BYTES + self.slots * _LINE_BYTES]
        self._words = lines.cast("Q")
        self._pixels = np.frombuffer(memory, np.uint8)
        self._first = _pixels_at(self.slots)
        self._next = 0

    @classmethod
    def create(cls, path: Path, slots: int, slot_bytes: int) -> Ring:
        """Make an empty ring (temp file, then rename); StationFault when shared memory is too small for it."""
        stride = -(-slot_bytes // _PAGE_BYTES) * _PAGE_BYTES
        size = _pixels_at(slots) + slots * stride
        temp = path.with_name(path.name + ".new")
        try:
            with temp.open("wb") as f:
                # Reserve now: a page missing later would be a SIGBUS in the middle of a frame.
                os.posix_fallocate(f.fileno(), 0, size)
                f.write(_HEADER.pack(_MAGIC, slots, 0, slot_bytes, stride))
            temp.rename(path)
        except OSError as e:
            temp.unlink(missing_ok=True)
            raise StationFault(
                f"Cannot make the picture ring {path} of {size / 1e6:.0f} MB: {e.strerror}; free shared "
                "memory or lower [[camera]] slots."
            ) from e
        return cls.attach(path)

    @classmethod
    def attach(cls, path: Path) -> Ring:
        """Map an existing ring; StationFault when it is absent or not one of ours."""
        try:
            with path.open("r+b") as f:
                memory = mmap.mmap(f.fileno(), 0)
        except (OSError, ValueError) as e:
            raise StationFault(f"No picture ring at {path}: is the station running? ({e})") from e
        if memory[: len(_MAGIC)] != _MAGIC:
            memory.close()
            raise StationFault(f"{path} is not a picture ring of this version: stop the old station first.")
        return cls(path, memory)

    # --- anyone
    def state(self, slot: int) -> SlotState:
        """What the slot is now."""
        return SlotState(self._load(slot) & 0xFF)

    def generation(self, slot: int) -> int:
        """How often the slot was filled or reclaimed."""
        return self._load(slot) >> _STATE_BITS

    def pixels(self, slot: int) -> np.ndarray:
        """Whole slot, uint8 (slot_bytes,), a view. Its owner alone may touch it."""
        start = self._first + slot * self._stride
        return self._pixels[start : start + self.slot_bytes]

    def found(self, state: SlotState) -> tuple[tuple[int, int], ...]:
        """(slot, generation) of every slot in this state now."""
        words = [(slot, self._load(slot)) for slot in range(self.slots)]
        return tuple((slot, word >> _STATE_BITS) for slot, word in words if word & 0xFF == state)

    # --- the camera worker
    def acquire(self) -> int | None:
        """Take a free slot for filling; None when there is none (the frame is then lost, and counted)."""
        for step in range(self.slots):
            slot = (self._next + step) % self.slots
            word = self._load(slot)
            if word & 0xFF == SlotState.FREE:
                self._next = (slot + 1) % self.slots
                self._store(slot, _word((word >> _STATE_BITS) + 1, SlotState.FILLING))
                return slot
        return None

    def publish(self, slot: int) -> int:
        """The filled slot now belongs to the inspector; its generation goes along in the message."""
        generation = self._load(slot) >> _STATE_BITS
        self._move(slot, generation, SlotState.FILLING, SlotState.READY)
        return generation

    def abandon(self, slot: int) -> None:
        """Give a slot back that was being filled, or was published to an inspector who was never told."""
        word = self._load(slot)
        if word & 0xFF not in {SlotState.FILLING, SlotState.READY}:
            raise StaleLease(f"slot {slot} of {self.path.name} is not the worker's any more")
        self._store(slot, _word(word >> _STATE_BITS, SlotState.FREE))

    # --- the inspector and the recorder
    def lease(self, slot: int, generation: int) -> np.ndarray:
        """Pixels of one exposure, uint8 (slot_bytes,), a view; StaleLease when they are gone.

        The lease holds until `free` or `hand_over`. It can be taken away only after the holder's death.
        """
        if not self.valid(slot, generation):
            raise StaleLease(f"slot {slot} of {self.path.name} no longer holds generation {generation}")
        return self.pixels(slot)

    def valid(self, slot: int, generation: int) -> bool:
        """Whether the slot still holds that exposure; ask again after reading pixels that must not be torn."""
        if not 0 <= slot < self.slots:
            return False
        word = self._load(slot)
        return word >> _STATE_BITS == generation and word & 0xFF in {SlotState.READY, SlotState.ARCHIVE}

    def hand_over(self, slot: int, generation: int) -> None:
        """Inspector: the slot now belongs to the recorder. StaleLease when it was not the inspector's."""
        self._move(slot, generation, SlotState.READY, SlotState.ARCHIVE)

    def free(self, slot: int, generation: int) -> None:
        """End a lease; StaleLease when there was none (a second `free`, or a reclaimed slot)."""
        if not self.valid(slot, generation):
            raise StaleLease(f"slot {slot} of {self.path.name} no longer holds generation {generation}")
        self._store(slot, _word(generation, SlotState.FREE))

    # --- the supervisor
    def reclaim(self, owner: SlotOwner) -> int:
        """After `owner` died: its slots are free again, every lease on them is stale. How many there were."""
        taken = 0
        for slot in range(self.slots):
            word = self._load(slot)
            if word & 0xFF == owner:
                self._store(slot, _word((word >> _STATE_BITS) + 1, SlotState.FREE))
                taken += 1
        return taken

    def close(self) -> None:
        """Unmap; the file stays. Pixel views still held keep the memory mapped until they go."""
        self._words.release()
        self._view.release()
        self._pixels = np.empty(0, np.uint8)
        try:
            self._memory.close()
        except BufferError:
            pass  # a view is still out; the mapping goes with it

    def _load(self, slot: int) -> int:
        return self._words[slot * (_LINE_BYTES // 8)]

    def _store(self, slot: int, word: int) -> None:
        self._words[slot * (_LINE_BYTES // 8)] = word

    def _move(self, slot: int, generation: int, before: SlotState, after: SlotState) -> None:
        if self._load(slot) != _word(generation, before):
            raise StaleLease(f"slot {slot} of {self.path.name} is not {before.name} in generation {generation}")
        self._store(slot, _word(generation, after))


def _pixels_at(slots: int) -> int:
    lines = -(-slots * _LINE_BYTES // _PAGE_BYTES) * _PAGE_BYTES
    return _PAGE_BYTES + lines
