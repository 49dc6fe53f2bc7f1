# SPDX-License-Identifier: AGPL-3.0-or-later
"""The feed: how another process shows a simulated camera pictures, and pulls its trigger, encoder and plug.

What exactly happens
--------------------
One file `<LINESIM_DIR>/<serial>.feed` a camera: one writer (this class), one reader (the producer in the
process that has the camera open; the producer keeps a second one out). Either side may die and come back.

*A push is a trigger edge.* With TriggerMode=On and TriggerSource=Line0 (or Encoder0), each `push` is one edge
on the camera's trigger line, at the instant `push` was called (CLOCK_MONOTONIC, kept in the slot). It brings
the picture that the sensor would see and the encoder count latched by that edge. The frame's timestamp, its
chunk and its event carry that instant (plus TriggerDelay), whatever the machine does meanwhile.

*An edge is taken, missed or lost*, each counted:
- missed: it came while the camera was still exposing or reading out (edge to edge less than ExposureTime +
  SimReadoutTime, or than 1/AcquisitionFrameRate where that is enabled), or the ring was full. The camera
  counts it in Counter0 and TriggerMissedCount and sends FrameTriggerMissed. Nothing is queued, no frame id is
  used. With SimMissWhenBusy=False it waits instead (back-pressure, for tests).
- lost: the camera was not acquiring at that instant. No camera delivers stale pictures after a start: no
  counter of the camera moves; `edges_lost` of the feed does (`edges_refused` where the ring was full as
  well).
- taken: one frame id, and one buffer unless a fault or a lack of buffers (underrun) takes it.

*The belt never waits.* When the ring is full (reader dead, or stopped, or `slots` frames behind) `push` drops
the edge, counts it in `edges_refused` and returns False. `wait_s` waits for a free slot instead; only tests
should.

*Without a line trigger* (TriggerMode=Off, or Software) a push only changes the scene: the camera exposes the
newest picture until a newer one comes, with the encoder count of that moment (`set_encoder`, or that of the
last push).

*Faults.* `push(..., drop=True)` and `incomplete=True` belong to that very frame, so that a seeded twin
decides which frames are hit, whatever the timing: dropped = the frame id is used up, no buffer comes;
incomplete = half a picture, no chunks. `drop_next(n)` and `incomplete_next(n)` hit the next n frames.
`slow_ms` delays delivery without lowering the rate (keep slots > rate x delay). `frozen` repeats the last
picture while ids, times and encoder go on. `device_lost()` pulls the plug: the open session is dead for good,
the camera leaves the device list; `device_back()` puts it back for a new opening.

*Time to attach.* The producer looks for the file every 20 ms while the stream runs. Create the feed first,
then start the camera, then wait for `acquiring`: from then on every push is an edge. A feed that is created
anew under the same name is found within 20 ms too; edges pushed into a fresh ring before that are still
taken.

Pictures: uint8 (height, width), uint16 (height, width) at full scale 65535, or uint8 RGB (height, width, 3).
The camera converts to its PixelFormat (a Bayer format samples the RGB picture) and cuts out its region of
interest; what the picture does not cover is black.

Stores of the writer must become visible in program order. That is so on x86-64 and is not promised on other
machines, where the simulator is a best effort (the producer checks each slot's sequence number and counts a
torn one as lost).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from inspection.types import StationFault

MAGIC = b"LSIMFEED"
VERSION = 1
HEADER_BYTES = 4096
SLOT_HEADER_BYTES = 64
FLAG_DROP = 1
FLAG_INCOMPLETE = 2

Samples = Literal["grey8", "grey16", "rgb8"]
_SAMPLES: dict[str, int] = {"grey8": 1, "grey16": 2, "rgb8": 3}

# magic, version, header_bytes, width, height, samples, slots, slot_bytes, writer_wakes
_HEADER = struct.Struct("<8sIIIIIIQI")
# encoder, edge_ns, flags, sequence
_SLOT = struct.Struct("<qQII")

# Offset and numpy type of every live word; producer/feed_layout.h has the same.
LAYOUT: dict[str, tuple[int, str]] = {
    "write_seq": (64, "<u4"),
    "refused": (72, "<u8"),
    "encoder": (80, "<i8"),
    "lost": (88, "<u4"),
    "back_count": (92, "<u4"),
    "slow_ms": (96, "<u4"),
    "frozen": (100, "<u4"),
    "drop_requested": (104, "<u8"),
    "incomplete_requested": (112, "<u8"),
    "read_seq": (128, "<u4"),
    "acquiring": (132, "<u4"),
    "camera_pid": (136, "<u4"),
    "drop_done": (144, "<u8"),
    "incomplete_done": (152, "<u8"),
    "edges_accepted": (160, "<u8"),
    "edges_missed": (168, "<u8"),
    "edges_lost": (176, "<u8"),
}

_FUTEX_CALL = {"x86_64": 202, "aarch64": 98}
_FUTEX_WAKE = 1


class Feed:
    """The writing side of one camera's feed; not thread-safe, one writer a camera. Close it, or use `with`.

    `width_px`, `height_px` and `samples` are those of every picture pushed. `slots` must be a power of two.
    Creating a feed replaces an older file of that camera (its reader follows).
    """

    def __init__(
        self,
        folder: Path | str,
        serial: str,
        width_px: int,
        height_px: int,
        *,
        samples: Samples = "grey8",
        slots: int = 8,
    ) -> None:
        if slots < 2 or slots & (slots - 1):
            raise StationFault(f"feed of {serial}: slots={slots} must be 2, 4, 8 or another power of two")
        if not (1 <= width_px <= 32768 and 1 <= height_px <= 32768):
            raise StationFault(f"feed of {serial}: {width_px} x {height_px} px must be 1 to 32768 each")
        self.path = Path(folder) / f"{serial}.feed"
        self.serial = serial
        self.slots = slots
        self._channels = _SAMPLES[samples]
        self._shape = (height_px, width_px, 3) if samples == "rgb8" else (height_px, width_px)
        self._dtype = np.dtype(np.uint16 if samples == "grey16" else np.uint8)
        picture = width_px * height_px * self._channels
        self._picture_bytes = picture
        self._slot_bytes = (SLOT_HEADER_BYTES + picture + 63) // 64 * 64
        self._futex_call = _FUTEX_CALL.get(platform.machine(), 0)
        header = _HEADER.pack(
            MAGIC,
            VERSION,
            HEADER_BYTES,
            width_px,
            height_px,
            self._channels,
            slots,
            self._slot_bytes,
            1 if self._futex_call else 0,
        )
        self._memory = self._publish(header)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self._words: dict[str, npt.NDArray[Any]] = {
            name: np.frombuffer(self._memory, dtype, 1, offset) for name, (offset, dtype) in LAYOUT.items()
        }
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._futex_address = self._words["write_seq"].ctypes.data

    def _publish(self, header: bytes) -> mmap.mmap:
        """Make the whole file beside its name and rename it, so that no reader ever meets half a feed."""
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        size = HEADER_BYTES + self._slot_bytes * self.slots
        try:
            with fresh.open("xb+") as file:
                os.posix_fallocate(file.fileno(), 0, size)
                file.write(header)
                file.flush()
                memory = mmap.mmap(file.fileno(), size)
            self._inode = fresh.stat().st_ino
            fresh.rename(self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise StationFault(
                f"{self.path}: no room or no right for a feed of {size} bytes ({error.strerror}); "
                "check LINESIM_DIR"
            ) from None
        return memory

    def push(
        self,
        image: npt.NDArray[Any],
        encoder: int,
        *,
        drop: bool = False,
        incomplete: bool = False,
        edge_ns: int | None = None,
        wait_s: float = 0.0,
    ) -> bool:
        """One trigger edge: its picture and encoder count. False: the ring was full, the edge is refused.

        `edge_ns`: the instant of the edge on CLOCK_MONOTONIC where the caller knows it better than "now": never
        in the future, and never before the edge that was pushed last.
        """
        stamp_ns = time.monotonic_ns() if edge_ns is None else edge_ns
        if image.shape != self._shape or image.dtype != self._dtype:
            raise StationFault(
                f"feed of {self.serial}: picture {image.dtype}{image.shape} is not {self._dtype}{self._shape}"
            )
        self._words["encoder"][0] = encoder
        if not self._wait_for_slot(wait_s):
            self._words["refused"][0] += 1
            return False
        if wait_s and edge_ns is None:
            stamp_ns = time.monotonic_ns()
        sequence = int(self._words["write_seq"][0])
        start = HEADER_BYTES + (sequence % self.slots) * self._slot_bytes
        flags = (FLAG_DROP if drop else 0) | (FLAG_INCOMPLETE if incomplete else 0)
        picture = start + SLOT_HEADER_BYTES
        target = self._bytes[picture : picture + self._picture_bytes].view(self._dtype).reshape(self._shape)
        np.copyto(target, image)
        _SLOT.pack_into(self._memory, start, encoder, stamp_ns, flags, sequence)
        self._words["write_seq"][0] = (sequence + 1) & 0xFFFFFFFF
        self._wake()
        return True

    def _wait_for_slot(self, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        while self.waiting >= self.slots:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.0005)
        return True

    def _wake(self) -> None:
        if self._futex_call:
            self._libc.syscall(
                self._futex_call, ctypes.c_void_p(self._futex_address), _FUTEX_WAKE, 1, None, None, 0
            )

    def _word(self, name: str) -> int:
        return int(self._words[name][0])

    def set_encoder(self, encoder: int) -> None:
        """The encoder count now, between pushes (64 bit, signed)."""
        self._words["encoder"][0] = encoder

    def drop_next(self, frames: int) -> None:
        """Lose the next `frames` frames on the way: id used up, no buffer."""
        self._words["drop_requested"][0] += frames

    def incomplete_next(self, frames: int) -> None:
        """Let the next `frames` frames arrive half filled."""
        self._words["incomplete_requested"][0] += frames

    def set_slow(self, delay_ms: int) -> None:
        """Deliver every frame this much later; 0 ends it."""
        self._words["slow_ms"][0] = delay_ms

    def set_frozen(self, frozen: bool) -> None:
        """Repeat the last picture while ids, timestamps and encoder go on."""
        self._words["frozen"][0] = int(frozen)

    def device_lost(self) -> None:
        """Pull the plug until `device_back`."""
        self._words["lost"][0] = 1
        self._wake()

    def device_back(self) -> None:
        """Plug the camera in again (also ends a SimDeviceLost of its node); it must be opened anew."""
        self._words["back_count"][0] += 1
        self._words["lost"][0] = 0

    @property
    def waiting(self) -> int:
        """Edges in the ring that the camera has not looked at."""
        return (self._word("write_seq") - self._word("read_seq")) & 0xFFFFFFFF

    @property
    def edges_refused(self) -> int:
        """Pushes that found the ring full."""
        return self._word("refused")

    @property
    def edges_accepted(self) -> int:
        """Edges that began a frame."""
        return self._word("edges_accepted")

    @property
    def edges_missed(self) -> int:
        """Edges that found the camera busy or, while it acquired, the ring full."""
        return self._word("edges_missed")

    @property
    def edges_lost(self) -> int:
        """Edges that came while no camera was acquiring."""
        return self._word("edges_lost")

    @property
    def acquiring(self) -> bool:
        """Whether a living process acquires from this camera: pushes are then edges it will see."""
        if not self._word("acquiring"):
            return False
        try:
            os.kill(self._word("camera_pid"), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def wait_acquiring(self, timeout_s: float) -> bool:
        """Wait until the camera acquires; False when it did not within the time."""
        deadline = time.monotonic() + timeout_s
        while not self.acquiring:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def close(self, *, unlink: bool = True) -> None:
        """Let go of the memory; remove the file unless a newer feed took its name, or `unlink` is False."""
        if self._memory.closed:
            return
        self._words.clear()
        del self._bytes
        self._memory.close()
        if not unlink:
            return
        try:
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            return

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
