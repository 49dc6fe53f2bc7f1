# SPDX-License-Identifier: AGPL-3.0-or-later
"""The supervisor's part in a change of bundle: it follows the registry, and the registry follows the station.

The registry says which bundle is active; what runs is pinned by hash (inspection/pins.py). Where the two differ
the inspector is told to take the active one, and only when it has does the pin change. What the station cannot
take is taken back in the registry, with the station's sentence as the reason: the registry never names for long
what does not run. An inspector that dies meanwhile comes back with the pinned bundle, and is told again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from inspection.config import StationConfig
from inspection.link import Link
from inspection.messages import BundleTaken, UseBundle
from inspection.pins import Pins
from inspection.types import StationFault
from weights.history import Act, append, read, stamp, writing

_LOOK_NS = 200_000_000
_AGAIN_NS = 1_000_000_000
_DEATHS = 3
_WHO = "station"


class Succession:
    """One station's bundle over its supervisor's life. Call `look` often; nothing here waits."""

    def __init__(self, config: StationConfig, pins: Pins, inspector: Link, say: Callable[[str], None]) -> None:
        self.pins = pins
        self._folder = config.registry_dir
        self._inspector = inspector
        self._say = say
        self._order: UseBundle | None = None
        self._deaths = 0
        self._refused: tuple[UseBundle, str] | None = None  # to be taken back in the registry
        self._given_up = 0  # number of an act that the station could not follow and could not take back either
        self._stamp: tuple[int, int] | None = None
        self._next_look_ns = 0
        self._next_order_ns = 0

    def look(self, now_ns: int) -> bool:
        """Follow the registry; True when the pins have changed."""
        before = self.pins
        while (message := self._inspector.receive()) is not None:
            if isinstance(message, BundleTaken):
                self._heard(message)
        if now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + _LOOK_NS
            if self._refused is not None:
                self._take_back(*self._refused)
            self._read()
        if self._order is not None and now_ns >= self._next_order_ns:
            self._next_order_ns = now_ns + _AGAIN_NS
            self._inspector.send(self._order)
        return self.pins != before

    def inspector_died(self, *, refused_to_start: bool) -> bool:
        """The inspector ended; True when the pins have changed.

        One that refuses to start by the pinned bundle is no reason to wait for it: what the registry names by
        now is tried next. One that dies again and again while it takes a bundle is not told a fourth time.
        """
        if self._order is None:
            return False
        if refused_to_start:
            self._say(
                f"the inspector cannot start by its bundle; bundle {self._order.bundle_sha256[:12]} is tried."
            )
            self.pins = replace(self.pins, bundle=self._order.bundle_sha256)
            self._order = None
            return True
        self._deaths += 1
        if self._deaths >= _DEATHS:
            self._refuse(self._order, f"the inspector died {_DEATHS} times while it took this bundle")
        return False

    def _read(self) -> None:
        """Look at the registry when it has changed."""
        try:
            seen = stamp(self._folder)
            if seen == self._stamp:
                return
            standing = read(self._folder)
            self._stamp = seen
        except StationFault as e:
            self._stamp = stamp(self._folder)
            self._say(f"{e} The station goes on with bundle {self.pins.bundle[:12]}.")
            return
        wanted, act = standing.active, standing.act_number
        if wanted is None or act == self._given_up:
            return
        if self._order is not None and self._order.act == act:
            return
        entry = standing.entry(act)
        differs = wanted != self.pins.bundle or self._order is not None
        self._order = (
            UseBundle(act=act, bundle_sha256=wanted, who=entry.who, why=entry.why) if differs else None
        )
        self._deaths, self._next_order_ns = 0, 0
        if self._order is not None and wanted != self.pins.bundle:
            self._say(f"bundle {wanted[:12]} is to judge, by {entry.who}: {entry.why}")

    def _heard(self, message: BundleTaken) -> None:
        """What became of an order; of an older one too, for the inspector may have taken it since."""
        if not message.refusal:
            if message.bundle_sha256 != self.pins.bundle:
                self.pins = replace(self.pins, bundle=message.bundle_sha256)
                self._say(f"bundle {message.bundle_sha256[:12]} judges from now on.")
            if self._order is not None and self._order.act == message.act:
                self._order = None
        elif self._order is not None and self._order.act == message.act:
            self._refuse(self._order, message.refusal)

    def _refuse(self, order: UseBundle, why: str) -> None:
        self._order, self._given_up, self._refused = None, order.act, (order, why[:1000])
        self._say(f"bundle {order.bundle_sha256[:12]} is not taken: {why}")

    def _take_back(self, order: UseBundle, why: str) -> None:
        """The registry goes back to the bundle before, unless somebody has moved it on already."""
        try:
            with writing(self._folder, wait=False) as mine:
                if not mine:
                    return  # somebody writes just now: at the next look
                self._refused = None
                if read(self._folder).act_number == order.act:
                    append(self._folder, Act.REFUSE, order.bundle_sha256, who=_WHO, why=why)
        except StationFault as e:
            self._refused = None
            self._say(f"the registry still names bundle {order.bundle_sha256[:12]}: {e}")
