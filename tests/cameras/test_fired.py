# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which picture a software trigger took, against a camera that misses triggers and loses pictures.

The oracle is the camera itself: it knows which shot each picture was exposed for. Seeded bugs show that the
property can fail.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cameras.fired import UNDER_WAY_NS, Claim, FiredShots, Lost
from inspection.messages import FireTrigger
from inspection.types import Reason

MS = 1_000_000
LIMIT = 60 * MS
PROBE = 0  # ordinal of a shot for no part


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture under way; `ordinal` is what only the camera knows."""

    ordinal: int
    frame_id: int
    exposed_ns: int
    arrives_ns: int


@dataclass(slots=True)
class Plant:
    """A camera with troubles, parts that come at random, and the shots under test."""

    shots: FiredShots
    chance: random.Random
    missed: float = 0.0
    dropped: float = 0.0
    late: float = 0.0
    stamps: bool = True  # False: the exposure instant is the arrival, as with cameras without a clock
    trouble_until: int = 1 << 62
    now: int = 1_000 * MS
    counter: int = 0
    parts: int = 0
    under_way: deque[Picture] = field(default_factory=deque)
    shown: dict[int, int] = field(default_factory=dict)  # part -> part whose picture it got
    lost: dict[int, Reason] = field(default_factory=dict)

    def _expose(self, ordinal: int) -> None:
        troubled = self.now < self.trouble_until
        if troubled and self.chance.random() < self.missed:
            return
        self.counter = self.counter % 0xFFFF + 1
        if troubled and self.chance.random() < self.dropped:
            return
        takes = self.chance.randrange(5 * MS, 35 * MS)
        if troubled and self.chance.random() < self.late:
            takes = self.chance.randrange(40 * MS, UNDER_WAY_NS)
        arrives = max(self.now + takes, self.under_way[-1].arrives_ns if self.under_way else 0)
        exposed = self.now + self.chance.randrange(0, 2 * MS)
        self.under_way.append(
            Picture(ordinal=ordinal, frame_id=self.counter, exposed_ns=exposed, arrives_ns=arrives)
        )

    def wait(self, until_ns: int) -> None:
        """The worker's turns until then."""
        while self.now < until_ns:
            self.now += MS
            if self.shots.wants_probe(self.now):
                self.shots.probed(self.now)
                self._expose(PROBE)
            while self.under_way and self.under_way[0].arrives_ns <= self.now:
                self._arrive(self.under_way.popleft())
            self._note(self.shots.expire(self.now))

    def _arrive(self, picture: Picture) -> None:
        stamp = picture.exposed_ns if self.stamps else self.now
        claim = self.shots.frame(picture.frame_id, stamp, None)
        self._note(claim.lost)
        if claim.order is not None:
            assert claim.order.ordinal not in self.shown | self.lost
            self.shown[claim.order.ordinal] = picture.ordinal

    def _note(self, lost: tuple[Lost, ...]) -> None:
        for part in lost:
            assert part.order.ordinal not in self.shown | self.lost
            self.lost[part.order.ordinal] = part.reason

    def part(self, message_ns: int = 0) -> int:
        """A part's order arrives; its number."""
        self.parts += 1
        order = FireTrigger(
            ordinal=self.parts, encoder_pulses=self.parts * 1000, at_ns=self.now - message_ns,
            until_ns=self.now - message_ns + LIMIT,
        )  # fmt: skip
        reason = self.shots.refusal(order, self.now)
        if reason is not None:
            self.lost[self.parts] = reason
        else:
            self.shots.fired(order, self.now)
            self._expose(self.parts)
        return self.parts

    def run(self, parts: int) -> None:
        """That many parts, then quiet."""
        self.wait(self.now + 50 * MS)
        for _ in range(parts):
            self.part()
            self.wait(self.now + self.chance.randrange(15 * MS, 90 * MS))
        self.wait(self.now + 2 * UNDER_WAY_NS)

    def check(self) -> None:
        """No part got another part's picture, and every part ended once."""
        assert {part: seen for part, seen in self.shown.items() if part != seen} == {}
        assert self.shown.keys() | self.lost.keys() == set(range(1, self.parts + 1))
        assert not self.shown.keys() & self.lost.keys()


def plant(seed: int, shots: FiredShots | None = None, **trouble: float) -> Plant:
    return Plant(shots or FiredShots(window_pulses=None), random.Random(seed), **trouble)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    missed=st.sampled_from([0.0, 0.1, 0.5]),
    dropped=st.sampled_from([0.0, 0.1, 0.5]),
    late=st.sampled_from([0.0, 0.1, 0.5]),
    stamps=st.booleans(),
    counter=st.sampled_from([0, 7, 0xFFFF - 5, 0xFFFF]),
)
def test_no_trouble_of_the_camera_gives_a_part_another_parts_picture(
    *, seed: int, missed: float, dropped: float, late: float, stamps: bool, counter: int
) -> None:
    line = plant(seed, missed=missed, dropped=dropped, late=late, stamps=stamps)
    line.counter = counter
    line.run(40)
    line.check()
    line.trouble_until = 0
    before = line.parts
    line.wait(line.now + 4 * UNDER_WAY_NS)
    for _ in range(5):  # it recovers by itself
        line.part()
        line.wait(line.now + 100 * MS)
    line.check()
    assert all(part in line.shown for part in range(before + 1, line.parts + 1))


@pytest.mark.parametrize("counter", [0, 0xFFFF - 20])
def test_every_part_gets_its_picture_when_nothing_goes_wrong(counter: int) -> None:
    line = plant(1)
    line.counter = counter
    line.run(100)
    line.check()
    assert line.lost == {}


class _ByOrder(FiredShots):
    """Takes the oldest open shot for each picture: pairing by arrival order."""

    def frame(self, frame_id: int, exposure_ns: int, encoder_pulses: int | None) -> Claim:
        if self._open:
            frame_id = self._open[0].frame_id
        return super().frame(frame_id, exposure_ns, encoder_pulses)

    def _in_time(self, index: int, exposure_ns: int) -> bool:
        return True


class _ByNumberAlone(FiredShots):
    """Believes the frame id and looks at no clock."""

    def _in_time(self, index: int, exposure_ns: int) -> bool:
        return True


class _ByTimeAlone(FiredShots):
    """Takes the newest shot fired before the picture's stamp, whatever its id."""

    def frame(self, frame_id: int, exposure_ns: int, encoder_pulses: int | None) -> Claim:
        fired = [shot.frame_id for shot in self._open if shot.fired_ns <= exposure_ns]
        return super().frame(fired[-1] if fired else frame_id, exposure_ns, encoder_pulses)


class _ForgetsTheNextShot(FiredShots):
    """Lets a picture be a shot's although a later one was fired before it was exposed."""

    def _in_time(self, index: int, exposure_ns: int) -> bool:
        shot = self._open[index]
        return shot.fired_ns <= exposure_ns < shot.order.until_ns


class _NoProbe(FiredShots):
    """Goes on counting from whatever came, with pictures still under way."""

    def frame(self, frame_id: int, exposure_ns: int, encoder_pulses: int | None) -> Claim:
        claim = super().frame(frame_id, exposure_ns, encoder_pulses)
        if not self.sure:
            self.sure, self._next_id = True, frame_id + 1
        return claim


class _Deaf(FiredShots):
    """Never says that a picture is lost."""

    def _doubt(self, reason: Reason) -> tuple[Lost, ...]:
        self.sure = False
        self._open.clear()
        return ()


BUGS: dict[str, Callable[..., FiredShots]] = {
    bug.__name__: bug for bug in (_ByOrder, _ByNumberAlone, _ByTimeAlone, _ForgetsTheNextShot, _NoProbe, _Deaf)
}


@pytest.mark.parametrize("bug", BUGS)
def test_every_seeded_bug_is_caught(bug: str) -> None:
    def fails(seed: int, stamps: bool) -> bool:
        line = plant(seed, BUGS[bug](window_pulses=None), missed=0.2, dropped=0.1, late=0.2, stamps=stamps)
        try:
            line.run(60)
            line.check()
        except AssertionError:
            return True
        return False

    assert any(fails(seed, stamps) for seed in range(25) for stamps in (True, False))


def test_missed_trigger_costs_its_part_and_the_next_one_and_no_other() -> None:
    line = plant(3)
    line.wait(line.now + 50 * MS)
    line.part()
    line.wait(line.now + 100 * MS)
    line.missed = 1.0
    line.part()
    line.missed = 0.0
    line.wait(line.now + 100 * MS)
    line.part()  # its picture bears the number that the missed one should have had
    line.wait(line.now + 3 * UNDER_WAY_NS)
    line.part()
    line.wait(line.now + 100 * MS)
    line.check()
    assert line.shown == {1: 1, 4: 4}
    assert line.lost == {2: Reason.PAIRING_AMBIGUOUS, 3: Reason.PAIRING_AMBIGUOUS}


def test_picture_lost_on_the_way_costs_its_own_part_alone() -> None:
    line = plant(3)
    line.wait(line.now + 50 * MS)
    line.dropped = 1.0
    line.part()
    line.dropped = 0.0
    line.wait(line.now + 80 * MS)
    line.part()
    line.wait(line.now + 80 * MS)
    line.check()
    assert (line.shown, line.lost) == ({2: 2}, {1: Reason.FRAME_MISSING})


def test_order_that_comes_too_late_is_not_obeyed() -> None:
    line = plant(3)
    line.wait(line.now + 50 * MS)
    late = line.part(message_ns=LIMIT)
    assert line.lost == {late: Reason.FRAME_MISSING}
    in_time = line.part(message_ns=LIMIT - 5 * MS)
    line.wait(line.now + 100 * MS)
    assert line.shown == {in_time: in_time}


def test_camera_that_latched_another_place_itself_contradicts_the_shot() -> None:
    shots = FiredShots(window_pulses=100)
    shots.probed(0)
    shots.frame(4, 1, None)

    def shot(frame_id: int, latched: int | None) -> object:
        order = FireTrigger(ordinal=frame_id, encoder_pulses=5, at_ns=0, until_ns=LIMIT)
        shots.fired(order, 2 * MS)
        claim = shots.frame(frame_id, 3 * MS, latched)
        return "its own" if claim.order is order else claim.lost[0].reason

    assert shot(5, 105) == "its own"
    assert shot(6, 106) is Reason.PAIRING_MISMATCH
    assert shot(7, (5 - 100) % (1 << 32)) == "its own"
    assert shot(8, None) == "its own"


def test_shots_are_bounded() -> None:
    shots = FiredShots(window_pulses=None)
    shots.probed(0)
    shots.frame(1, 1, None)
    order = FireTrigger(ordinal=1, encoder_pulses=5, at_ns=0, until_ns=LIMIT)
    for _ in range(8):
        assert shots.refusal(order, 2) is None
        shots.fired(order, 2)
    assert shots.refusal(order, 2) is Reason.FRAME_MISSING
