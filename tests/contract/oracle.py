# SPDX-License-Identifier: AGPL-3.0-or-later
"""What must become of each part, worked out from a log of everything that was said to the tracker.

Written against the text of the line contract, in unbounded integers (no number here ever wraps), and the
other way round: the tracker handles one event for all parts, the oracle follows one part through all events.
It imports nothing of the station but the three outcome words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from inspection.types import Outcome

PASS, REJECT, NOT_INSPECTED = Outcome.PASS, Outcome.REJECT, Outcome.NOT_INSPECTED


@dataclass
class Said:
    """One verdict message: in which call it came, and whether all that it rests on was true."""

    call: int
    outcome: Outcome
    trusted: bool


@dataclass(eq=False)
class Life:
    """One part, from the call in which its trigger arrived."""

    number: int  # unbounded trigger number
    arming: int  # which arming it was triggered in
    born: int  # call
    deadline_ns: int
    edge_ns: tuple[int, int]  # when its edge was, earliest and latest
    position: int | None  # unbounded encoder position as reported; None for a skipped number
    too_old: bool  # when its trigger was found it may have left the place where the station photographs it
    too_close: set[int] = field(default_factory=set)  # calls in which it stood too close to a neighbour
    said: list[Said] = field(default_factory=list)
    on_disk: list[int] = field(default_factory=list)  # calls that reported its PASS record durable


@dataclass
class Fate:
    """The outcome, the call in which it goes out (None: not yet), and how its verdict messages are counted."""

    outcome: Outcome | None
    call: int | None
    late: int
    duplicates: int


@dataclass
class Call:
    now_ns: int
    ends_all: bool = False  # a fault, a new arming, another recipe


@dataclass(kw_only=True)
class History:
    """Everything one start of the station was told (one epoch)."""

    min_pitch: int
    deadline_ns: int
    poll_ns: int
    most_in_flight: int
    fire_limit_ns: int | None = None  # where the station fires a camera itself
    calls: list[Call] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    unknown: int = 0
    arming: int = 0

    def call(self, now_ns: int, *, ends_all: bool = False) -> int:
        self.calls.append(Call(now_ns, ends_all))
        return len(self.calls) - 1

    def birth(self, now_ns: int, looked_ns: int, number: int, position: int | None) -> Life:
        """A trigger's message was found now; at `looked_ns` the station had last seen that there was none."""
        call = self.call(now_ns)
        edge_ns = (looked_ns - self.poll_ns, now_ns)
        too_old = self.fire_limit_ns is not None and now_ns - edge_ns[0] >= self.fire_limit_ns
        life = Life(number, self.arming, call, edge_ns[0] + self.deadline_ns, edge_ns, position, too_old)
        before = self._placed_before(life)
        if before is not None and position is not None and before.position is not None:
            step = position - before.position
            self.calls[call].ends_all = step < 0
            if 0 <= step < self.min_pitch:
                life.too_close.add(call)
                before.too_close.add(call)
        self.lives.append(life)
        return life

    def _placed_before(self, life: Life) -> Life | None:
        earlier = [o for o in self.lives if o.arming == life.arming and o.position is not None]
        return earlier[-1] if earlier else None

    def fates(self) -> list[Fate]:
        """One fate a part, in trigger order. `free` is the call by which all earlier parts are out."""
        fates: list[Fate] = []
        free: int | None = 0
        for index, life in enumerate(self.lives):
            fate = self._fate(index, life, free)
            fates.append(fate)
            free = None if free is None or fate.call is None else max(free, fate.call)
        return fates

    def _fate(self, index: int, life: Life, free: int | None) -> Fate:
        crowded = {
            o.born for j, o in enumerate(self.lives) if j - index >= self.most_in_flight
        }  # triggers that found no room while this part was the oldest
        fate = Fate(None, None, 0, 0)
        standing = NOT_INSPECTED if life.position is None or life.too_old else None
        first: Said | None = None
        durable = False
        for c in range(life.born, len(self.calls)):
            call = self.calls[c]
            if fate.call is None:
                oldest = free is not None and free < c
                if standing is not REJECT and (call.now_ns >= life.deadline_ns or call.ends_all):
                    standing = NOT_INSPECTED
                if c in life.too_close or (c in crowded and oldest):
                    standing = NOT_INSPECTED
            for said in (s for s in life.said if s.call == c):
                if first is not None:
                    fate.duplicates += 1
                    if fate.call is None and said.outcome is not first.outcome:
                        standing = NOT_INSPECTED
                elif standing is not None:
                    fate.late += 1
                else:
                    first = said
                    standing = said.outcome if said.trusted else NOT_INSPECTED
            durable = durable or (c in life.on_disk and standing is PASS)
            ready = standing is not None and (standing is not PASS or durable)
            if fate.call is None and ready and free is not None and free <= c:
                fate.outcome, fate.call = standing, c
        return fate
