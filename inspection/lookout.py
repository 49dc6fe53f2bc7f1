# SPDX-License-Identifier: AGPL-3.0-or-later
"""A selector that knows how old a message may be: the instant at which its socket was last found empty.

A loop that stood still for 100 ms finds triggers that lay in their socket all that time. Taken for new, they
would get a deadline that is too long, and a camera that the station fires itself would photograph the next
part. The kernel does not say when a stream's bytes came, but the loop knows when it last saw none.

Nor does a PLC write while it waits for an answer: what it says just after we were held up, it may have wanted
to say all that time.
"""

from __future__ import annotations

import selectors
import time
from collections import deque

_HELD_NS = 5_000_000
_HELD_KEPT = 2  # an answer held up once, and then the message itself
_SLICE_S = 0.004  # an idle wait is cut into slices, so that after it, too, the last look is no older than this


class Lookout(selectors.EpollSelector):
    """As EpollSelector. What the latest `select` reported came after `since_ns` (monotonic).

    What the one before it reported came after `before_ns`. Both go back to the beginning of a time in which we
    were held up, where that ended less than `patience_ns` before.
    """

    def __init__(self, patience_ns: int) -> None:
        super().__init__()
        self._patience_ns = patience_ns
        self._held: deque[tuple[int, int]] = deque(maxlen=_HELD_KEPT)  # from, until; newest last
        self.since_ns = self.before_ns = self._empty_ns = time.monotonic_ns()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As EpollSelector.select."""
        self.before_ns = self.since_ns
        end_s = None if timeout is None else time.monotonic() + max(0.0, timeout)
        while True:
            left_s = _SLICE_S if end_s is None else min(_SLICE_S, max(0.0, end_s - time.monotonic()))
            looked_ns = time.monotonic_ns()
            if looked_ns - self._empty_ns > _HELD_NS:
                self._held.append((self._empty_ns, looked_ns))
            events = super().select(left_s)
            # What it reports was not there at the look before. What it does not report was not there after the
            # wait; but this process may have been held up since, so the wait counts by its length, not by now.
            self.since_ns = self._wanted_ns(self._empty_ns)
            if events:
                self._empty_ns = looked_ns
                return events
            self._empty_ns = min(looked_ns + int(left_s * 1e9), time.monotonic_ns())
            if end_s is not None and time.monotonic() >= end_s:
                return events

    def _wanted_ns(self, came_ns: int) -> int:
        """Since when a client that could not send may have wanted to say what came after `came_ns`."""
        for from_ns, until_ns in reversed(self._held):
            if came_ns - self._patience_ns <= until_ns:
                came_ns = min(came_ns, from_ns)
        return came_ns
