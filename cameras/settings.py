# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of a camera: written in order, then all read back; anything else than what was asked refuses to run.

Works on `Nodes`, a small view of a GenICam node map, so that the same rules hold for every camera and the fake.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Protocol

from cameras.base import CameraFault, CameraSpec, FaultKind, SettingValue

_RELATIVE_TOLERANCE = 0.01  # cameras round exposure times and gains to their own steps


class NodeKind(str, Enum):
    """What a node holds."""

    INTEGER = "an integer"
    FLOAT = "a number"
    BOOLEAN = "true or false"
    ENUMERATION = "one of its entries"
    STRING = "a text"
    COMMAND = "a command"
    OTHER = "something else"


class NodeRefused(Exception):
    """The device refused a read or a write; the text is its own."""


class Nodes(Protocol):
    """The features of one camera by name. `read`, `write` and `execute` raise NodeRefused."""

    def names(self) -> Sequence[str]:
        """All features."""
        ...

    def kind(self, name: str) -> NodeKind:
        """What the node holds; KeyError when there is none."""
        ...

    def writable(self, name: str) -> bool:
        """Whether it can be written now."""
        ...

    def entries(self, name: str) -> Sequence[str]:
        """Entries of an enumeration."""
        ...

    def read(self, name: str) -> SettingValue:
        """Value now; an enumeration reads as its entry."""
        ...

    def write(self, name: str, value: SettingValue) -> None:
        """Set it."""
        ...

    def execute(self, name: str) -> None:
        """Run a command."""
        ...


def wanted_settings(spec: CameraSpec, nodes: Nodes) -> list[tuple[str, SettingValue]]:
    """All settings of a camera in writing order: format and size, chunks, trigger, then the configured list.

    Offsets go to zero first where they exist, so that the full width is allowed. Chunks and the trigger's nodes
    are set only where the camera has them; a trigger that the camera cannot do is refused by `apply`.
    """
    known = set(nodes.names())
    configured = {name for name, _ in spec.settings}
    wanted: list[tuple[str, SettingValue]] = []

    def where_present(name: str, value: SettingValue) -> None:
        if name in known and name not in configured:
            wanted.append((name, value))

    wanted.append(("PixelFormat", spec.pixel_format))
    where_present("OffsetX", 0)
    where_present("OffsetY", 0)
    wanted += [("Width", spec.width_px), ("Height", spec.height_px)]
    where_present("AcquisitionMode", "Continuous")
    where_present("ChunkModeActive", True)
    if spec.trigger == "free":
        where_present("TriggerSelector", "FrameStart")
        where_present("TriggerMode", "Off")
    else:
        where_present("TriggerSelector", "FrameStart")
        if "TriggerMode" not in configured:
            wanted.append(("TriggerMode", "On"))
        if "TriggerSource" not in configured:
            wanted.append(("TriggerSource", "Software" if spec.trigger == "software" else "Line0"))
        # A frame rate meant for free running would make the camera miss triggers that come faster.
        if "AcquisitionFrameRateEnable" in known and nodes.writable("AcquisitionFrameRateEnable"):
            where_present("AcquisitionFrameRateEnable", False)
    wanted += spec.settings
    return wanted


def apply(serial: str, nodes: Nodes, settings: Iterable[tuple[str, SettingValue]]) -> None:
    """Write every setting in order, then read all of them back.

    Values behind a selector (ChunkSelector, ChunkEnable) are read back with the selector as it stood when they
    were written. Raises CameraFault(SETTINGS) naming camera, node, what was wanted and what was got.
    """
    selectors: dict[str, SettingValue] = {}
    wanted_last: dict[tuple[tuple[tuple[str, SettingValue], ...], str], SettingValue] = {}
    for name, value in settings:
        kind = _kind(serial, nodes, name)
        if kind == NodeKind.COMMAND:
            _execute(serial, nodes, name, value)
            continue
        wanted = _fitting(serial, nodes, name, kind, value)
        _write(serial, nodes, name, wanted)
        _verify(serial, nodes, name, wanted)
        if name.endswith("Selector"):
            selectors[name] = wanted
        else:
            wanted_last[tuple(selectors.items()), name] = wanted
    for (context, name), wanted in wanted_last.items():
        for selector, entry in context:
            if not _reads_as(nodes, selector, entry):
                _write(serial, nodes, selector, entry)
        _verify(serial, nodes, name, wanted)


def _kind(serial: str, nodes: Nodes, name: str) -> NodeKind:
    try:
        return nodes.kind(name)
    except KeyError:
        near = difflib.get_close_matches(name, nodes.names(), n=3, cutoff=0.5)
        hint = f"the closest it has: {', '.join(near)}" if near else "nothing it has is called alike"
        raise CameraFault(
            FaultKind.SETTINGS, f"Camera {serial} has no setting {name}; {hint}. Correct [[camera]] settings."
        ) from None


def _fitting(serial: str, nodes: Nodes, name: str, kind: NodeKind, value: SettingValue) -> SettingValue:
    """The value in the node's own type, or a fault that says what would fit."""
    if kind == NodeKind.FLOAT and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = {
        NodeKind.INTEGER: isinstance(value, int) and not isinstance(value, bool),
        NodeKind.FLOAT: isinstance(value, float) and math.isfinite(value),
        NodeKind.BOOLEAN: isinstance(value, bool),
        NodeKind.ENUMERATION: isinstance(value, str) and value in nodes.entries(name),
        NodeKind.STRING: isinstance(value, str),
    }.get(kind, False)
    if fits:
        return value
    choice = f" ({', '.join(nodes.entries(name))})" if kind == NodeKind.ENUMERATION else ""
    raise CameraFault(
        FaultKind.SETTINGS,
        f"Camera {serial}: {name} takes {kind.value}{choice}, not {value!r}. Correct [[camera]] settings.",
    )


def _write(serial: str, nodes: Nodes, name: str, value: SettingValue) -> None:
    if not nodes.writable(name):
        if _reads_as(nodes, name, value):
            return  # a locked or fixed feature that already is what we want is no fault
        raise CameraFault(
            FaultKind.SETTINGS,
            f"Camera {serial}: {name} is locked at {_shown(nodes, name)} and cannot be set to {value!r}: "
            "another setting, or a running acquisition, holds it.",
        )
    try:
        nodes.write(name, value)
    except NodeRefused as e:
        raise CameraFault(
            FaultKind.SETTINGS, f"Camera {serial} refused {name} = {value!r}: {e}. Correct [[camera]] settings."
        ) from e


def _execute(serial: str, nodes: Nodes, name: str, value: SettingValue) -> None:
    if value is not True:
        raise CameraFault(
            FaultKind.SETTINGS, f"Camera {serial}: {name} is a command; write true to run it, not {value!r}."
        )
    try:
        nodes.execute(name)
    except NodeRefused as e:
        raise CameraFault(FaultKind.SETTINGS, f"Camera {serial} refused to run {name}: {e}.") from e


def _verify(serial: str, nodes: Nodes, name: str, wanted: SettingValue) -> None:
    if _reads_as(nodes, name, wanted):
        return
    raise CameraFault(
        FaultKind.SETTINGS,
        f"Camera {serial} does not keep {name}: wanted {wanted!r}, got {_shown(nodes, name)}. Choose a value "
        "that the camera supports.",
    )


def _reads_as(nodes: Nodes, name: str, wanted: SettingValue) -> bool:
    try:
        got = nodes.read(name)
    except NodeRefused:
        return False
    if isinstance(wanted, float) and isinstance(got, float | int):
        return math.isclose(got, wanted, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-9)
    return got == wanted


def _shown(nodes: Nodes, name: str) -> str:
    try:
        return repr(nodes.read(name))
    except NodeRefused as e:
        return f"an error ({e})"
