# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""The inspector's mind: parts and pictures in, batches for the engine and verdicts out. Pure.

Every part that the gate announces ends here in exactly one `Judged`, unless the gate closes or resets it first;
every frame that arrives ends in exactly one `Release`. Nothing is waited for past its time: what cannot be
judged is said to be NOT_INSPECTED, with its reason, while the gate can still use the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from inspection.pairing import Complete, Failed, Orphan, Pairer, Pairing
from inspection.recipe import Recipe
from inspection.rules import ViewResult, judge
from inspection.scheduler import ServiceTimes, Waiting, next_batch
from inspection.types import Finding, FrameRef, Outcome, PartRef, Reason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """All views of the part have arrived."""

    part: PartRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict on a part and its frames; their `Release`s follow later, so they can still be read."""

    part: PartRef
    verdict: Verdict
    frames: tuple[FrameRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A frame that nobody here needs any more; with the part and verdict it belongs to, where there is one."""

    frame: FrameRef
    part: PartRef | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Views that go to the engine of `lane` now. `number` names the batch until `answered`."""

    number: int
    lane: int
    frames: tuple[FrameRef, ...]
    started_ns: int
    expected_ns: int  # how long a batch of this size takes, by experience


Effect = Exposed | Judged | Release


@dataclass(slots=True, eq=False)
class _Job:
    """A part whose pictures are all here."""

    part: PartRef
    lane: int
    frames: tuple[FrameRef, ...]
    waiting: set[int]  # cameras whose view waits for the engine
    in_engine: set[int] = field(default_factory=set[int])
    seen: dict[int, ViewResult] = field(default_factory=dict[int, ViewResult])
    over: bool = False
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One engine's share of the parts: those from `from_ordinal` on, until the next lane begins.

    All views of a part go to its lane's engine, whenever they come: no part is judged by two models.
    """

    number: int
    from_ordinal: int
    times: ServiceTimes
    max_batch: int


@dataclass(slots=True, kw_only=True)
class JudgingCounts:
    """What happened since the start; the shell copies it to the status board."""

    frames: int = 0
    batches: int = 0
    inferences: int = 0
    shed: int = 0
    engine_faults: int = 0
    unpaired_frames: int = 0
    judged: int = 0


class Judging:
    """One inspector's parts in work. `now_ns` is monotonic and passed in; effects come back in order."""

    def __init__(self, *, pairer: Pairer, recipe: Recipe, times: ServiceTimes, max_batch: int) -> None:
        self.counts = JudgingCounts()
        self._pairer = pairer
        self._recipe = recipe
        self._lanes = [Lane(number=0, from_ordinal=0, times=times, max_batch=max_batch)]  # newest last
        self._jobs: dict[int, _Job] = {}  # by ordinal; a job leaves with its last frame
        self._waiting: dict[tuple[int, int], Waiting] = {}  # by (ordinal, camera)
        self._batches: dict[int, Batch] = {}
        self._owners: dict[int, tuple[tuple[_Job, int], ...]] = {}  # (job, camera) of a batch's views
        self._last_batch = 0
        self._out: list[Effect] = []

    # --- what arrives

    def part(self, part: PartRef) -> list[Effect]:
        """The gate announced a part."""
        return self._apply(self._pairer.part(part))

    def frame(self, frame: FrameRef) -> list[Effect]:
        """A camera delivered a picture; its slot is ours until `Release`."""
        self.counts.frames += 1
        return self._apply(self._pairer.frame(frame))

    def frame_fault(
        self, *, camera: int, reason: Reason, encoder_pulses: int | None, at_ns: int
    ) -> list[Effect]:
        """A camera says that a trigger gave no usable picture."""
        found = self._pairer.fault(camera=camera, reason=reason, encoder_pulses=encoder_pulses, at_ns=at_ns)
        return self._apply(found)

    def closed(self, ordinal: int) -> list[Effect]:
        """The gate fixed the outcome of this part: stop working on it."""
        job = self._jobs.get(ordinal)
        if job is not None:
            self._finish(job, job.verdict)
        return self._apply(self._pairer.close(ordinal))

    def reset(self) -> list[Effect]:
        """Everything in flight is closed at the gate (arming, resync, fault)."""
        for job in list(self._jobs.values()):
            self._finish(job, job.verdict)
        return self._apply(self._pairer.reset())

    def tick(self, now_ns: int) -> list[Effect]:
        """Give up what did not come in time; call it every few milliseconds."""
        return self._apply(self._pairer.expire(now_ns))

    # --- the engines

    def begin_lane(self, from_ordinal: int, *, times: ServiceTimes, max_batch: int) -> int:
        """Parts from this ordinal on are judged by another engine; the new lane's number."""
        number = self._lanes[-1].number + 1
        self._lanes.append(Lane(number=number, from_ordinal=from_ordinal, times=times, max_batch=max_batch))
        return number

    def lane_of(self, ordinal: int) -> int:
        """Which lane judges this part."""
        for lane in reversed(self._lanes):
            if ordinal >= lane.from_ordinal:
                return lane.number
        return self._lanes[0].number

    def is_over(self, number: int) -> bool:
        """Whether an older lane has no part any more that is not judged, nor a batch in its engine."""
        newest = self._lanes[-1].number
        mine = (job for job in self._jobs.values() if job.lane == number)
        busy = any(batch.lane == number for batch in self._batches.values())
        return number != newest and not busy and not any(mine)

    def end_lane(self, number: int) -> None:
        """Forget an older lane that is over."""
        self._lanes = [lane for lane in self._lanes if lane.number != number]

    def only_newest_lane(self) -> None:
        """The gate's ordinals begin anew: whatever comes now is the newest lane's. Call it after `reset`."""
        newest = self._lanes[-1]
        self._lanes = [
            Lane(number=newest.number, from_ordinal=0, times=newest.times, max_batch=newest.max_batch)
        ]

    @property
    def has_work(self) -> bool:
        """Whether a view waits for an engine."""
        return bool(self._waiting)

    def waits(self, lane: int) -> bool:
        """Whether a view waits for the engine of this lane."""
        if len(self._lanes) == 1:
            return bool(self._waiting) and self._lanes[0].number == lane
        return any(self.lane_of(ordinal) == lane for ordinal, _ in self._waiting)

    @property
    def batches(self) -> Iterable[Batch]:
        """Batches in the engine."""
        return self._batches.values()

    def next_batch(self, now_ns: int, number: int | None = None) -> tuple[Batch | None, list[Effect]]:
        """The next batch, to be called while the engine can take one; late work is shed on the way.

        number: of the lane whose engine it is; without it, the newest lane's.
        """
        lane = self._lanes[-1]
        waiting = list(self._waiting.values())
        if len(self._lanes) > 1:
            lane = next((x for x in self._lanes if x.number == number), lane)
            waiting = [view for view in waiting if self.lane_of(view.ordinal) == lane.number]
        plan = next_batch(waiting, now_ns=now_ns, times=lane.times, max_batch=lane.max_batch)
        for ordinal in plan.shed:
            self.counts.shed += 1
            self._not_inspected(self._jobs[ordinal], Reason.SHED)
        if not plan.batch:
            return None, self._emitted()
        owners = tuple((self._jobs[view.ordinal], view.camera) for view in plan.batch)
        for job, camera in owners:
            del self._waiting[job.part.ordinal, camera]
            job.waiting.discard(camera)
            job.in_engine.add(camera)
        frames = tuple(job.frames[camera] for job, camera in owners)
        self._last_batch += 1
        batch = Batch(
            number=self._last_batch,
            lane=lane.number,
            frames=frames,
            started_ns=now_ns,
            expected_ns=lane.times.estimate_ns(len(frames)),
        )
        self._batches[batch.number] = batch
        self._owners[batch.number] = owners
        self.counts.batches += 1
        self.counts.inferences += len(frames)
        return batch, self._emitted()

    def answered(
        self, number: int, findings: Sequence[tuple[Finding, ...]], *, now_ns: int, damaged: Iterable[int] = ()
    ) -> list[Effect]:
        """The engine looked at a batch; `findings[i]` belong to its frame i.

        damaged: indices of frames whose slot lost its lease meanwhile, so that the engine saw something else.
        """
        batch, owners = self._batches.pop(number), self._owners.pop(number)
        for lane in self._lanes:
            if lane.number == batch.lane:
                lane.times.observe(len(owners), now_ns - batch.started_ns)
        lost = set(damaged)
        for i, (job, camera) in enumerate(owners):
            job.in_engine.discard(camera)
            if job.over:
                self._release(job, camera)
            elif i in lost:
                self._not_inspected(job, Reason.FRAME_LOST)
            else:
                job.seen[camera] = ViewResult(camera=camera, findings=findings[i])
                if len(job.seen) == len(job.frames):
                    self._judge(job)
        return self._emitted()

    def frames_of(self, number: int) -> tuple[FrameRef, ...]:
        """Frames of a batch in the engine."""
        return self._batches[number].frames

    def batch_failed(self, number: int, reason: Reason) -> list[Effect]:
        """The engine failed or hangs, or a slot was taken away: the batch's parts are NOT_INSPECTED."""
        self.counts.engine_faults += reason in {Reason.ENGINE_FAULT, Reason.ENGINE_HUNG}
        owners = self._owners.pop(number)
        self._batches.pop(number)
        for job, camera in owners:
            job.in_engine.discard(camera)
            if job.over:
                self._release(job, camera)
            else:
                self._not_inspected(job, reason)
        return self._emitted()

    def abandon(self, reason: Reason) -> list[Effect]:
        """The process is about to stop: every part with pictures is NOT_INSPECTED now, not at its deadline."""
        for job in list(self._jobs.values()):
            if not job.over:
                self._not_inspected(job, reason)
        return self._emitted()

    # --- inside

    def _apply(self, found: Sequence[Pairing]) -> list[Effect]:
        """Take over what the pairer says. Frames of a failed part come as orphans just before or after it."""
        orphans = [item for item in found if isinstance(item, Orphan)]
        failed: dict[int, Verdict] = {}
        for item in found:
            if isinstance(item, Complete):
                self._begin(item)
            elif isinstance(item, Failed):
                ordinal = item.part.ordinal
                frames = tuple(o.frame for o in orphans if o.part is not None and o.part.ordinal == ordinal)
                failed[ordinal] = self._fail(item, frames)
        for orphan in orphans:
            self.counts.unpaired_frames += 1
            part = orphan.part
            verdict = failed.get(part.ordinal) if part is not None else None
            self._out.append(Release(frame=orphan.frame, part=part, verdict=verdict))
        return self._emitted()

    def _begin(self, whole: Complete) -> None:
        self._out.append(Exposed(part=whole.part))
        cameras = {frame.camera for frame in whole.frames}
        lane = self.lane_of(whole.part.ordinal)
        job = _Job(part=whole.part, lane=lane, frames=whole.frames, waiting=cameras)
        self._jobs[whole.part.ordinal] = job
        if any(frame.unhealthy for frame in whole.frames):
            self._judge(job)
            return
        for camera in cameras:
            self._waiting[whole.part.ordinal, camera] = Waiting(
                ordinal=whole.part.ordinal, camera=camera, deadline_ns=whole.part.deadline_ns
            )

    def _judge(self, job: _Job) -> None:
        """Ask the rules; an unhealthy picture is never shown to the engine, and the rules refuse it."""
        views = [
            job.seen.get(frame.camera)
            or ViewResult(camera=frame.camera, findings=(), unhealthy=frame.unhealthy)
            for frame in job.frames
        ]
        self._say(job, judge(views, self._recipe))

    def _fail(self, failed: Failed, frames: tuple[FrameRef, ...]) -> Verdict:
        job = self._jobs.get(failed.part.ordinal)
        if job is not None and not job.over:
            return self._not_inspected(job, failed.reason)
        # A part that was judged already is contradicted: the gate must hear of it, if it has not closed it yet.
        verdict = _not_inspected(failed.reason)
        self.counts.judged += 1
        self._out.append(Judged(part=failed.part, verdict=verdict, frames=frames))
        return verdict

    def _not_inspected(self, job: _Job, reason: Reason) -> Verdict:
        findings = tuple(finding for result in job.seen.values() for finding in result.findings)
        verdict = _not_inspected(reason, findings)
        self._say(job, verdict)
        return verdict

    def _say(self, job: _Job, verdict: Verdict) -> None:
        self.counts.judged += 1
        self._out.append(Judged(part=job.part, verdict=verdict, frames=job.frames))
        self._finish(job, verdict)

    def _finish(self, job: _Job, verdict: Verdict | None) -> None:
        """No more work on this part; frames go as soon as the engine does not read them."""
        if job.over:
            return
        job.over, job.verdict = True, verdict
        for camera in job.waiting:
            self._waiting.pop((job.part.ordinal, camera), None)
        job.waiting.clear()
        for frame in job.frames:
            if frame.camera not in job.in_engine:
                self._release(job, frame.camera)

    def _release(self, job: _Job, camera: int) -> None:
        self._out.append(Release(frame=job.frames[camera], part=job.part, verdict=job.verdict))
        if not job.in_engine and self._jobs.get(job.part.ordinal) is job:
            del self._jobs[job.part.ordinal]

    def _emitted(self) -> list[Effect]:
        out, self._out = self._out, []
        return out


def _not_inspected(reason: Reason, findings: tuple[Finding, ...] = ()) -> Verdict:
    return Verdict(outcome=Outcome.NOT_INSPECTED, reasons=(reason,), findings=findings)
