# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Parts in flight: every trigger becomes one part, and every part gets exactly one outcome in time. Pure.

The tracker has no clock, disk or socket. Its owner (the gate process) tells it what happened and when, and
carries out the effects it answers with, in order. The rules, in the words of the line contract:

- Silence is reject. A part whose deadline comes is closed NOT_INSPECTED, whatever else is going on.
- A PASS goes out in two steps: `JournalVerdict`, then, when `durable` says that the record is on disk and the
  deadline is still ahead, `Publish`. REJECT and NOT_INSPECTED do not wait for the disk.
- Outcomes are published in trigger order, each once, and never change afterwards. Until it is published an
  outcome may still become NOT_INSPECTED (fault, conflict, pitch, deadline), and nothing else.
- A verdict is believed only if it names a part in flight in this epoch, was made under the present recipe and
  by the bundle that was in use at the part's trigger, and rests on exactly one picture of each view, each taken
  where and when the part was triggered.
- A trigger is as old as it may be: its deadline runs from the earliest instant at which its edge can have been.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from inspection.counting import encoder_delta
from inspection.messages import PartJudged, ViewSeen
from inspection.tracker_effects import Close, Effect, Effects, JournalVerdict, Open, Publish
from inspection.types import Epoch, Ordinal, Outcome, PartRef, Reason, Seq
from inspection.window import PairWindow

VERDICT_RING_HOLDS = 15
"""More parts in flight than the verdict ring is sure to hold could not all be announced in one burst."""
_REMEMBERED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """What the tracker must know of line and station."""

    views: int  # cameras 0..views-1 each show every part once
    deadline_ns: int  # from the trigger instant
    poll_ns: int  # a trigger's message may be this old when it arrives
    min_pitch_pulses: int
    window: PairWindow
    fired: frozenset[int] = frozenset()  # cameras that the station triggers itself
    fire_limit_ns: int = 0  # so long after its trigger a part may still be photographed by one of those
    max_in_flight: int = VERDICT_RING_HOLDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """A snapshot; `triggers == passed + rejected + not_inspected + in_flight` at every moment."""

    triggers: int
    passed: int
    rejected: int
    not_inspected: int
    in_flight: int
    missed_triggers: int
    late: int  # verdicts that came after their part was closed
    duplicates: int  # verdicts on parts that already had one, conflicting ones included
    unknown: int  # verdicts of another epoch, or on parts that never were


@dataclass(slots=True, eq=False)
class _Part:
    """A part in flight. `outcome` is None while undecided, and may fall to NOT_INSPECTED until published."""

    ref: PartRef
    bundle_sha256: str  # in use when it was triggered
    announced: bool = False
    outcome: Outcome | None = None
    reasons: tuple[Reason, ...] = ()
    judged: PartJudged | None = None
    durable: bool = False
    published: bool = False


class Tracker:
    """Decides which part passes. One instance for one epoch; the caller's `now_ns` never runs backwards."""

    def __init__(
        self, *, epoch: Epoch, settings: TrackerSettings, recipe_sha256: str, bundle_sha256: str
    ) -> None:
        self.epoch = epoch
        self.armed = False
        self.trigger_ack_seq = Seq(0)
        self.exposure_done_seq = Seq(0)
        self._settings = settings
        self._recipe_sha256 = recipe_sha256
        self.bundle_sha256 = bundle_sha256
        self.bundle_from = Ordinal(1)
        self._in_flight: deque[_Part] = deque()  # in trigger order
        self._closed: deque[_Part] = deque(maxlen=_REMEMBERED)
        self._last_placed: _Part | None = None  # the newest part whose position is known
        self._effects: list[Effect] = []
        self._triggers = self._missed = self._late = self._duplicates = self._unknown = 0
        self._published = dict.fromkeys(Outcome, 0)

    # --- what the line does

    def arm(self, now_ns: int, baseline_seq: int) -> Effects:
        """Start counting triggers after `baseline_seq`, which is no trigger itself. Nothing older is judged."""
        self._close_all(Reason.RESYNC)
        self.armed = True
        self.trigger_ack_seq = Seq(baseline_seq)
        self._last_placed = None
        return self._settle(now_ns)

    def disarm(self, now_ns: int, reason: Reason) -> Effects:
        """Stop counting triggers and close what is open as NOT_INSPECTED for `reason`."""
        self.armed = False
        return self.fault(now_ns, reason)

    def trigger(self, now_ns: int, seq: Seq, encoder_pulses: int | None, *, since_ns: int) -> Effects:
        """A new trigger number arrived; `encoder_pulses` is None when its slot did not hold it (skipped).

        `since_ns`: when its message had certainly not arrived yet. A loop that stood still finds messages that
        lay in the socket meanwhile, and takes them for as old as they may be.
        """
        if not self.armed:
            return ()
        self._close_overdue(now_ns)
        self._make_room()
        # Older than its deadline is all the same.
        since_ns = max(min(since_ns, now_ns), now_ns - self._settings.deadline_ns)
        part = self._admit(now_ns, seq, encoder_pulses or 0, since_ns)
        if encoder_pulses is None:
            self._missed += 1
            self._close(part, Reason.TRIGGER_MISSED)
        else:
            self._place(part, now_ns)
        return self._settle(now_ns)

    # --- what the station does

    def exposure_done(self, ordinal: int) -> None:
        """All views of this part have arrived (input register 9)."""
        for part in self._in_flight:
            if part.ref.ordinal == ordinal:
                self.exposure_done_seq = part.ref.seq

    def judge(self, now_ns: int, judged: PartJudged) -> Effects:
        """The inspector's verdict on one part: believed, distrusted, or counted and ignored."""
        self._close_overdue(now_ns)
        part = self._find(judged, self._in_flight)
        if part is None:
            self._count_stray(judged)
        elif part.judged is not None:
            self._judge_again(part, judged)
        elif part.outcome is not None:
            self._late += 1
        else:
            self._judge_first(part, judged)
        return self._settle(now_ns)

    def durable(self, now_ns: int, ordinal: int) -> Effects:
        """The journal has the PASS record of this part on disk."""
        self._close_overdue(now_ns)
        for part in self._in_flight:
            if part.ref.ordinal == ordinal and part.outcome is Outcome.PASS:
                part.durable = True
        return self._settle(now_ns)

    def tick(self, now_ns: int) -> Effects:
        """Time went by: close what is overdue, publish what may go out."""
        self._close_overdue(now_ns)
        return self._settle(now_ns)

    def fault(self, now_ns: int, reason: Reason) -> Effects:
        """Close every part without a published outcome as NOT_INSPECTED; a decided REJECT stays one."""
        self._close_all(reason)
        return self._settle(now_ns)

    def use_recipe(self, now_ns: int, recipe_sha256: str) -> Effects:
        """Judge by another recipe from the next part on."""
        self._close_all(Reason.RECIPE_CHANGED)
        self._recipe_sha256 = recipe_sha256
        return self._settle(now_ns)

    def use_bundle(self, bundle_sha256: str) -> Ordinal:
        """Expect verdicts by another bundle from the next part on; its ordinal. Parts in flight keep theirs."""
        if bundle_sha256 != self.bundle_sha256:
            self.bundle_sha256 = bundle_sha256
            self.bundle_from = Ordinal(self._triggers + 1)
        return self.bundle_from

    @property
    def counters(self) -> Counters:
        """Everything counted since the start of this epoch."""
        return Counters(
            triggers=self._triggers,
            passed=self._published[Outcome.PASS],
            rejected=self._published[Outcome.REJECT],
            not_inspected=self._published[Outcome.NOT_INSPECTED],
            in_flight=len(self._in_flight),
            missed_triggers=self._missed,
            late=self._late,
            duplicates=self._duplicates,
            unknown=self._unknown,
        )

    @property
    def next_deadline_ns(self) -> int | None:
        """When `tick` must be called at the latest; None when nothing is in flight."""
        return self._in_flight[0].ref.deadline_ns if self._in_flight else None

    # --- from trigger to part

    def _admit(self, now_ns: int, seq: Seq, encoder_pulses: int, since_ns: int) -> _Part:
        self._triggers += 1
        self.trigger_ack_seq = seq
        # The PLC writes within one poll of the edge: the edge is never earlier than this, nor later than now.
        trigger_ns = since_ns - self._settings.poll_ns
        ref = PartRef(
            ordinal=Ordinal(self._triggers),
            epoch=self.epoch,
            seq=seq,
            encoder_pulses=encoder_pulses,
            trigger_ns=trigger_ns,
            deadline_ns=trigger_ns + self._settings.deadline_ns,
            edge_spread_ns=now_ns - trigger_ns,
        )
        part = _Part(ref, self.bundle_sha256)
        self._in_flight.append(part)
        return part

    def _make_room(self) -> None:
        """The oldest part blocks all others and has the least time left: it is given up first."""
        if len(self._in_flight) >= self._settings.max_in_flight:
            self._close(self._in_flight[0], Reason.SHED)

    def _place(self, part: _Part, now_ns: int) -> None:
        """Compare the part's position with the one before it, and announce the part if it may still pass."""
        before, self._last_placed = self._last_placed, part
        if before is not None:
            step_pulses = encoder_delta(part.ref.encoder_pulses, before.ref.encoder_pulses)
            if step_pulses < 0:
                self._close_all(Reason.ENCODER_FAULT)
            elif step_pulses < self._settings.min_pitch_pulses:
                self._close(before, Reason.PITCH_TOO_SMALL)
                self._close(part, Reason.PITCH_TOO_SMALL)
        if part.ref.deadline_ns <= now_ns:
            self._close(part, Reason.DEADLINE_MISSED)
        if self._settings.fired and now_ns - part.ref.trigger_ns >= self._settings.fire_limit_ns:
            self._close(part, Reason.TRIGGER_LATE)
        if part.outcome is None:
            part.announced = True
            self._effects.append(Open(part=part.ref))

    # --- from verdict to outcome

    def _judge_first(self, part: _Part, judged: PartJudged) -> None:
        part.judged = judged
        distrust = self._distrust(part, judged)
        if distrust is not None:
            self._close(part, distrust)
        else:
            self._decide(part, judged.verdict.outcome, judged.verdict.reasons)

    def _judge_again(self, part: _Part, judged: PartJudged) -> None:
        self._duplicates += 1
        if part.judged is not None and judged.verdict.outcome is not part.judged.verdict.outcome:
            self._close(part, Reason.VERDICT_CONFLICT)

    def _count_stray(self, judged: PartJudged) -> None:
        part = self._find(judged, self._closed)
        if part is None:
            self._unknown += 1
        elif part.judged is None:
            self._late += 1
        else:
            self._duplicates += 1

    def _find(self, judged: PartJudged, parts: deque[_Part]) -> _Part | None:
        """The part that this verdict names: epoch, ordinal and sequence number must all agree."""
        for part in parts:
            if (part.ref.epoch, part.ref.ordinal, part.ref.seq) == (judged.epoch, judged.ordinal, judged.seq):
                return part
        return None

    def _distrust(self, part: _Part, judged: PartJudged) -> Reason | None:
        """Why a verdict must not be believed; None when it may be. The inspector's own care is not enough."""
        if judged.verdict.outcome is Outcome.NOT_INSPECTED:
            return None
        if judged.recipe_sha256 != self._recipe_sha256:
            return Reason.RECIPE_CHANGED
        if judged.bundle_sha256 != part.bundle_sha256:
            return Reason.BUNDLE_CHANGED
        ref = part.ref
        if sorted(view.camera for view in judged.views) != list(range(self._settings.views)):
            return Reason.FRAME_MISSING
        window = self._settings.window
        if not all(
            window.shows(ref, view.encoder_pulses, view.exposure_ns, stamped=view.stamped)
            for view in judged.views
        ):
            return Reason.PAIRING_MISMATCH
        if not all(self._in_time(ref, view) for view in judged.views):
            return Reason.PAIRING_TIME
        return None

    def _in_time(self, ref: PartRef, view: ViewSeen) -> bool:
        """Whether the picture was exposed when the part was there.

        A picture that the station fired itself bears the part's own encoder count, so time is all there is.
        """
        late_ns = ref.trigger_ns + self._settings.fire_limit_ns
        if view.camera in self._settings.fired and view.exposure_ns >= late_ns:
            return False
        return self._settings.window.agrees_in_time(ref, view.exposure_ns, stamped=view.stamped)

    # --- from outcome to the line

    def _decide(self, part: _Part, outcome: Outcome, reasons: tuple[Reason, ...]) -> None:
        superseding = part.outcome is not None
        part.outcome, part.reasons = outcome, reasons
        self._effects.append(
            JournalVerdict(
                part=part.ref,
                outcome=outcome,
                reasons=reasons,
                judged=part.judged,
                bundle_sha256=part.bundle_sha256,
                superseding=superseding,
            )
        )

    def _close(self, part: _Part, reason: Reason) -> None:
        """NOT_INSPECTED for `reason`, unless that is already so or the outcome is published."""
        if not part.published and part.outcome is not Outcome.NOT_INSPECTED:
            self._decide(part, Outcome.NOT_INSPECTED, (reason,))

    def _close_all(self, reason: Reason) -> None:
        for part in self._in_flight:
            if part.outcome is not Outcome.REJECT:
                self._close(part, reason)

    def _close_overdue(self, now_ns: int) -> None:
        for part in self._overdue(now_ns):
            waits_for_disk = part.outcome is Outcome.PASS and not part.durable
            self._close(part, Reason.JOURNAL_LATE if waits_for_disk else Reason.DEADLINE_MISSED)

    def _overdue(self, now_ns: int) -> Iterator[_Part]:
        return (p for p in self._in_flight if p.ref.deadline_ns <= now_ns and p.outcome is not Outcome.REJECT)

    def _settle(self, now_ns: int) -> Effects:
        """Publish from the oldest part on as far as outcomes are ready, and hand out the effects."""
        while self._in_flight:
            outcome = self._publishable(self._in_flight[0], now_ns)
            if outcome is None:
                break
            self._publish(self._in_flight.popleft(), outcome, now_ns)
        effects, self._effects = tuple(self._effects), []
        return effects

    def _publishable(self, part: _Part, now_ns: int) -> Outcome | None:
        """The outcome that may go out now, if any. The gate opens only here."""
        if part.outcome is Outcome.PASS and not (part.durable and now_ns < part.ref.deadline_ns):
            return None
        return part.outcome

    def _publish(self, part: _Part, outcome: Outcome, now_ns: int) -> None:
        part.published = True
        self._closed.append(part)
        self._published[outcome] += 1
        margin_ns = max(0, part.ref.deadline_ns - now_ns)
        self._effects.append(Publish(part=part.ref, outcome=outcome, reasons=part.reasons, margin_ns=margin_ns))
        if part.announced:
            self._effects.append(Close(ordinal=part.ref.ordinal))
