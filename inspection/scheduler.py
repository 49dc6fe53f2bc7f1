# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Which waiting views form the next batch: earliest deadline first, never waiting, never late. Pure.

Work-conserving: called whenever the engine can take work, it takes what has queued up (field notes: this beats
fixed time windows up to 80 % load). Work that can no longer finish is shed, with all views of its part, before
it costs engine time: one slow part in five, served in order, made 108 of 112 parts late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_KEPT = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One view that waits for the engine."""

    ordinal: int
    camera: int
    deadline_ns: int  # of its part


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`batch` goes to the engine now; the parts with these ordinals are given up."""

    batch: tuple[Waiting, ...]
    shed: tuple[int, ...]


class ServiceTimes:
    """How long a batch of each size takes: the median of the last few, so that one hiccup sheds nothing."""

    def __init__(self, margin_ns: int = 0) -> None:
        """`margin_ns` is added to each estimate: rules, link and journal after the engine."""
        self._margin_ns = margin_ns
        self._seen: dict[int, list[int]] = {}
        self._usual_ns: dict[int, float] = {}  # the median of each size

    def observe(self, size: int, took_ns: int) -> None:
        """A batch of `size` views took this long."""
        kept = self._seen.setdefault(size, [])
        kept.append(took_ns)
        del kept[:-_KEPT]
        self._usual_ns[size] = median(kept)

    def estimate_ns(self, size: int) -> int:
        """Expected time of a batch of `size`; sizes not seen yet are scaled from the nearest one seen."""
        usual_ns = self._usual_ns.get(size)
        if usual_ns is not None:
            return int(usual_ns) + self._margin_ns
        if not self._seen:
            return self._margin_ns
        nearest = min(self._seen, key=lambda seen: (abs(seen - size), seen))
        # A smaller batch is taken to cost as much as the one seen, a larger one in proportion.
        return int(self._usual_ns[nearest] * max(1.0, size / nearest)) + self._margin_ns


def next_batch(waiting: Sequence[Waiting], *, now_ns: int, times: ServiceTimes, max_batch: int) -> Plan:
    """Plan the next batch; call it whenever the engine can take one.

    Where nothing could finish, the youngest part is tried all the same: an idle engine costs nothing, and only
    work shows that a slow engine has recovered.
    """
    if len(waiting) == 1:  # the usual case, without the machinery: nothing to put in order, nothing to prefer
        (only,) = waiting
        in_time = only.deadline_ns > now_ns
        return Plan(batch=(only,) if in_time else (), shed=() if in_time else (only.ordinal,))
    queue = sorted(waiting, key=lambda view: (view.deadline_ns, view.ordinal, view.camera))
    soonest_ns = now_ns + times.estimate_ns(1)
    late = {view.ordinal for view in queue if view.deadline_ns <= soonest_ns}
    if queue and len(late) == len({view.ordinal for view in queue}) and queue[-1].deadline_ns > now_ns:
        late.discard(queue[-1].ordinal)
    able = [view for view in queue if view.ordinal not in late]
    return Plan(batch=_largest_in_time(able, now_ns, times, max_batch), shed=tuple(sorted(late)))


def _largest_in_time(
    queue: Sequence[Waiting], now_ns: int, times: ServiceTimes, max_batch: int
) -> tuple[Waiting, ...]:
    """The longest head of the queue that still finishes before its first deadline; at least one view."""
    size = min(len(queue), max_batch)
    while size > 1 and now_ns + times.estimate_ns(size) >= queue[0].deadline_ns:
        size -= 1
    return tuple(queue[:size])
