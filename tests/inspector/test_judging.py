# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector's mind, without clock or process: one verdict a part, one release a frame, whatever happens."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inspection.judging import Effect, Exposed, Judged, Judging, Release
from inspection.pairing import Pairer
from inspection.recipe import Recipe, ViewRecipe
from inspection.scheduler import ServiceTimes
from inspection.types import Box, Epoch, Finding, FrameRef, Ordinal, Outcome, PartRef, Reason, Seq
from inspection.window import PairWindow

VIEWS = 2
PITCH = 1000
DEADLINE_NS = 300_000_000
WAIT_NS = 270_000_000
MS = 1_000_000
SCRATCH = Finding(defect_class="scratch", score=0.9, box=Box(x0_px=0, y0_px=0, x1_px=9, y1_px=9))


def make() -> Judging:
    pairer = Pairer(
        views=VIEWS,
        window=PairWindow(kind="encoder", pulses=PITCH // 2 - 1, time_ns=WAIT_NS),
        frame_wait_ns=WAIT_NS,
        part_wait_ns=WAIT_NS,
        max_parts=16,
        max_early=16,
    )
    recipe = Recipe(name="r", version=1, id=1, views=tuple(ViewRecipe(name=f"v{i}") for i in range(VIEWS)))
    return Judging(pairer=pairer, recipe=recipe, times=ServiceTimes(margin_ns=10 * MS), max_batch=3)


def a_part(ordinal: int, now_ns: int) -> PartRef:
    return PartRef(
        ordinal=Ordinal(ordinal),
        epoch=Epoch(7),
        seq=Seq(ordinal),
        encoder_pulses=ordinal * PITCH,
        trigger_ns=now_ns,
        deadline_ns=now_ns + DEADLINE_NS,
    )


def a_frame(camera: int, ordinal: int, now_ns: int, number: int, unhealthy: tuple[str, ...] = ()) -> FrameRef:
    return FrameRef(
        camera=camera,
        slot=number % 64,
        generation=number,
        frame_id=ordinal,
        encoder_pulses=ordinal * PITCH,
        exposure_ns=now_ns,
        ready_ns=now_ns,
        width_px=8,
        height_px=8,
        pixel_format=1,
        unhealthy=unhealthy,
    )


def test_findings_of_any_view_decide_and_frames_come_back_with_the_verdict() -> None:
    judging = make()
    effects = (
        judging.part(a_part(1, 0)) + judging.frame(a_frame(0, 1, 1, 1)) + judging.frame(a_frame(1, 1, 1, 2))
    )
    batch, more = judging.next_batch(2)
    assert batch is not None
    assert [type(e) for e in effects + more] == [Exposed]
    effects = judging.answered(batch.number, [(), (SCRATCH,)], now_ns=3)
    assert [type(e) for e in effects] == [Judged, Release, Release]
    judged = effects[0]
    assert isinstance(judged, Judged)
    assert judged.verdict.outcome is Outcome.REJECT
    assert judged.verdict.rejected_by == ("scratch",)


def test_a_second_picture_after_the_verdict_contradicts_it() -> None:
    judging = make()
    judging.part(a_part(1, 0))
    judging.frame(a_frame(0, 1, 1, 1))
    judging.frame(a_frame(1, 1, 1, 2))
    batch, _ = judging.next_batch(2)
    assert batch is not None
    judging.answered(batch.number, [(), ()], now_ns=3)
    effects = judging.frame(a_frame(1, 1, 4, 3))
    judged = [e for e in effects if isinstance(e, Judged)]
    assert [e.verdict.reasons for e in judged] == [(Reason.PAIRING_AMBIGUOUS,)]


class JudgingMachine(RuleBasedStateMachine):
    """Parts, frames, engine answers and failures in any order; counts what must come out."""

    def __init__(self) -> None:
        super().__init__()
        self.judging = make()
        self.now_ns = 1_000 * MS
        self.ordinal = 0
        self.frames = 0
        self.given: set[int] = set()  # generations of frames handed in
        self.released: Counter[int] = Counter()
        self.judged: dict[int, list[Judged]] = {}
        self.closed: set[int] = set()
        self.parts: dict[int, PartRef] = {}
        self.sent: Counter[tuple[int, int]] = Counter()  # (ordinal, camera) of healthy frames
        self.sick: set[int] = set()
        self.found: set[int] = set()  # ordinals in whose pictures the engine saw a scratch
        self.looked: Counter[int] = Counter()  # views the engine looked at without fault

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Release(frame=frame):
                    self.released[frame.generation] += 1
                case Judged(part=part):
                    self.judged.setdefault(part.ordinal, []).append(effect)
                    assert part.ordinal not in self.closed
                case Exposed():
                    pass

    @rule(gap_ms=st.sampled_from([0, 1, 2, 5, 10, 20, 120]))
    def time_passes(self, gap_ms: int) -> None:
        self.now_ns += gap_ms * MS
        self.take(self.judging.tick(self.now_ns))

    @rule()
    def trigger(self) -> None:
        self.ordinal += 1
        self.parts[self.ordinal] = a_part(self.ordinal, self.now_ns)
        self.take(self.judging.part(self.parts[self.ordinal]))

    @rule(sick=st.booleans())
    def a_whole_part(self, sick: bool) -> None:
        self.trigger()
        for camera in range(VIEWS):
            self.expose(camera, 0, sick=sick)

    @rule(camera=st.integers(0, VIEWS - 1), ahead=st.integers(-2, 1), sick=st.booleans())
    def expose(self, camera: int, ahead: int, *, sick: bool) -> None:
        ordinal = max(1, self.ordinal + ahead)
        self.frames += 1
        self.given.add(self.frames)
        unhealthy = ("focus",) if sick and camera == 1 else ()
        if unhealthy:
            self.sick.add(ordinal)
        self.sent[ordinal, camera] += 1
        self.take(self.judging.frame(a_frame(camera, ordinal, self.now_ns, self.frames, unhealthy)))

    @rule()
    def feed(self) -> None:
        if self.judging.has_work:
            self.take(self.judging.next_batch(self.now_ns)[1])

    @rule(scratch=st.booleans(), data=st.data())
    def answer(self, scratch: bool, data: st.DataObject) -> None:
        batches = list(self.judging.batches)
        if not batches:
            return
        batch = data.draw(st.sampled_from(batches))
        for frame in batch.frames:
            self.looked[frame.frame_id] += 1
            if scratch:
                self.found.add(frame.frame_id)
        findings = [(SCRATCH,) if scratch else () for _ in batch.frames]
        self.take(self.judging.answered(batch.number, findings, now_ns=self.now_ns))

    @rule(data=st.data(), reason=st.sampled_from([Reason.ENGINE_FAULT, Reason.ENGINE_HUNG]))
    def fail(self, data: st.DataObject, reason: Reason) -> None:
        batches = list(self.judging.batches)
        if batches:
            self.take(self.judging.batch_failed(data.draw(st.sampled_from(batches)).number, reason))

    @rule(back=st.integers(0, 3))
    def gate_closes(self, back: int) -> None:
        ordinal = self.ordinal - back
        if ordinal in self.parts:
            self.take(self.judging.closed(ordinal))
            self.closed.add(ordinal)

    @precondition(lambda self: self.ordinal % 8 == 7)  # seldom: it forgives everything
    @rule()
    def reset(self) -> None:
        self.take(self.judging.reset())
        self.closed |= set(self.parts)

    @invariant()
    def a_pass_rests_on_every_view_seen_once_healthy_and_clean(self) -> None:
        for ordinal, all_judged in self.judged.items():
            outcomes = [j.verdict.outcome for j in all_judged]
            assert outcomes.count(Outcome.PASS) <= 1
            # a second verdict only ever contradicts
            assert all(o is Outcome.NOT_INSPECTED for o in outcomes[1:])
            if outcomes[0] is Outcome.PASS:
                assert {f.camera for f in all_judged[0].frames} == set(range(VIEWS))
                assert {f.frame_id for f in all_judged[0].frames} == {ordinal}
                assert all(not f.unhealthy for f in all_judged[0].frames)
                assert self.looked[ordinal] >= VIEWS
                assert ordinal not in self.found

    @invariant()
    def no_frame_is_released_twice(self) -> None:
        assert set(self.released) <= self.given
        assert all(count == 1 for count in self.released.values())

    def teardown(self) -> None:
        """The line ends: every frame comes back, every part that the gate did not close was judged."""
        self.now_ns += 10 * DEADLINE_NS
        self.take(self.judging.tick(self.now_ns))
        while self.judging.has_work:
            self.take(self.judging.next_batch(self.now_ns)[1])
        for batch in list(self.judging.batches):
            self.take(self.judging.batch_failed(batch.number, Reason.ENGINE_FAULT))
        assert set(self.released) == self.given
        for ordinal in self.parts:
            assert ordinal in self.judged or ordinal in self.closed
        self.a_pass_rests_on_every_view_seen_once_healthy_and_clean()


JudgingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestJudgingMachine = JudgingMachine.TestCase
