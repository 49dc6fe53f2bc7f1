# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Watches a counter that the other side must keep changing (line contract: frozen for 200 ms is dead). Pure."""

from __future__ import annotations

FROZEN_AFTER_NS = 200_000_000


class HeartbeatWatch:
    """Alive while the value changed within the last `frozen_after_ns`; dead until the first change."""

    def __init__(self, frozen_after_ns: int = FROZEN_AFTER_NS) -> None:
        self._frozen_after_ns = frozen_after_ns
        self._value: int | None = None
        self._changed_ns: int | None = None

    def see(self, now_ns: int, value: int) -> None:
        """Report the counter as it reads now. The first reading is no sign of life: only a change is."""
        if self._value is not None and value != self._value:
            self._changed_ns = now_ns
        self._value = value

    def alive(self, now_ns: int) -> bool:
        """Whether the other side changed its counter less than `frozen_after_ns` ago."""
        return self._changed_ns is not None and now_ns - self._changed_ns < self._frozen_after_ns
