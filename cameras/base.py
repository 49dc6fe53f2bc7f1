# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a camera is to the station: the `Camera` protocol, one exposure, device counters, and named faults.

A camera is named by its serial number. Opening one (GenicamCamera.open, ScriptedCamera) writes its settings and
reads them back; a camera that exists is therefore configured. Every class here is used by one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from inspection.types import StationFault

SettingValue = bool | int | float | str


class FaultKind(str, Enum):
    """Why a camera does not work; decides whether waiting can help."""

    NO_PRODUCER = "no_producer"  # the GenTL producer file is missing
    BAD_PRODUCER = "bad_producer"  # the file is no GenTL producer
    NOT_FOUND = "not_found"  # no such serial number
    BUSY = "busy"  # open elsewhere
    LOST = "lost"  # it was there and is gone
    SETTINGS = "settings"  # refused, unknown, or not what was written
    UNSUPPORTED = "unsupported"  # the camera lacks what the configuration asks for

    @property
    def may_pass(self) -> bool:
        """Whether the fault can go away by itself: the plug goes back in, the other program ends."""
        return self in {FaultKind.NOT_FOUND, FaultKind.BUSY, FaultKind.LOST}


class CameraFault(StationFault):
    """The camera cannot be used. One sentence naming the camera, the cause and the remedy."""

    def __init__(self, kind: FaultKind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class Clock(str, Enum):
    """Where the exposure instant of a frame comes from."""

    DEVICE = "device"  # the camera's stamp, mapped to our monotonic clock
    ARRIVAL = "arrival"  # the camera has no usable stamp: when the frame reached us, later than the exposure


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """What the configuration wants of one camera."""

    serial: str
    producer: str  # path of a .cti file, or "linesim" / "viky"
    width_px: int
    height_px: int
    pixel_format: str  # PFNC name
    buffers: int = 16
    trigger: str = "line"  # line, software or free
    settings: tuple[tuple[str, SettingValue], ...] = ()  # written in this order, after geometry and trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """One frame as the driver holds it. `pixels` is the driver's memory: copy, then `release` at once."""

    pixels: np.ndarray  # uint8 (size_filled,), chunk data may follow the picture
    frame_id: int
    encoder_pulses: int | None  # unsigned 32 bit, latched at the trigger edge
    exposure_ns: int  # monotonic
    clock: Clock
    width_px: int
    height_px: int
    pixel_format: int  # PFNC code
    incomplete: str  # "" when whole, otherwise what is wrong
    release: Callable[[], None]  # give the buffer back to the driver; `pixels` is void afterwards


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCounters:
    """What the driver and the camera count themselves; None where they have no such counter."""

    triggers: int | None = None  # trigger edges since the start of acquisition, missed ones included
    missed: int | None = None  # triggers that came while the camera was busy
    underrun: int | None = None  # frames the driver threw away because no buffer was free
    delivered: int | None = None  # frames the driver put into buffers


class Camera(Protocol):
    """One opened, configured camera. Every method may raise CameraFault(LOST)."""

    @property
    def serial(self) -> str:
        """Its name."""
        ...

    @property
    def clock(self) -> Clock:
        """Where the exposure instants of its frames come from, as far as is known now."""
        ...

    def start(self) -> None:
        """Begin to acquire; counters start at zero."""
        ...

    def fetch(self, timeout_ms: int) -> Exposure | None:
        """Next frame, incomplete ones included; None when none came in time. Keep timeout_ms short (20 to 50):
        the GenICam binding holds the interpreter lock while it waits.
        """
        ...

    def trigger(self) -> None:
        """Fire a software trigger; CameraFault(UNSUPPORTED) when the camera has none."""
        ...

    def counters(self) -> DeviceCounters:
        """The device's own counters now."""
        ...

    def close(self) -> None:
        """Stop and let go of the device, whatever state it is in; never raises. Also after a loss."""
        ...


def check_clock(camera: Camera, pairing: str) -> None:
    """Refuse to pair by time where the camera cannot say when it exposed: when a picture comes is no proof."""
    if pairing == "timestamp" and camera.clock is Clock.ARRIVAL:
        raise CameraFault(
            FaultKind.UNSUPPORTED,
            f"Camera {camera.serial} has no clock that maps to ours (TimestampLatch, and stamped frames), so"
            ' pictures cannot be paired by time: set [line] pairing to "encoder", or use another camera.',
        )
