# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Which picture a software trigger took: by the camera's frame counter, checked against time and encoder. Pure.

A shot is fired for one part and expects one frame id. A picture is that shot's only if all of these agree:
its id is the expected one, it was exposed after this shot was fired, before the next one was, and before the
belt had carried the part half a minimum pitch away; and where the camera latches an encoder count itself, that
count lies within the pairing window of the part's. A camera that misses a trigger uses no frame id, so that the
next picture bears the id of the one before: the id alone would pair every later part with its neighbour.

On the first disagreement nobody knows how many ids were used. Every open shot is then lost, nothing is fired
until all pictures that may be under way have come, and one *probe*, a shot for no part, measures the counter
anew. So does the start. Nothing here waits or reads a clock: `now_ns` is monotonic and passed in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from inspection.counting import encoder_within
from inspection.messages import FireTrigger
from inspection.types import Reason

UNDER_WAY_NS = 250_000_000
"""No picture takes longer from its trigger to us: exposure, read-out and transport."""
_CLOCK_SLACK_NS = 1_000_000  # how far a camera's clock, mapped to ours, may be off
_MAX_OPEN = 8
_ID_16_BIT = 0xFFFF  # GigE Vision 1 block ids run 1..65535 and then 1 again


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One trigger that was fired for a part."""

    order: FireTrigger
    fired_ns: int  # before the camera was told
    frame_id: int  # what its picture must bear


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A part that gets no picture from this camera."""

    order: FireTrigger
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a picture turned out to be: the part's, or (None) nobody's; and the parts it shows to be lost."""

    order: FireTrigger | None = None
    lost: tuple[Lost, ...] = ()


class FiredShots:
    """Shots of one camera that wait for their pictures; bounded, in the order of firing."""

    def __init__(self, *, window_pulses: int | None) -> None:
        """`window_pulses`: pairing window of the camera's own encoder count; None when it is not compared."""
        self._window_pulses = window_pulses
        self._open: deque[Shot] = deque()
        self.sure = False  # whether the camera's frame counter is known; else a probe must measure it
        self._next_id = 0
        self._probe_ns: int | None = None
        self._quiet_ns = 0  # no picture can be under way any more
        self.probes_unanswered = 0

    @property
    def waiting(self) -> bool:
        """Whether a picture may come: fetch, instead of waiting for orders alone."""
        return bool(self._open) or self._probe_ns is not None

    def refusal(self, order: FireTrigger, now_ns: int) -> Reason | None:
        """Why this order must not be fired now; None when it may."""
        if not self.sure or now_ns >= order.until_ns or len(self._open) >= _MAX_OPEN:
            return Reason.FRAME_MISSING
        return None

    def fired(self, order: FireTrigger, fired_ns: int) -> None:
        """The camera was told to take this part's picture, which `refusal` allowed.

        `fired_ns` is from before it was told.
        """
        self._open.append(Shot(order=order, fired_ns=fired_ns, frame_id=self._next_id))
        self._next_id += 1
        self._quiet_ns = fired_ns + UNDER_WAY_NS

    # --- the probe

    def wants_probe(self, now_ns: int) -> bool:
        """Whether a shot for no part is to be fired now."""
        return not self.sure and now_ns >= self._quiet_ns

    def probed(self, fired_ns: int) -> None:
        """The probe was fired."""
        self._probe_ns = fired_ns
        self._quiet_ns = fired_ns + UNDER_WAY_NS
        self.probes_unanswered += 1

    # --- what comes

    def frame(self, frame_id: int, exposure_ns: int, encoder_pulses: int | None) -> Claim:
        """A picture came, whole or not; its encoder count where the camera latched one itself."""
        if not self.sure:
            if self._probe_ns is not None and exposure_ns >= self._probe_ns - _CLOCK_SLACK_NS:
                self.sure, self._next_id = True, frame_id + 1
                self._probe_ns, self.probes_unanswered = None, 0
            return Claim()
        index = next((i for i, shot in enumerate(self._open) if self._bears(frame_id, shot)), None)
        if index is None or not self._in_time(index, exposure_ns):
            self._quiet_ns = max(self._quiet_ns, exposure_ns + UNDER_WAY_NS)
            return Claim(lost=self._doubt(Reason.PAIRING_AMBIGUOUS))
        lost = tuple(self._lose(Reason.FRAME_MISSING) for _ in range(index))
        shot = self._open.popleft()
        if shot.frame_id != frame_id:
            self._wrap()
        if not self._same_place(shot, encoder_pulses):
            return Claim(lost=(*lost, Lost(order=shot.order, reason=Reason.PAIRING_MISMATCH)))
        return Claim(order=shot.order, lost=lost)

    def expire(self, now_ns: int) -> tuple[Lost, ...]:
        """Give up what cannot come any more: the camera missed the trigger, or the picture was lost."""
        if self._open and now_ns - self._open[0].fired_ns > UNDER_WAY_NS:
            return self._doubt(Reason.FRAME_MISSING)
        return ()

    # --- inside

    @staticmethod
    def _bears(frame_id: int, shot: Shot) -> bool:
        return frame_id == shot.frame_id or (
            frame_id == shot.frame_id - _ID_16_BIT and frame_id <= _MAX_OPEN + 1
        )

    def _in_time(self, index: int, exposure_ns: int) -> bool:
        shot = self._open[index]
        end_ns = shot.order.until_ns
        if index + 1 < len(self._open):
            end_ns = min(end_ns, self._open[index + 1].fired_ns - _CLOCK_SLACK_NS)
        return shot.fired_ns - _CLOCK_SLACK_NS <= exposure_ns < end_ns

    def _same_place(self, shot: Shot, encoder_pulses: int | None) -> bool:
        if encoder_pulses is None or self._window_pulses is None:
            return True
        return encoder_within(encoder_pulses, shot.order.encoder_pulses, self._window_pulses)

    def _wrap(self) -> None:
        """The camera's 16 bit counter began anew; the open shots expect their ids in the new count."""
        self._next_id -= _ID_16_BIT
        self._open = deque(
            Shot(order=s.order, fired_ns=s.fired_ns, frame_id=s.frame_id - _ID_16_BIT) for s in self._open
        )

    def _doubt(self, reason: Reason) -> tuple[Lost, ...]:
        self.sure = False
        return tuple(self._lose(reason) for _ in range(len(self._open)))

    def _lose(self, reason: Reason) -> Lost:
        return Lost(order=self._open.popleft().order, reason=reason)
