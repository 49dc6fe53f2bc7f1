# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Pairs pictures with parts by where (or when) they were taken, never by the order in which they came. Pure.

The classic false pass is an off-by-one here. A picture may come before its part's message and waits in a
bounded buffer. A picture that shows two parts, or a part with two pictures of one view, makes every part
concerned NOT_INSPECTED; so does a picture that never comes, and one whose exposure instant contradicts its
encoder count.

Ownership: each frame given to `frame` holds a ring slot, and comes out exactly once, in a `Complete` (the
caller owns its slots then) or in an `Orphan` (give the slot back).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from inspection.types import FrameRef, PartRef, Reason
from inspection.window import PairWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """All views of the part are there, `frames[i]` from camera i."""

    part: PartRef
    frames: tuple[FrameRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The part cannot be judged. May follow its own `Complete`, when a second picture turns up late."""

    part: PartRef
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A frame that will be judged with no part; `part` is the one it showed, where that is known."""

    frame: FrameRef
    part: PartRef | None = None


Pairing = Complete | Failed | Orphan
Pairings = tuple[Pairing, ...]


_SIGHTS = 8


class _Stage(Enum):
    OPEN = 0  # views are missing
    COMPLETE = 1  # handed out
    OVER = 2  # failed, or closed by the gate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """A trigger of one camera that gave no picture, waiting for its part like an early frame."""

    camera: int
    reason: Reason
    encoder_pulses: int | None
    exposure_ns: int


@dataclass(slots=True, eq=False)
class _Expected:
    """A part on record. It stays there after its end, so that a late second picture still finds it.

    `sights` is all that was ever seen at its place; `frames` are the slots that we hold for it.
    """

    part: PartRef
    stage: _Stage = _Stage.OPEN
    frames: dict[int, FrameRef] = field(default_factory=dict[int, FrameRef])  # by camera
    sights: deque[FrameRef | _Fault] = field(default_factory=lambda: deque(maxlen=_SIGHTS))


class Pairer:
    """Bounded in parts and in frames; `now_ns` is monotonic and passed in."""

    def __init__(
        self,
        *,
        views: int,
        window: PairWindow,
        frame_wait_ns: int,
        part_wait_ns: int,
        max_parts: int = 32,
        max_early: int = 16,
    ) -> None:
        """Frames wait `frame_wait_ns` for their part, parts `part_wait_ns` after their trigger for frames."""
        self.overflows = 0
        self._views = views
        self._window = window
        self._frame_wait_ns = frame_wait_ns
        self._part_wait_ns = part_wait_ns
        self._max_parts = max_parts
        self._max_early = max_early
        self._parts: deque[_Expected] = deque()  # in trigger order
        self._early: deque[FrameRef | _Fault] = deque()  # in order of arrival
        self._out: list[Pairing] = []

    # --- what arrives

    def part(self, part: PartRef) -> Pairings:
        """The gate announced a part; frames that came before it are looked through."""
        expected = _Expected(part)
        for other in self._parts:
            if any(self._shows(item, part) for item in other.sights):
                self._fail(other, Reason.PAIRING_AMBIGUOUS)
                self._fail(expected, Reason.PAIRING_AMBIGUOUS)
        if len(self._parts) >= self._max_parts:
            self._forget_oldest()
        self._parts.append(expected)
        early, self._early = self._early, deque()
        for item in early:
            self._place(item)
        return self._emitted()

    def frame(self, frame: FrameRef) -> Pairings:
        """A picture arrived; its slot is the pairer's until it comes out again."""
        self._place(frame)
        return self._emitted()

    def fault(self, *, camera: int, reason: Reason, encoder_pulses: int | None, at_ns: int) -> Pairings:
        """A camera says that a trigger gave no usable picture. Without a place it fails no part: time will."""
        self._place(_Fault(camera=camera, reason=reason, encoder_pulses=encoder_pulses, exposure_ns=at_ns))
        return self._emitted()

    # --- what ends

    def close(self, ordinal: int) -> Pairings:
        """The gate closed this part: let its frames go."""
        for expected in self._parts:
            if expected.part.ordinal == ordinal:
                self._end(expected)
        return self._emitted()

    def expire(self, now_ns: int) -> Pairings:
        """Give up parts whose pictures, and frames whose part, did not come in time."""
        for expected in self._parts:
            if now_ns - expected.part.trigger_ns > self._part_wait_ns:
                self._fail(expected, Reason.FRAME_MISSING, only_open=True)
        early, self._early = self._early, deque()
        for item in early:
            if now_ns - item.exposure_ns > self._frame_wait_ns:
                self._orphan(item, None)
            else:
                self._early.append(item)
        return self._emitted()

    def reset(self) -> Pairings:
        """The line was re-armed or lost: forget every part, let every frame go."""
        for expected in self._parts:
            self._end(expected)
        self._parts.clear()
        while self._early:
            self._orphan(self._early.popleft(), None)
        return self._emitted()

    # --- inside

    def _shows(self, item: FrameRef | _Fault, part: PartRef) -> bool:
        return self._window.shows(part, item.encoder_pulses, item.exposure_ns, stamped=_stamped(item))

    def _claimed_by(self, item: FrameRef | _Fault) -> list[_Expected]:
        """The parts that it claims to show, of all on record."""
        shows, encoder_pulses, exposure_ns = self._window.shows, item.encoder_pulses, item.exposure_ns
        stamped = _stamped(item)
        return [e for e in self._parts if shows(e.part, encoder_pulses, exposure_ns, stamped=stamped)]

    def _agrees(self, frame: FrameRef, part: PartRef) -> bool:
        return self._window.agrees_in_time(part, frame.exposure_ns, stamped=frame.stamped)

    def _place(self, item: FrameRef | _Fault) -> None:
        matches = self._claimed_by(item)
        for expected in matches:
            expected.sights.append(item)
        if not matches:
            self._keep_early(item)
        elif len(matches) > 1:
            for expected in matches:
                self._fail(expected, Reason.PAIRING_AMBIGUOUS)
            self._orphan(item, None)
        elif isinstance(item, _Fault):
            self._fail(matches[0], item.reason)
        elif not self._agrees(item, matches[0].part):
            # Right place, wrong instant: a count has slipped, and it may be another part's picture.
            self._orphan(item, matches[0].part)
            self._fail(matches[0], Reason.PAIRING_TIME)
        else:
            self._attach(matches[0], item)

    def _attach(self, expected: _Expected, frame: FrameRef) -> None:
        if expected.stage is _Stage.OVER:
            self._orphan(frame, expected.part)
        elif frame.camera in expected.frames:
            self._orphan(frame, expected.part)
            self._fail(expected, Reason.PAIRING_AMBIGUOUS)
        else:
            expected.frames[frame.camera] = frame
            if len(expected.frames) == self._views:
                expected.stage = _Stage.COMPLETE
                frames = tuple(expected.frames[camera] for camera in sorted(expected.frames))
                self._out.append(Complete(part=expected.part, frames=frames))

    def _keep_early(self, item: FrameRef | _Fault) -> None:
        if len(self._early) >= self._max_early:
            self.overflows += 1
            self._orphan(self._early.popleft(), None)
        self._early.append(item)

    def _forget_oldest(self) -> None:
        oldest = self._parts.popleft()
        if oldest.stage is _Stage.OPEN:
            self.overflows += 1
            self._fail(oldest, Reason.SHED)

    def _fail(self, expected: _Expected, reason: Reason, *, only_open: bool = False) -> None:
        if expected.stage is _Stage.OVER or (only_open and expected.stage is _Stage.COMPLETE):
            return
        self._end(expected)
        self._out.append(Failed(part=expected.part, reason=reason))

    def _end(self, expected: _Expected) -> None:
        """Frames of an open part are still ours and go back; those of a complete one are the caller's."""
        if expected.stage is _Stage.OPEN:
            for frame in expected.frames.values():
                self._orphan(frame, expected.part)
        expected.stage = _Stage.OVER

    def _orphan(self, item: FrameRef | _Fault, part: PartRef | None) -> None:
        if isinstance(item, FrameRef):
            self._out.append(Orphan(frame=item, part=part))

    def _emitted(self) -> Pairings:
        out, self._out = tuple(self._out), []
        return out


def _stamped(item: FrameRef | _Fault) -> bool:
    """A fault's instant is as good as there is: it fails a part and can pass none."""
    return item.stamped if isinstance(item, FrameRef) else True
