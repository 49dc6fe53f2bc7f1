# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fake beside the port: a camera without a driver, deterministic, for tests and machines without GenTL.

A `ScriptedDevice` is the thing with the plug; a `ScriptedCamera` is one opening of it. Frames are made when
they are fetched: nothing waits, no thread runs. It keeps the contract of a real camera.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence

import numpy as np

from cameras.base import CameraFault, CameraSpec, Clock, DeviceCounters, Exposure, FaultKind, SettingValue
from cameras.pfnc import bytes_per_frame, code_of
from cameras.settings import NodeKind, NodeRefused, apply, wanted_settings

_FORMATS = ("Mono8", "Mono16", "BayerRG8", "RGB8")
_ENTRIES: dict[str, tuple[str, ...]] = {
    "PixelFormat": _FORMATS,
    "TriggerMode": ("Off", "On"),
    "TriggerSource": ("Software", "Line0"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "Width": (16, 4096),
    "Height": (2, 4096),
    "ExposureTime": (1.0, 1e6),
    "AcquisitionFrameRate": (0.1, 1000.0),
    "SimDropNext": (0, 65535),
    "SimIncompleteNext": (0, 65535),
}
_LOCKED_WHILE_ACQUIRING = {"PixelFormat", "Width", "Height"}
_COMMANDS = ("TriggerSoftware", "SimDeviceLost")


class ScriptedDevice:
    """One fake camera: its features, whether it is plugged in, and what its sensor sees."""

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self.stamps = True  # whether its frames bear an instant
        self.plugged = True
        self.opened = False
        self.acquiring = False
        self.pending: list[tuple[int, int]] = []  # edges not exposed yet: encoder count, instant
        self.triggers = 0
        self.encoder_pulses = 0
        self.values: dict[str, SettingValue] = {
            "PixelFormat": "Mono8",
            "Width": 640,
            "Height": 480,
            "ExposureTime": 100.0,
            "AcquisitionFrameRate": 100.0,
            "TriggerMode": "Off",
            "TriggerSource": "Line0",
            "ChunkModeActive": False,
            "ChunkEncoderValue": 0,
            "TLParamsLocked": 0,
            "SimDropNext": 0,
            "SimIncompleteNext": 0,
            "SimFrozen": False,
        }

    def edge(self, encoder_pulses: int) -> None:
        """One edge on the trigger line, with the encoder count that it latches."""
        self.encoder_pulses = encoder_pulses
        if self.acquiring and self.values["TriggerMode"] == "On":
            self.triggers += 1
            self.pending.append((encoder_pulses, time.monotonic_ns()))


class ScriptedNodes:
    """The features of a fake camera as `settings.Nodes`."""

    def __init__(self, device: ScriptedDevice) -> None:
        self._device = device

    def names(self) -> Sequence[str]:
        """All features."""
        return [*self._device.values, *_COMMANDS]

    def has(self, name: str) -> bool:
        """Whether there is such a feature."""
        return name in self._device.values or name in _COMMANDS

    def kind(self, name: str) -> NodeKind:
        """What it holds; KeyError when there is none."""
        if name in _COMMANDS:
            return NodeKind.COMMAND
        value = self._device.values[name]
        if name in _ENTRIES:
            return NodeKind.ENUMERATION
        kinds = {bool: NodeKind.BOOLEAN, int: NodeKind.INTEGER, float: NodeKind.FLOAT}
        return kinds.get(type(value), NodeKind.STRING)

    def writable(self, name: str) -> bool:
        """Geometry is locked while acquiring."""
        return not (self._device.acquiring and name in _LOCKED_WHILE_ACQUIRING)

    def entries(self, name: str) -> Sequence[str]:
        """Entries of an enumeration."""
        return _ENTRIES[name]

    def read(self, name: str) -> SettingValue:
        """Value now."""
        self._reach()
        return self._device.values[name]

    def write(self, name: str, value: SettingValue) -> None:
        """Set it, within its range."""
        self._reach()
        if not self.writable(name):
            raise NodeRefused(f"{name} is locked while the camera acquires")
        low, high = _RANGES.get(name, (float("-inf"), float("inf")))
        if isinstance(value, int | float) and not low <= value <= high:
            raise NodeRefused(f"{name} must lie in {low:g}..{high:g}")
        self._device.values[name] = value

    def execute(self, name: str) -> None:
        """Run a command."""
        self._reach()
        if name == "TriggerSoftware" and self._device.values["TriggerSource"] == "Software":
            self._device.edge(self._device.encoder_pulses)
        elif name == "SimDeviceLost":
            self._device.plugged = False

    def _reach(self) -> None:
        if not self._device.plugged:
            raise NodeRefused("no answer")


class ScriptedCamera:
    """One opening of a fake camera; see `cameras.base.Camera`."""

    def __init__(self, device: ScriptedDevice, spec: CameraSpec) -> None:
        self._device = device
        self._spec = spec
        self.nodes = ScriptedNodes(device)
        self._code = code_of(spec.pixel_format)
        self._bytes = bytes_per_frame(self._code, spec.width_px, spec.height_px)
        self._free: list[np.ndarray] = []
        self._frame_id = self._delivered = self._underrun = 0
        self._picture = 0
        self._open = True

    @classmethod
    def open(cls, devices: Sequence[ScriptedDevice], spec: CameraSpec) -> ScriptedCamera:
        """Find it among the devices, take it, write its settings and read them back."""
        present = [d for d in devices if d.plugged]
        device = next((d for d in present if d.serial == spec.serial), None)
        if device is None:
            found = ", ".join(d.serial for d in present) or "no camera"
            raise CameraFault(
                FaultKind.NOT_FOUND,
                f"Camera {spec.serial} was not found: the script offers {found}. Check [[camera]] serial.",
            )
        if device.opened:
            raise CameraFault(FaultKind.BUSY, f"Camera {spec.serial} is in use: close the other program.")
        device.opened = True
        camera = cls(device, spec)
        try:
            apply(spec.serial, camera.nodes, wanted_settings(spec, camera.nodes))
        except CameraFault:
            camera.close()
            raise
        return camera

    @property
    def serial(self) -> str:
        """Its name."""
        return self._device.serial

    @property
    def clock(self) -> Clock:
        """As scripted."""
        return Clock.DEVICE if self._device.stamps else Clock.ARRIVAL

    def start(self) -> None:
        """Begin to acquire."""
        self._reach()
        self._free = [np.zeros(self._bytes, np.uint8) for _ in range(self._spec.buffers)]
        self._frame_id = self._delivered = self._underrun = 0
        self._device.pending.clear()
        self._device.triggers = 0
        self._device.acquiring = True

    def fetch(self, timeout_ms: int) -> Exposure | None:  # noqa: ARG002 - nothing ever has to be waited for
        """Expose the next edge (or, free running, at once) and give the frame; None when there is none."""
        self._reach()
        values = self._device.values
        if values["TriggerMode"] == "Off":
            self._device.triggers += 1
            self._device.pending.append((self._device.encoder_pulses, time.monotonic_ns()))
        if not self._device.pending:
            return None
        encoder_pulses, at_ns = self._device.pending.pop(0)
        self._frame_id += 1
        if not values["SimFrozen"]:
            self._picture += 1
        if self._count_down("SimDropNext"):
            return None
        if not self._free:
            self._underrun += 1
            return None
        buffer = self._free.pop(0)
        buffer[:] = self._picture & 0xFF
        whole = not self._count_down("SimIncompleteNext")
        self._delivered += 1
        chunked = whole and values["ChunkModeActive"] is True
        return Exposure(
            pixels=buffer if whole else buffer[: self._bytes // 2],
            frame_id=self._frame_id,
            encoder_pulses=encoder_pulses & 0xFFFF_FFFF if chunked else None,
            exposure_ns=at_ns,
            clock=self.clock,
            width_px=self._spec.width_px,
            height_px=self._spec.height_px,
            pixel_format=self._code,
            incomplete="" if whole else f"{self._bytes // 2} of {self._bytes} bytes came",
            release=functools.partial(self._free.append, buffer),
        )

    def trigger(self) -> None:
        """Fire a software trigger."""
        self._reach()
        self.nodes.execute("TriggerSoftware")

    def counters(self) -> DeviceCounters:
        """The fake counts everything."""
        return DeviceCounters(
            triggers=self._device.triggers, missed=0, underrun=self._underrun, delivered=self._delivered
        )

    def close(self) -> None:
        """Let go of the device."""
        if self._open:
            self._open = self._device.opened = self._device.acquiring = False

    def _count_down(self, name: str) -> bool:
        left = self._device.values[name]
        self._device.values[name] = max(0, int(left) - 1)
        return int(left) > 0

    def _reach(self) -> None:
        if not self._device.plugged:
            raise CameraFault(FaultKind.LOST, f"Camera {self.serial} is gone: check its cable and power.")
