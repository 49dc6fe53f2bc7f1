# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engines of an inspector: usually one; two while parts of the bundle before are still on the belt.

Each has its lane of parts (`inspection.judging`) and the hash that its verdicts are stamped with. The
inspector's loop hears of an answer through one epoll, which is told here of each engine that comes and goes.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from inspection.detectors.base import Detector
from inspection.judging import Judging
from inspection.scheduler import ServiceTimes


@dataclass(slots=True, eq=False)
class Engine:
    """One detector and what goes through it."""

    lane: int
    detector: Detector
    in_engine: int = 0
    retire_at_ns: int = 0  # not before: parts of its lane may still wait for their pictures

    @property
    def bundle_sha256(self) -> str:
        """What its verdicts are stamped with."""
        return self.detector.info.bundle_sha256

    @property
    def has_room(self) -> bool:
        """Whether it takes one more batch."""
        return self.in_engine < self.detector.info.parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A detector that is ready, and how long one view takes."""

    detector: Detector
    view_ns: int


class Engines:
    """All engines in use, the newest last: it gets the parts that come."""

    def __init__(self, detector: Detector, judging: Judging) -> None:
        self._judging = judging
        self._all = [Engine(lane=0, detector=detector)]
        self._poll: select.epoll | None = None
        self.fds: set[int] = {detector.fileno()}

    def __iter__(self) -> Iterator[Engine]:
        """A copy may be walked while one comes or goes."""
        return iter(tuple(self._all))

    @property
    def newest(self) -> Engine:
        """The one that parts go to from now on."""
        return self._all[-1]

    def stamp(self, ordinal: int) -> str:
        """Hash of the bundle that judges this part."""
        if len(self._all) == 1:
            return self._all[0].bundle_sha256
        lane = self._judging.lane_of(ordinal)
        return next((e for e in self._all if e.lane == lane), self._all[-1]).bundle_sha256

    def listen(self, poll: select.epoll) -> None:
        """From now on an answer is an event of this poll, edge-triggered."""
        self._poll = poll
        for fd in self.fds:
            poll.register(fd, select.EPOLLIN | select.EPOLLET)

    def take(self, loaded: Loaded, from_ordinal: int, *, margin_ns: int, retire_at_ns: int) -> None:
        """Parts from this ordinal on go to another engine. The one before stays for those that it began."""
        times = ServiceTimes(margin_ns=margin_ns)
        times.observe(1, loaded.view_ns)
        detector = loaded.detector
        lane = self._judging.begin_lane(from_ordinal, times=times, max_batch=detector.info.max_batch)
        self.newest.retire_at_ns = retire_at_ns
        self._all.append(Engine(lane=lane, detector=detector))
        self.fds.add(detector.fileno())
        if self._poll is not None:
            self._poll.register(detector.fileno(), select.EPOLLIN | select.EPOLLET)

    def retire(self, now_ns: int) -> None:
        """Let go of engines whose parts are all over; releasing one takes time, on a thread of its own."""
        for engine in self._all[:-1]:
            if now_ns < engine.retire_at_ns or engine.in_engine or not self._judging.is_over(engine.lane):
                continue
            self._judging.end_lane(engine.lane)
            self._all.remove(engine)
            self.fds.discard(engine.detector.fileno())
            if self._poll is not None:
                self._poll.unregister(engine.detector.fileno())
            threading.Thread(target=engine.detector.close, name="engine-closing", daemon=True).start()

    def close(self) -> None:
        """Release them all, waiting for what runs."""
        for engine in self._all:
            engine.detector.close()


def other_threads_ns() -> int:
    """CPU time of all threads but this one: the engines' work, whichever runtime does it."""
    return time.process_time_ns() - time.thread_time_ns()
