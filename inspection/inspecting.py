# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector's loop: pictures from the cameras' rings through the engine to a verdict at the gate.

One thread, one epoll loop over the links and the engine's answers; `inspection.judging` decides, this file
moves. It touches neither disk nor network once it runs. It beats the status board at least every
20 ms, so that an engine that hangs inside a call, or a loop that is stuck, is seen by the gate within 150 ms.
An engine that does not answer has its parts declared NOT_INSPECTED at once, and if it stays silent the process
ends (exit code 5): the supervisor brings a fresh one.
"""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

import msgspec

from cameras.ring import StaleLease
from inspection.board import InspectorCounter, ProcessState, Row
from inspection.detectors.base import BatchResult, Detector, EngineFault, View
from inspection.engines import Engine, Engines, other_threads_ns
from inspection.judging import Batch, Effect, Exposed, Judged, Judging, Release
from inspection.link import Link
from inspection.messages import (
    BundleAgreed,
    ExposureDone,
    FireTrigger,
    FrameFault,
    FrameReady,
    LineReset,
    PartClosed,
    PartJudged,
    PartTriggered,
    SlotsLeft,
    UseBundle,
    ViewSeen,
)
from inspection.shadow_feed import ShadowFeed
from inspection.slots import CameraSlots, Keeper
from inspection.swapping import Swapping
from inspection.types import Outcome, PartRef, Reason, Verdict

EXIT_ENGINE = 5
"""The engine hangs or only fails: a fresh process is the remedy."""
NS_PER_MS = 1_000_000
_BEAT_S = 0.02
_TICK_NS = 5 * NS_PER_MS
_MESSAGES_A_TURN = 64  # bounded, so that a flood on one link starves neither the others nor the heartbeat
_FAULTS_IN_A_ROW = 5
_PATIENCE_NS = 3_000 * NS_PER_MS
"""A batch is declared hung, and its parts NOT_INSPECTED, after `hang_ms`; for so long after that the engine may
still answer (the answer is thrown away) before the process ends. Nothing passes meanwhile that would not pass
anyhow: the hung batch keeps its place in the engine. It fits into the contract's 10 s for a cold engine.
"""


class Inspector:
    """One inspector, built by hand in inspection.inspector; `run` until told to stop."""

    def __init__(
        self,
        *,
        links: dict[str, Link],
        cameras: list[CameraSlots],
        detector: Detector,
        judging: Judging,
        keeper: Keeper,
        recipe_sha256: str,
        row: Row,
        hang_ns: int,
        fires: Sequence[Link] = (),
        fire_limit_ns: int = 0,
        swapping: Swapping | None = None,
        shadow: ShadowFeed | None = None,
        margin_ns: int = 0,
        deadline_ns: int = 0,
    ) -> None:
        """`fires`: links of the cameras that the station triggers itself, within `fire_limit_ns` of the part's
        own trigger. `swapping`: how another bundle comes in; with it, `margin_ns` is what a verdict takes after
        its engine, and a part is over `deadline_ns` after its trigger.
        """
        self._gate = links["gate"]
        self._links = links
        self._cameras = cameras
        self._engines = Engines(detector, judging)
        self._judging = judging
        self._keeper = keeper
        self._recipe_sha256 = recipe_sha256
        self._swapping = swapping
        self._shadow = shadow
        self._margin_ns = margin_ns
        self._deadline_ns = deadline_ns
        self._epoch = 0
        self._heard: dict[int, Callable[[], None]] = {}
        self._row = row
        self._hang_ns = hang_ns
        self._fires = fires
        self._fire_limit_ns = fire_limit_ns
        self._overdue: dict[int, int] = {}  # batches declared hung -> when the patience with them ends
        self._faults_in_a_row = 0
        self._failure = ""  # why the process must end
        self._undecodable = 0
        self._next_tick_ns = 0
        self._next_counts_ns = 0
        self._busy_from_ns = 0

    # --- the loop

    def run(self, stop: threading.Event) -> int:
        """Until `stop` is set (0) or the engine is beyond help (EXIT_ENGINE)."""
        self._busy_from_ns = other_threads_ns()
        heard = self._heard = {
            link.fileno(): partial(self._drain, link)
            for name, link in self._links.items()
            if name not in {"recorder", "shadow"}
        }
        now_ns = time.monotonic_ns()
        with select.epoll() as poll:  # `selectors` would cost 10 us a picture
            for fd in heard:
                poll.register(fd, select.EPOLLIN)
            heard |= dict.fromkeys(self._engines.fds, _wake_up)
            self._engines.listen(poll)
            while not stop.is_set() and not self._failure:
                self._row.beat(now_ns)  # as old as the turn before it: never younger than the loop
                for fd, _ in poll.poll(_BEAT_S):
                    heard[fd]()
                now_ns = time.monotonic_ns()
                self.turn(now_ns)
        if not self._failure:
            return 0
        self._carry_out(self._judging.abandon(Reason.ENGINE_HUNG))
        self._show(time.monotonic_ns())
        self._row.report(ProcessState.FAULT, self._failure)
        sys.stderr.write(f"inspector: {self._failure}\n")
        return EXIT_ENGINE

    def turn(self, now_ns: int) -> None:
        """What is to do after messages were read: answers, time-outs, the next batches, counters."""
        self._take_answers()
        if now_ns >= self._next_tick_ns:
            self._next_tick_ns = now_ns + _TICK_NS
            self._carry_out(self._judging.tick(now_ns))
            self._look_for_hangs(now_ns)
            if self._swapping is not None:
                self._swapping.look(now_ns, self._engines.newest.bundle_sha256)
                self._engines.retire(now_ns)
        for engine in self._engines:
            while engine.has_room and self._judging.waits(engine.lane) and not self._failure:
                self._feed(engine)
                self._take_answers()
        if now_ns >= self._next_counts_ns:
            self._next_counts_ns = now_ns + int(_BEAT_S * 1e9)
            self._show(now_ns)

    def close(self) -> None:
        """Release the engines and the rings."""
        if self._swapping is not None:
            self._swapping.close()
        self._engines.close()
        if self._shadow is not None:
            self._shadow.close()
        for camera in self._cameras:
            camera.close()

    # --- messages

    def _drain(self, link: Link) -> None:
        for _ in range(_MESSAGES_A_TURN):
            try:
                message = link.receive()
            except msgspec.DecodeError:
                self._undecodable += 1
                continue
            match message:
                case None:
                    return
                case FrameReady():
                    self._frame(message)
                case FrameFault():
                    self._carry_out(
                        self._judging.frame_fault(
                            camera=message.camera,
                            reason=message.reason,
                            encoder_pulses=message.encoder_pulses,
                            at_ns=message.at_ns,
                        )
                    )
                case SlotsLeft():
                    if 0 <= message.camera < len(self._cameras):
                        self._cameras[message.camera].take_back(message.slots)
                case PartTriggered():
                    self._fire(message.part)  # first of all: the belt moves
                    self._carry_out(self._judging.part(message.part))
                case PartClosed():
                    self._carry_out(self._judging.closed(message.ordinal))
                case LineReset():
                    self._reset(message)
                case BundleAgreed():
                    self._agreed(message)
                case UseBundle() if self._swapping is not None:
                    self._swapping.ordered(message, self._engines.newest.bundle_sha256)
                case _:
                    self._undecodable += 1  # a message that nobody sends us

    def _fire(self, part: PartRef) -> None:
        """Have the cameras without a trigger line take its pictures. A lost order is a missing picture."""
        for link in self._fires:
            link.send(
                FireTrigger(
                    ordinal=part.ordinal,
                    encoder_pulses=part.encoder_pulses,
                    at_ns=part.trigger_ns,
                    until_ns=part.trigger_ns + self._fire_limit_ns,
                )
            )

    def _frame(self, message: FrameReady) -> None:
        frame = message.frame
        if not 0 <= frame.camera < len(self._cameras):
            self._undecodable += 1
            return
        camera = self._cameras[frame.camera]
        camera.told(frame)
        if camera.fits(frame):
            self._carry_out(self._judging.frame(frame))
            return
        camera.free(frame)
        self._carry_out(
            self._judging.frame_fault(
                camera=frame.camera,
                reason=Reason.FRAME_INCOMPLETE,
                encoder_pulses=frame.encoder_pulses,
                at_ns=frame.exposure_ns,
            )
        )

    # --- which bundle judges

    def _reset(self, message: LineReset) -> None:
        self._carry_out(self._judging.reset())
        if message.epoch != self._epoch:  # another gate: it counts parts anew, and must hear who judges them
            self._epoch = message.epoch
            self._judging.only_newest_lane()
            if self._swapping is not None:
                self._swapping.offer(self._engines.newest.bundle_sha256)

    def _agreed(self, message: BundleAgreed) -> None:
        """The gate has it on record: parts from that ordinal on, of which none came yet, get the new engine."""
        swapping, newest = self._swapping, self._engines.newest
        self._epoch = self._epoch or message.epoch  # started under a gate that has nothing to reset
        if swapping is None or message.epoch != self._epoch or message.bundle_sha256 == newest.bundle_sha256:
            return
        loaded = swapping.agreed(message.bundle_sha256)
        if loaded is None:  # what a predecessor of this process had offered: put it right
            swapping.offer(newest.bundle_sha256)
            return
        self._engines.take(
            loaded,
            message.from_ordinal,
            margin_ns=self._margin_ns,
            retire_at_ns=time.monotonic_ns() + 2 * self._deadline_ns,
        )
        self._heard[loaded.detector.fileno()] = _wake_up
        info = loaded.detector.info
        self._row.report(ProcessState.READY, f"{info.runtime} {info.bundle_sha256[:12]}")

    # --- the engines

    def _feed(self, engine: Engine) -> None:
        batch, effects = self._judging.next_batch(time.monotonic_ns(), engine.lane)
        if batch is not None:
            self._submit(engine, batch)
        self._carry_out(effects)

    def _submit(self, engine: Engine, batch: Batch) -> None:
        views: list[View] = []
        try:
            for frame in batch.frames:
                views.append(self._cameras[frame.camera].view(frame))  # noqa: PERF401 - may raise midway
        except StaleLease:
            self._carry_out(self._judging.batch_failed(batch.number, Reason.FRAME_LOST))
            return
        engine.in_engine += 1
        engine.detector.submit(batch.number, views)

    def _take_answers(self) -> None:
        for engine in self._engines:
            self._take_answers_of(engine)

    def _take_answers_of(self, engine: Engine) -> None:
        while (result := engine.detector.collect()) is not None:
            now_ns = time.monotonic_ns()
            engine.in_engine -= 1
            if self._judging.waits(engine.lane) and not self._failure:
                self._feed(engine)  # first of all: the engine does not wait for rules and links
            if self._overdue.pop(result.number, None) is None:
                self._carry_out(self._result(result, now_ns))

    def _result(self, result: BatchResult, now_ns: int) -> list[Effect]:
        number = result.number
        if result.fault is not None:
            self._engine_faulted(result.fault)
            return self._judging.batch_failed(number, result.fault.reason)
        self._faults_in_a_row = 0
        frames = self._judging.frames_of(number)
        damaged = [i for i, frame in enumerate(frames) if not self._cameras[frame.camera].holds(frame)]
        return self._judging.answered(number, result.findings, now_ns=now_ns, damaged=damaged)

    def _engine_faulted(self, fault: EngineFault) -> None:
        self._faults_in_a_row += 1
        sys.stderr.write(f"inspector: {fault}\n")
        if self._faults_in_a_row >= _FAULTS_IN_A_ROW:
            self._failure = f"the engine failed {_FAULTS_IN_A_ROW} times in a row, last with: {fault}"

    def _look_for_hangs(self, now_ns: int) -> None:
        """Two steps: what it holds is NOT_INSPECTED after `hang_ns`; only much later the process gives up.

        The second step keeps a box that merely stalled from paying for it with a cold start.
        """
        for batch in list(self._judging.batches):
            if now_ns - batch.started_ns > batch.expected_ns + self._hang_ns:
                self._overdue[batch.number] = now_ns + max(self._hang_ns, _PATIENCE_NS)
                self._carry_out(self._judging.batch_failed(batch.number, Reason.ENGINE_HUNG))
        if any(now_ns > patience_ns for patience_ns in self._overdue.values()):
            self._failure = "the engine does not answer; the process ends and is started anew"

    # --- effects

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Release():
                    self._keeper.release(effect)
                case Exposed():
                    self._gate.send(ExposureDone(ordinal=effect.part.ordinal))
                case Judged():
                    self._gate.send(self._judged_message(effect))
                    if self._shadow is not None and self._shadow.wanted:
                        bundle = self._engines.stamp(effect.part.ordinal)
                        self._shadow.offer(effect, bundle, busy=self._judging.has_work)
                case _:
                    assert_never(effect)

    def _judged_message(self, judged: Judged) -> PartJudged:
        part, verdict, frames = judged.part, judged.verdict, judged.frames
        if verdict.outcome is Outcome.PASS and not all(self._cameras[f.camera].holds(f) for f in frames):
            verdict = Verdict(outcome=Outcome.NOT_INSPECTED, reasons=(Reason.FRAME_LOST,))
        return PartJudged(
            ordinal=part.ordinal,
            epoch=part.epoch,
            seq=part.seq,
            verdict=verdict,
            views=tuple(
                ViewSeen(
                    camera=frame.camera,
                    frame_id=frame.frame_id,
                    encoder_pulses=frame.encoder_pulses,
                    exposure_ns=frame.exposure_ns,
                    ready_ns=frame.ready_ns,
                    strip=self._cameras[frame.camera].strip(frame),
                    stamped=frame.stamped,
                )
                for frame in frames
            ),
            recipe_sha256=self._recipe_sha256,
            bundle_sha256=self._engines.stamp(part.ordinal),
            ready_ns=max((frame.ready_ns for frame in frames), default=0),
            judged_ns=time.monotonic_ns(),
        )

    def _show(self, now_ns: int) -> None:
        """Copy the counters to the board."""
        row, counts = self._row, self._judging.counts
        row.beat(now_ns)
        row.set(InspectorCounter.FRAMES, counts.frames)
        row.set(InspectorCounter.BATCHES, counts.batches)
        row.set(InspectorCounter.INFERENCES, counts.inferences)
        row.set(InspectorCounter.SHED, counts.shed)
        row.set(InspectorCounter.ENGINE_FAULTS, counts.engine_faults)
        row.set(InspectorCounter.ENGINE_BUSY_NS, other_threads_ns() - self._busy_from_ns)
        row.set(InspectorCounter.UNPAIRED_FRAMES, counts.unpaired_frames)
        row.set(InspectorCounter.JUDGED, counts.judged)
        row.set(InspectorCounter.IMAGES_HANDED, self._keeper.handed)
        row.set(InspectorCounter.IMAGES_SHED, self._keeper.shed)
        row.set(InspectorCounter.LINK_DROPPED, self._undecodable + sum(x.dropped for x in self._links.values()))
        if self._shadow is not None:
            self._shadow.show(row)
        row.set(InspectorCounter.ENGINE_THREADS, self._engines.newest.detector.info.threads)


def _wake_up() -> None:
    """What an engine's answer asks of the poll: `turn` collects it."""
