# SPDX-License-Identifier: AGPL-3.0-or-later
"""The implementations that the camera contract is run over, each behind the same small handle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cameras.base import CameraFault, CameraSpec
from cameras.scripted import ScriptedCamera, ScriptedDevice


class Rig(Protocol):
    """One implementation with a free-running camera to open."""

    name: str
    # Beside nodes: "exclusive" (one program at a time), "line" (we hold its trigger line), "underruns" (it
    # goes on exposing when no buffer is free, and counts that).
    abilities: frozenset[str]

    def spec(self, **changes: Any) -> CameraSpec:
        """A camera that exists, free running; changed as asked."""
        ...

    def open(self, spec: CameraSpec) -> Any:
        """Open it: a Camera that also has `nodes`."""
        ...

    def open_elsewhere(self) -> str:
        """What another program is told that opens the same camera: a fault's kind, or ""."""
        ...

    def edge(self, encoder: int) -> None:
        """One edge on the trigger line."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class ScriptedRig:
    """The fake."""

    name = "scripted"
    abilities = frozenset({"exclusive", "line", "underruns"})

    def __init__(self) -> None:
        self._devices = [ScriptedDevice("S1"), ScriptedDevice("S2")]

    def spec(self, **changes: Any) -> CameraSpec:
        base = {"serial": "S1", "producer": "script", "width_px": 64, "height_px": 48, "pixel_format": "Mono8"}
        return CameraSpec(**(base | {"trigger": "free"} | changes))

    def open(self, spec: CameraSpec) -> ScriptedCamera:
        self._devices[0].plugged = True  # whoever opens has put the plug back in
        return ScriptedCamera.open(self._devices, spec)

    def open_elsewhere(self) -> str:
        try:
            ScriptedCamera.open(self._devices, self.spec()).close()
        except CameraFault as fault:
            return fault.kind.value
        return ""

    def edge(self, encoder: int) -> None:
        self._devices[0].edge(encoder)

    def close(self) -> None:
        pass


class GenicamRig:
    """GenicamCamera over one producer."""

    def __init__(self, producer: str, serial: str, size: tuple[int, int], abilities: frozenset[str]) -> None:
        self.name = producer
        self.abilities = abilities
        self._serial = serial
        self._size = size
        self._folder = tempfile.TemporaryDirectory(prefix="rig-")
        os.environ.setdefault("LINESIM_DIR", self._folder.name)  # open_elsewhere must meet the same cameras
        os.environ |= {"LINESIM_WIDTH": "160", "LINESIM_HEIGHT": "120"}
        self._feed: Any = None

    def spec(self, **changes: Any) -> CameraSpec:
        base: dict[str, Any] = {
            "serial": self._serial,
            "producer": self.name,
            "width_px": self._size[0],
            "height_px": self._size[1],
            "pixel_format": "Mono8",
            "trigger": "free",
            "settings": (("AcquisitionFrameRate", 200.0),),
        }
        return CameraSpec(**(base | changes))

    def open(self, spec: CameraSpec) -> Any:
        from cameras.genicam import GenicamCamera

        if spec.trigger == "line" and self._feed is None:
            from cameras.simulator.feed import Feed

            self._feed = Feed(os.environ["LINESIM_DIR"], self._serial, *self._size)
        return GenicamCamera.open(spec)

    def open_elsewhere(self) -> str:
        command = [sys.executable, "-m", "tests.cameras.contract.runner", "--rig", self.name, "--open-only"]
        child = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return json.loads(child.stdout.strip().splitlines()[-1])["fault"]

    def edge(self, encoder: int) -> None:
        picture = np.full(self._size[::-1], encoder & 0xFF, np.uint8)
        assert self._feed.push(picture, encoder, wait_s=5.0)

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()
        self._folder.cleanup()


RIGS: dict[str, Callable[[], Rig]] = {
    "scripted": ScriptedRig,
    "linesim": lambda: GenicamRig(
        "linesim", "LS0001", (160, 120), frozenset({"exclusive", "line", "underruns"})
    ),
    "viky": lambda: GenicamRig("viky", "1", (400, 400), frozenset()),
}
ROOT = Path(__file__).parents[3]
