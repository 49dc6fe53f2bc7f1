# SPDX-License-Identifier: AGPL-3.0-or-later
"""The features of a GenICam camera by name: what settings.py writes and reads. Imports no vendor library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cameras.base import SettingValue
from cameras.settings import NodeKind, NodeRefused

# GenApi's EAccessMode and EInterfaceType, as numbers (GenICam Standard 2.1.1, 2.8)
_NOT_IMPLEMENTED, _NOT_AVAILABLE, _WRITE_ONLY, _READ_WRITE = 0, 1, 2, 4
_KINDS = {
    2: NodeKind.INTEGER,
    3: NodeKind.BOOLEAN,
    4: NodeKind.COMMAND,
    5: NodeKind.FLOAT,
    6: NodeKind.STRING,
    9: NodeKind.ENUMERATION,
}


class GenicamNodes:
    """The node map of a remote device as `settings.Nodes`."""

    def __init__(self, node_map: Any, errors: tuple[type[Exception], ...]) -> None:
        self._map = node_map
        self._errors = errors  # what the binding raises when a device refuses

    def node(self, name: str) -> Any:
        """The binding's own node, for values read on every frame."""
        return getattr(self._map, name)

    def has_node(self, name: str) -> bool:
        """Whether the description file knows the node, usable now or not."""
        return self._map.has_node(name)

    def has(self, name: str) -> bool:
        """Whether there is such a node and it is implemented on this camera."""
        if not self._map.has_node(name):
            return False
        return self._access(name) not in {_NOT_IMPLEMENTED, _NOT_AVAILABLE}

    def names(self) -> Sequence[str]:
        """All implemented features."""
        return [node.node.name for node in self._map.nodes if node.node.is_feature()]

    def kind(self, name: str) -> NodeKind:
        """What the node holds; KeyError when there is none."""
        if not self._map.has_node(name):
            raise KeyError(name)
        node = self._map.get_node(name).node
        return _KINDS.get(node.principal_interface_type, NodeKind.OTHER)

    def writable(self, name: str) -> bool:
        """Whether it can be written now."""
        return self._access(name) in {_READ_WRITE, _WRITE_ONLY}

    def entries(self, name: str) -> Sequence[str]:
        """Entries of an enumeration."""
        return list(getattr(self._map, name).symbolics)

    def read(self, name: str) -> SettingValue:
        """Value now; NodeRefused with the device's own words."""
        try:
            return getattr(self._map, name).value
        except self._errors as e:
            raise NodeRefused(device_words(e)) from e

    def write(self, name: str, value: SettingValue) -> None:
        """Set it; NodeRefused with the device's own words."""
        try:
            getattr(self._map, name).value = value
        except self._errors as e:
            raise NodeRefused(device_words(e)) from e

    def execute(self, name: str) -> None:
        """Run a command; NodeRefused with the device's own words."""
        try:
            getattr(self._map, name).execute()
        except self._errors as e:
            raise NodeRefused(device_words(e)) from e

    def _access(self, name: str) -> int:
        try:
            return self._map.get_node(name).node.get_access_mode()
        except self._errors:
            return _NOT_AVAILABLE


def device_words(error: BaseException) -> str:
    """The device's own words without the binding's frame around them."""
    text = str(error).strip() or type(error).__name__
    if "(Message from the source: " in text:
        text = text.split("(Message from the source: ", 1)[1].rsplit(") (ID:", 1)[0]
    return text.split(" : ", 1)[0].strip().rstrip(".")
