# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invariant 10: a verdict rests on pictures taken where its part was triggered, and on no others.

The machine knows every true position in unbounded integers, and every true instant. From these alone it says
which part may be completed with which frames, which must be, and which must fail; and that no ring slot is lost
or given twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inspection.types import Epoch, FrameRef, Ordinal, PartRef, Reason, Seq
from tests.contract.code import Code

MS = 1_000_000
PITCH = 20
WINDOW = 10
BAND_NS = 2_500_000  # half a pitch at the belt's speed here, four pulses a millisecond
SPREAD_NS = 1_500_000
VIEWS = 2
FRAME_WAIT_MS = 150
PART_WAIT_MS = 100
CAMERAS = st.integers(0, VIEWS - 1)


@dataclass(eq=False)
class Shown:
    """A frame that was handed in."""

    camera: int
    position: int
    frame: FrameRef
    came: int  # when, in handed-in events
    of: int | None = None  # position of the part that it really shows, where it shows one
    lost: bool = False  # expired or pushed out before any part claimed it


@dataclass(eq=False)
class Expected:
    """A part that was announced."""

    position: int
    part: PartRef
    came: int
    completed: tuple[FrameRef, ...] | None = None
    failed: Reason | None = None
    closed: bool = False
    blamed: bool = False  # a camera reported a fault at its place
    doubted: bool = False  # two frames of a view, or a frame that shows two parts
    mistimed: bool = False  # a frame with its count was exposed at another time
    sights: list[Shown] = field(default_factory=list)


class PairingMachine(RuleBasedStateMachine):
    code: Code

    @initialize(
        start=st.sampled_from([0, 2**32 - 1, 2**32 - 4, 2**32 - 9, 2**32 - 25, 2**32 - 300, 2**31 - 4]),
        offset=st.integers(-WINDOW, WINDOW),
    )
    def begin(self, start: int, offset: int) -> None:
        self.start = start
        self.now_ns = 10**12
        self.position = 0
        self.events = 0
        self.parts: list[Expected] = []
        self.pending: list[Expected] = []  # triggered on the belt, message not yet here
        self.frames: list[Shown] = []
        self.given_back: dict[int, int] = {}  # frame_id -> how often it came out
        self.faults: list[int] = []  # positions of faults that came before their part
        window = self.code.window.PairWindow(kind="encoder", pulses=WINDOW, time_ns=BAND_NS)
        self.pairer = self.code.pairing.Pairer(
            views=VIEWS,
            window=window,
            frame_wait_ns=FRAME_WAIT_MS * MS,
            part_wait_ns=PART_WAIT_MS * MS,
            max_parts=1000,
            max_early=6,
        )
        self._part(self.position)  # with most starts, the roll-over lies between this part and its pictures
        for camera in range(VIEWS):
            self._frame(camera, self.position + offset)

    # --- what happens

    def _step(self, pulses: int) -> None:
        self.position += pulses
        self.now_ns += pulses * MS // 4

    def _part(self, position: int, at_ns: int | None = None) -> Expected:
        ordinal = len(self.parts) + 1
        part = PartRef(
            ordinal=Ordinal(ordinal),
            epoch=Epoch(5),
            seq=Seq(ordinal),
            encoder_pulses=(position + self.start) % 2**32,
            trigger_ns=self.now_ns if at_ns is None else at_ns,
            deadline_ns=self.now_ns + 100 * MS,
            edge_spread_ns=SPREAD_NS,
        )
        self.events += 1
        expected = Expected(position, part, self.events)
        self.parts.append(expected)
        expected.blamed = any(abs(position - at) <= WINDOW for at in self.faults)
        self._doubt()
        self._take(self.pairer.part(part))
        return expected

    def _frame(
        self,
        camera: int,
        position: int,
        at_ns: int | None = None,
        *,
        stamped: bool = True,
        of: int | None = None,
    ) -> None:
        self.events += 1
        frame = FrameRef(
            camera=camera,
            slot=self.events % 16,
            generation=self.events,
            frame_id=self.events,
            encoder_pulses=(position + self.start) % 2**32,
            exposure_ns=self.now_ns if at_ns is None else at_ns,
            ready_ns=self.now_ns,
            width_px=1,
            height_px=1,
            pixel_format=0,
            stamped=stamped,
        )
        self.frames.append(Shown(camera, position, frame, self.events, of))
        self._doubt()
        self._take(self.pairer.frame(frame))

    def _doubt(self) -> None:
        """A frame showing two parts doubts both; two frames of one view doubt the part they show.

        So does a frame with the part's count from another time.
        """
        for expected in self.parts:
            sights = [f for f in self.frames if abs(f.position - expected.position) <= WINDOW and not f.lost]
            if len({f.camera for f in sights}) < len(sights):
                expected.doubted = True
            expected.mistimed = expected.mistimed or not all(_in_band(f, expected) for f in sights)
            expected.sights = sights
        for shown in self.frames:
            near = [e for e in self.parts if shown in e.sights]
            for expected in near if len(near) > 1 else []:
                expected.doubted = True

    @rule(
        step=st.integers(PITCH, 50),
        offsets=st.tuples(*(st.sampled_from([0, 0, 0, 3, -10, 10, -11, 11, 20, -20, None]),) * VIEWS),
        early=st.booleans(),
        swapped=st.booleans(),
    )
    def part_with_its_frames(
        self, step: int, offsets: tuple[int | None, ...], early: bool, swapped: bool
    ) -> None:
        self._step(step)
        if not early:
            self._part(self.position)
        for camera in reversed(range(VIEWS)) if swapped else range(VIEWS):
            offset = offsets[camera]
            if offset is not None:
                self._frame(camera, self.position + offset, of=None if offset in (20, -20) else self.position)
        if early:
            self._part(self.position)

    @rule(
        steps=st.lists(st.integers(PITCH, 30), min_size=2, max_size=4),
        lost=st.integers(0, 7),
        parts_first=st.booleans(),
    )
    def frames_and_messages_come_in_bursts(self, steps: list[int], lost: int, parts_first: bool) -> None:
        """One frame of the burst is lost: pairing by order of arrival is off by one from there on."""
        places: list[tuple[int, int]] = []
        for step in steps:
            self._step(step)
            places.append((self.position, self.now_ns))
        if parts_first:
            for place in places:
                self._part(*place)
        for index, (place, camera) in enumerate((p, c) for p in places for c in range(VIEWS)):
            if index != lost:
                self._frame(camera, *place, of=place[0])
        if not parts_first:
            for place in places:
                self._part(*place)

    @rule(
        parts=st.integers(2, 4),
        pitches=st.sampled_from([-1, 1]),
        slow=st.integers(1, 3),
        parts_first=st.booleans(),
    )
    def camera_counter_has_slipped_by_a_whole_pitch(
        self, parts: int, pitches: int, slow: int, parts_first: bool
    ) -> None:
        """Every picture bears its neighbour's count. At any speed, the neighbour was there at another time."""
        self._step(50)
        places: list[tuple[int, int]] = []
        for _ in range(parts):
            self._step(PITCH)
            self.now_ns += (slow - 1) * PITCH * MS // 4
            places.append((self.position, self.now_ns))
        for place in places if parts_first else []:
            self._part(*place)
        for position, at_ns in places:
            for camera in range(VIEWS):
                self._frame(camera, position + pitches * PITCH, at_ns, of=position)
        for place in [] if parts_first else places:
            self._part(*place)
        self._step(50)

    @rule(
        camera=CAMERAS,
        step=st.integers(PITCH, 40),
        edge=st.sampled_from([0, SPREAD_NS]),
        off_ns=st.sampled_from([-BAND_NS - 1, -BAND_NS, 0, BAND_NS, BAND_NS + 1, 60 * MS]),
        stamped=st.sampled_from([True, True, False]),
        early=st.booleans(),
    )
    def picture_comes_from_another_time(
        self, *, camera: int, step: int, edge: int, off_ns: int, stamped: bool, early: bool
    ) -> None:
        self._step(step)
        if not early:
            self._part(self.position)
        for other in range(VIEWS):
            if other == camera:
                self._frame(camera, self.position, self.now_ns + edge + off_ns, stamped=stamped)
            else:
                self._frame(other, self.position)
        if early:
            self._part(self.position)

    @rule(camera=CAMERAS, half=st.sampled_from([9, 10, 11]), when=st.integers(0, 2))
    def frame_lies_between_two_parts(self, camera: int, half: int, when: int) -> None:
        """`when`: before both messages, between them, or after both."""
        self._step(50)
        middle = self.position + half
        for index, place in enumerate((self.position, self.position + 2 * half)):
            if index == when:
                self._frame(camera, middle)
            self._part(place)
        if when == 2:
            self._frame(camera, middle)
        self._step(2 * half)

    @rule(camera=CAMERAS, step=st.integers(0, 25))
    def stray_frame_comes(self, camera: int, step: int) -> None:
        self._step(step)
        self._frame(camera, self.position)

    @precondition(lambda self: self.frames)
    @rule(back=st.integers(0, 5), off=st.sampled_from([0, 0, 1]))
    def frame_comes_twice(self, back: int, off: int) -> None:
        shown = self.frames[max(0, len(self.frames) - 1 - back)]
        self._frame(shown.camera, shown.position + off)

    @rule(step=st.sampled_from([5, PITCH - 1, PITCH]))
    def part_comes_close(self, step: int) -> None:
        self._step(step)
        self._part(self.position)

    @rule(camera=CAMERAS, step=st.integers(PITCH, 40), early=st.booleans(), located=st.booleans())
    def camera_reports_a_fault(self, camera: int, step: int, early: bool, located: bool) -> None:
        self._step(step)
        if not early:
            self._part(self.position)
        encoder = (self.position + self.start) % 2**32 if located else None
        if located:
            self.faults.append(self.position)
            for near in self.parts:
                near.blamed = near.blamed or abs(near.position - self.position) <= WINDOW
        out = self.pairer.fault(
            camera=camera, reason=Reason.FRAME_LOST, encoder_pulses=encoder, at_ns=self.now_ns
        )
        self._take(out)
        if early:
            self._part(self.position)

    @precondition(lambda self: self.parts)
    @rule(back=st.integers(0, 4))
    def gate_closes_a_part(self, back: int) -> None:
        expected = self.parts[max(0, len(self.parts) - 1 - back)]
        expected.closed = True
        self._take(self.pairer.close(expected.part.ordinal))

    @rule(ms=st.sampled_from([1, 40, 101, 151]))
    def time_passes(self, ms: int) -> None:
        self.now_ns += ms * MS
        self._take(self.pairer.expire(self.now_ns))
        late = [e for e in self.parts if self.now_ns - e.part.trigger_ns > PART_WAIT_MS * MS]
        assert all(e.completed or e.failed or e.closed for e in late), "a part waits for ever"

    # --- what comes out

    def _take(self, out: tuple[Any, ...]) -> None:
        for item in out:
            kind = type(item).__name__
            if kind == "Orphan":
                self._came_out(item.frame)
                shown = self._by_id(item.frame)
                shown.lost = not any(shown in expected.sights for expected in self.parts)
            elif kind == "Failed":
                expected = self.parts[item.part.ordinal - 1]
                assert expected.failed is None, "failed twice"
                assert not expected.closed, "failed after the gate closed it"
                expected.failed = item.reason
            else:
                self._completed(item)

    def _completed(self, item: Any) -> None:
        expected = self.parts[item.part.ordinal - 1]
        assert expected.completed is None, "completed twice"
        assert expected.failed is None, "completed after it failed"
        assert not expected.closed, "completed after the gate closed it"
        assert [f.camera for f in item.frames] == list(range(VIEWS))
        for frame in item.frames:
            self._came_out(frame)
            shown = self._by_id(frame)
            assert abs(shown.position - expected.position) <= WINDOW, "another part's picture"
            assert shown.of in (None, expected.position), "a neighbour's picture under this part's count"
            assert _in_band(shown, expected), "a picture from another time"
        expected.completed = item.frames

    def _by_id(self, frame: FrameRef) -> Shown:
        return next(shown for shown in self.frames if shown.frame.frame_id == frame.frame_id)

    def _came_out(self, frame: FrameRef) -> None:
        self.given_back[frame.frame_id] = self.given_back.get(frame.frame_id, 0) + 1
        assert self.given_back[frame.frame_id] == 1, "one slot was given out twice"

    # --- what must hold

    @invariant()
    def doubtful_parts_fail_and_clear_ones_complete(self) -> None:
        for expected in getattr(self, "parts", []):
            if expected.closed:
                continue
            if expected.doubted:
                assert expected.failed is not None, "a doubtful part was not failed"
            elif expected.mistimed:
                assert expected.failed is not None, "a picture from another time was believed"
            elif expected.blamed:
                assert expected.failed is not None, "a camera's fault was forgotten"
            elif len({f.camera for f in expected.sights}) == VIEWS and expected.failed is None:
                assert expected.completed is not None, "all pictures were there and the part waits"
            if expected.mistimed and not (expected.doubted or expected.blamed):
                assert expected.failed in (Reason.PAIRING_TIME, Reason.FRAME_MISSING)
            elif expected.failed is not None and not (expected.doubted or expected.blamed):
                assert expected.failed is Reason.FRAME_MISSING
                assert self.now_ns - expected.part.trigger_ns > PART_WAIT_MS * MS, "given up too early"

    @invariant()
    def every_frame_is_somewhere(self) -> None:
        """Slots still inside are those of early frames and of open parts; the early ones are bounded."""
        inside = [s for s in getattr(self, "frames", []) if s.frame.frame_id not in self.given_back]
        waiting = [s for s in inside if not any(s in e.sights for e in self.parts)]
        assert len(waiting) <= 6

    def teardown(self) -> None:
        if hasattr(self, "pairer"):
            self._take(self.pairer.reset())
            assert sorted(self.given_back) == [s.frame.frame_id for s in self.frames], "a slot leaked"


def _in_band(shown: Shown, expected: Expected) -> bool:
    """Exposed when the part's edge can have been, give or take the band; unstamped, only not before it."""
    since_ns = shown.frame.exposure_ns - expected.part.trigger_ns
    return since_ns >= -BAND_NS and (not shown.frame.stamped or since_ns <= SPREAD_NS + BAND_NS)


def pairing_machine(code: Code) -> type[PairingMachine]:
    return type("PairingMachineOfThisCode", (PairingMachine,), {"code": code})
