# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole line on a virtual clock, in one process: belt, soft PLC and cameras of the twin against the real
gate (loop, tracker, registers, rings) and the real inspector's mind (pairing, rules, scheduler). Only sockets,
disks, slots and the engine are replaced, by things that take virtual time and can fail.

Every picture carries its part's number as frame id, so that what a verdict rests on can be checked afterwards.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inspection.gate_effects import GateSettings
from inspection.gate_loop import Gate
from inspection.gate_watch import DeviceLoss, DeviceReport, ErrorCode
from inspection.gates.registers import INPUT_COUNT, RegisterImage
from inspection.journal_records import VerdictRecord
from inspection.judging import Effect, Exposed, Judged, Judging
from inspection.messages import ExposureDone, LineReset, PartClosed, PartJudged, PartTriggered, ViewSeen
from inspection.pairing import Pairer
from inspection.recipe import Recipe, ViewRecipe
from inspection.scheduler import ServiceTimes
from inspection.tracker import Tracker, TrackerSettings
from inspection.twin.belt import Belt, BeltPlan
from inspection.twin.chance import frame_dropped
from inspection.twin.soft_plc import Phase, PlcPlan, SoftPlc
from inspection.twin.truth import RegisterTruth, register_truth
from inspection.types import Box, Epoch, Finding, FrameRef, Outcome, Reason
from inspection.window import PairWindow

MS = 1_000_000
SCAN = 10 * MS
DEADLINE = 280 * MS
DEFECTIVE_EVERY = 7
RECIPE = Recipe(name="virtual", version=1, id=3, views=(ViewRecipe(name="a"), ViewRecipe(name="b")))
HASHES = {"recipe_sha256": RECIPE.sha256, "bundle_sha256": "b" * 64}
DEFECT = Finding(defect_class="pit", score=0.99, box=Box(x0_px=1, y0_px=1, x1_px=9, y1_px=9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Shares of parts (or of scans) at which something goes wrong."""

    drop_frames: float = 0.0
    late_frames: float = 0.0
    double_frames: float = 0.0
    skip_triggers: float = 0.0
    slow_engine: float = 0.0
    broken_engine: float = 0.0
    slow_disk: float = 0.0
    cable_cuts: float = 0.0  # per part
    inspector_deaths: float = 0.0
    gate_deaths: float = 0.0
    gate_freezes: float = 0.0


class _Disk:
    """Stands for the journal: appends at once, is durable when its virtual sync ends."""

    def __init__(self, line: VirtualLine) -> None:
        self._line = line
        self.fault = self.spare_error = None
        self.has_room = True
        self.appended = self.durable = -1
        self.sync_ns_last = self.sync_ns_max = 0
        self._busy_until = 0

    def append(self, record: object, *, closing: bool = False) -> int:
        self.appended += 1
        self._line.records.append(record)
        return self.appended

    def sync_until(self, index: int) -> None:
        line = self._line
        slow = line.chance.random() < line.trouble.slow_disk
        takes = 400 * MS if slow else int(line.chance.uniform(0.2, 4.0) * MS)
        gate = line.gate
        self._busy_until = max(self._busy_until, line.now) + takes  # one sync at a time
        line.at(self._busy_until, lambda: self._done(gate, index))

    def _done(self, gate: Gate, index: int) -> None:
        if gate is self._line.gate and index > self.durable:
            self.durable = index
            self._line.wake(lambda: gate.on_disk(index))


class _Row:
    """Stands for the board's row."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class _Link:
    """The gate's end of its link to the inspector; messages take a tenth of a millisecond."""

    def __init__(self, line: VirtualLine) -> None:
        self._line = line
        self.inbox: list[Any] = []

    def send(self, message: Any) -> bool:
        self._line.at(self._line.now + MS // 10, lambda: self._line.inspector_hears(self, message))
        return True

    def receive(self) -> Any:
        return self.inbox.pop(0) if self.inbox else None


@dataclass(slots=True)
class _Devices:
    """Stands for the watch over cameras and inspector."""

    lost_until_ns: int = 0

    def look(self, now_ns: int) -> DeviceReport:
        loss = None
        if now_ns < self.lost_until_ns:
            loss = DeviceLoss(reason=Reason.INSPECTOR_LOST, code=ErrorCode.INSPECTOR, text="gone")
        return DeviceReport(found=True, loss=loss)


@dataclass
class VirtualLine:
    """One run of `parts` parts; `run` returns when the last one has passed the gate."""

    parts: int
    rate: float = 25.0
    seed: int = 1
    trouble: Trouble = field(default_factory=Trouble)
    now: int = 1_000 * MS
    records: list[object] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    lost_pictures: set[int] = field(default_factory=set)  # parts that cannot have all their pictures in time
    _events: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0
    _frozen_from: int = 0
    _frozen_until: int = 0
    _cut_until: int = 0
    _engine_busy: bool = False
    _epochs: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        pitch = 80.0
        self.belt = Belt(
            BeltPlan(
                seed=self.seed, rate_parts_per_s=self.rate, pitch_mm=pitch, min_pitch_mm=0.7 * pitch,
                travel_mm=self.rate * pitch * 1.02 * 0.4 + 10, pulses_per_mm=20.0,
            )
        )  # fmt: skip
        plan = PlcPlan(parts=self.parts, skip_share=self.trouble.skip_triggers, seed=self.seed)
        self.plc = SoftPlc(self.belt, plan, self._log)
        self.disk = _Disk(self)
        self._start_gate()
        self._start_inspector()
        self.at(self.now, self._scan)
        self.at(self.now, self._watch)
        self.at(self.now, self._tick_inspector)

    def _log(self, fact: str, **fields: Any) -> None:
        self.facts.append({"fact": fact, **fields})

    # --- virtual time
    def at(self, when: int, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def wake(self, entry: Callable[[], object]) -> None:
        """Call into the gate, when it does not stand still."""
        if self.now >= self._frozen_until:
            entry()
        else:
            self.at(self._frozen_until, lambda: self.wake(entry))

    def run(self) -> None:
        """Arm, let the belt run, end when it is empty."""
        started = False
        while not self.plc.finished:
            self.now, _, what = heapq.heappop(self._events)
            what()
            if not started and self.plc.phase is Phase.ARMED:
                started = True
                self.plc.t0_ns = self.now + MS
                self._next_trigger(0)

    # --- the station
    def _start_gate(self) -> None:
        self._epochs += 1
        epoch = 1000 + self._epochs
        window = self._window()
        settings = TrackerSettings(
            views=2, deadline_ns=DEADLINE, poll_ns=SCAN, min_pitch_pulses=int(56.0 * 20), window=window
        )
        self.image = RegisterImage(epoch=epoch, simulated=True)
        self.link = _Link(self)
        self.devices = _Devices()
        self.gate = Gate(
            settings=GateSettings(
                epoch=epoch, recipe_id=RECIPE.id, recipe_crc=RECIPE.crc, recipe_sha256=RECIPE.sha256,
                max_in_flight=15,
            ),
            tracker=Tracker(epoch=Epoch(epoch), settings=settings, **HASHES),
            image=self.image,
            journal=self.disk,  # type: ignore[arg-type]
            link=self.link,  # type: ignore[arg-type]
            row=_Row(), devices=self.devices,  # type: ignore[arg-type]
            schedule=self._schedule,
            clock=lambda: self.now,
        )  # fmt: skip

    def _schedule(self, at_ns: int) -> None:
        gate = self.gate
        self.at(at_ns, lambda: self.wake(gate.tick) if gate is self.gate else None)

    def _window(self) -> PairWindow:
        return PairWindow(pulses=int(56.0 * 20) // 2, time_ns=int(56.0 / 2 / (self.rate * 80.0 * 1.02) * 1e9))

    def _watch(self) -> None:
        gate = self.gate
        self.wake(lambda: self._look(gate))
        self.at(self.now + 25 * MS, self._watch)

    def _look(self, gate: Gate) -> None:
        if gate is self.gate:
            gate.watch()
            gate.beat()

    def _start_inspector(self) -> None:
        self._engine_busy = False
        pairer = Pairer(
            views=2, window=self._window(), frame_wait_ns=DEADLINE - 20 * MS, part_wait_ns=DEADLINE - 20 * MS
        )
        times = ServiceTimes(margin_ns=2 * MS)
        times.observe(1, 6 * MS)
        self.judging = Judging(pairer=pairer, recipe=RECIPE, times=times, max_batch=4)

    def inspector_hears(self, link: _Link, message: Any) -> None:
        """A message of the gate arrives."""
        if link is not self.link:
            return
        match message:
            case PartTriggered(part=part):
                self._carry_out(self.judging.part(part))
            case PartClosed(ordinal=ordinal):
                self._carry_out(self.judging.closed(ordinal))
            case LineReset():
                self._carry_out(self.judging.reset())

    def _tick_inspector(self) -> None:
        self._carry_out(self.judging.tick(self.now))
        self.at(self.now + 5 * MS, self._tick_inspector)

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Exposed):
                self._tell_gate(ExposureDone(ordinal=effect.part.ordinal))
            elif isinstance(effect, Judged):
                self._tell_gate(self._judged(effect))
        self._feed_engine()

    def _judged(self, effect: Judged) -> PartJudged:
        views = tuple(
            ViewSeen(
                camera=f.camera, frame_id=f.frame_id, encoder_pulses=f.encoder_pulses,
                exposure_ns=f.exposure_ns, ready_ns=f.ready_ns,
            )
            for f in effect.frames
        )  # fmt: skip
        part = effect.part
        return PartJudged(
            ordinal=part.ordinal, epoch=part.epoch, seq=part.seq, verdict=effect.verdict, views=views,
            **HASHES, ready_ns=self.now, judged_ns=self.now,
        )  # fmt: skip

    def _tell_gate(self, message: object) -> None:
        link, gate = self.link, self.gate

        def arrive() -> None:
            link.inbox.append(message)
            if gate is self.gate:
                self.wake(gate.inspector_said)

        self.at(self.now + MS // 10, arrive)

    def _feed_engine(self) -> None:
        if self._engine_busy:
            return
        batch, effects = self.judging.next_batch(self.now)
        if batch is not None:
            self._engine_busy = True
            slow = self.chance.random() < self.trouble.slow_engine
            takes = 150 * MS if slow else int(self.chance.uniform(3, 8) * len(batch.frames) * MS)
            judging = self.judging
            self.at(self.now + takes, lambda: self._answer(judging, batch.number, batch.frames))
        if effects:
            self._carry_out(effects)

    def _answer(self, judging: Judging, number: int, frames: tuple[FrameRef, ...]) -> None:
        if judging is not self.judging:
            return  # that inspector is dead
        self._engine_busy = False
        if self.chance.random() < self.trouble.broken_engine:
            self._carry_out(judging.batch_failed(number, Reason.ENGINE_FAULT))
            return
        findings = [(DEFECT,) if f.frame_id % DEFECTIVE_EVERY == 0 else () for f in frames]
        self._carry_out(judging.answered(number, findings, now_ns=self.now))

    # --- the line
    def _scan(self) -> None:
        words = self.plc.scan(self.now)
        if self.now < self._cut_until:
            self.plc.lost(self.now, "the cable is cut")
        else:
            image = self.image
            at = self.now + MS // 2
            self.at(at, lambda: self.wake(lambda: self._exchange(image, words, at)))
        self.at(self.now + SCAN, self._scan)

    def _exchange(self, image: RegisterImage, words: list[int], came: int) -> None:
        """One FC16 and one FC04, with the gate that was asked. One that stood still knows only since when."""
        if image is not self.image:
            return
        image.write_holding(0, words)
        self.gate.plc_wrote(1, since_ns=came if came == self.now else self._frozen_from)
        data = image.input_bytes()
        registers = tuple(int.from_bytes(data[2 * i : 2 * i + 2], "big") for i in range(INPUT_COUNT))
        if self.now >= self._cut_until:
            self.plc.received(self.now, registers)

    def _next_trigger(self, number: int) -> None:
        if number < self.parts and self.plc.t0_ns is not None:
            self.at(self.plc.t0_ns + self.belt.trigger_ns(number), lambda: self._trigger(number))

    def _trigger(self, number: int) -> None:
        self._next_trigger(number + 1)
        chance, trouble = self.chance, self.trouble
        for view in (0, 1):
            if frame_dropped(self.seed, number, view, trouble.drop_frames):
                self.lost_pictures.add(number)
                continue
            late = chance.random() < trouble.late_frames
            if late:
                self.lost_pictures.add(number)
            copies = 2 if chance.random() < trouble.double_frames else 1
            if copies == 2:
                self.lost_pictures.add(number)
            for copy in range(copies):
                delay = 300 * MS if late else int(chance.uniform(2, 12) * MS) + copy * MS // 4
                self.at(self.now + delay, self._frame(number, view, self.now))
        self._strike()

    def _frame(self, number: int, view: int, exposure_ns: int) -> Callable[[], None]:
        def arrive() -> None:
            frame = FrameRef(
                camera=view, slot=0, generation=0, frame_id=number,
                encoder_pulses=self.belt.camera_encoder_pulses(number, view), exposure_ns=exposure_ns,
                ready_ns=self.now, width_px=8, height_px=8, pixel_format=0,
            )  # fmt: skip
            self._carry_out(self.judging.frame(frame))

        return arrive

    def _strike(self) -> None:
        """What may befall the line as a whole, once a part."""
        chance, trouble = self.chance, self.trouble
        if chance.random() < trouble.cable_cuts:
            self._cut_until = self.now + int(chance.uniform(50, 600) * MS)
        if chance.random() < trouble.inspector_deaths:
            self.devices.lost_until_ns = self.now + int(chance.uniform(200, 800) * MS)
            self._start_inspector()
        if chance.random() < trouble.gate_freezes:
            self._frozen_from = self._frozen_from if self.now < self._frozen_until else self.now
            self._frozen_until = max(self._frozen_until, self.now + int(chance.uniform(50, 500) * MS))
        if chance.random() < trouble.gate_deaths:
            self._cut_until = self.now + int(chance.uniform(200, 900) * MS)
            self._start_gate()
            self._start_inspector()

    # --- what came of it
    def truth(self) -> RegisterTruth:
        """Truth from the PLC's own register reads."""
        return register_truth(self.facts, deadline_ns=DEADLINE, poll_ns=SCAN, scan_ns=SCAN)

    def verdicts(self) -> dict[tuple[int, int], VerdictRecord]:
        """The last record of each part, by (epoch, seq)."""
        return {(r.epoch, r.seq): r for r in self.records if isinstance(r, VerdictRecord)}

    def mispaired(self) -> list[int]:
        """Judged parts of which a picture shows another part."""
        verdicts, wrong = self.verdicts(), []
        for fact in self.truth().parts:
            record = verdicts.get((fact["epoch"], fact["seq"]))
            judged = record is not None and record.outcome in (Outcome.PASS, Outcome.REJECT)
            if record is not None and judged and any(v.frame_id != fact["number"] for v in record.views):
                wrong.append(fact["number"])
        return wrong
