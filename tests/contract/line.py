# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate process without process: tracker, registers and ring readers (under test), a journal whose disk is
slow, a belt, and the independent PLC, tied together on a virtual clock. Everything said goes to the oracle.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from inspection.messages import PartJudged, ViewSeen
from inspection.types import Outcome, Reason, Verdict
from tests.contract.code import Code
from tests.contract.line_checks import verify_counters, verify_fates, watched_image
from tests.contract.oracle import History, Life, Said
from tests.contract.pictures import BAND_MS, FIRE_LIMIT_MS, MS, Taken
from tests.contract.plc import Plc, Tracked, on_wire, read_slot

POLL_MS = 10
DEADLINE_MS = 100
MIN_PITCH = 20
WINDOW = 10
TRAVEL = 190  # pulses; at most one pulse a millisecond, so 190 ms after the trigger at the earliest
VIEWS, BUNDLE = 2, {"bundle_sha256": "c" * 64}
RECIPES = ("a" * 64, "b" * 64)


@dataclass
class Record:
    """One journal record; `durable` once the disk has it."""

    life: Life
    outcome: Outcome
    durable: bool = False


@dataclass
class Station:
    """One start of the station, and what is known about it."""

    epoch: int
    tracker: Any
    image: Any
    reader: Any
    history: History
    armed: bool = False
    last_number: int = 0
    records: list[Record] = field(default_factory=list)
    published: dict[int, tuple[Outcome, int, int]] = field(default_factory=dict)  # index -> outcome, call, ns
    unread: list[int] = field(default_factory=list)  # published, not yet polled by the PLC
    announced: set[int] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)


class Line:
    def __init__(
        self,
        code: Code,
        *,
        encoder_start: int,
        newest: int,
        most_in_flight: int,
        fired: frozenset[int] = frozenset(),
    ) -> None:
        self.code = code
        self.fired = fired  # cameras that the station triggers itself
        self.now_ns = 10**12
        self.position = 0
        self.slip = 0  # what a faulty encoder has lost: reported = position + slip
        self.encoder_start = encoder_start
        self.most_in_flight = most_in_flight
        self.recipe = RECIPES[0]
        self.plc = Plc(newest=newest, travel=TRAVEL, min_pitch=MIN_PITCH)
        self.crossed: list[tuple[Tracked, Station, Life | None]] = []
        self.crossing_ns: dict[Life, int] = {}
        self.epochs = 0
        self.looked_ns = self.now_ns  # when the station last read its registers
        self.station = self._boot()

    # --- the station's life

    def _boot(self) -> Station:
        self.epochs += 1
        epoch = (self.epochs * 7919) % 65535 + 1
        tracker_module = self.code.tracker
        window = self.code.window.PairWindow(kind="encoder", pulses=WINDOW, time_ns=BAND_MS * MS)
        settings = tracker_module.TrackerSettings(
            views=VIEWS,
            deadline_ns=DEADLINE_MS * MS,
            poll_ns=POLL_MS * MS,
            min_pitch_pulses=MIN_PITCH,
            window=window,
            fired=self.fired,
            fire_limit_ns=FIRE_LIMIT_MS * MS,
            max_in_flight=self.most_in_flight,
        )
        return Station(
            epoch=epoch,
            tracker=tracker_module.Tracker(epoch=epoch, settings=settings, recipe_sha256=self.recipe, **BUNDLE),
            image=watched_image(self.code)(epoch=epoch),
            reader=self.code.rings.TriggerReader(),
            history=History(
                min_pitch=MIN_PITCH,
                deadline_ns=DEADLINE_MS * MS,
                poll_ns=POLL_MS * MS,
                most_in_flight=self.most_in_flight,
                fire_limit_ns=FIRE_LIMIT_MS * MS if self.fired else None,
            ),
        )

    def restart(self) -> None:
        """kill -9: nothing is said any more, a new epoch begins; the journal closes what it cannot prove."""
        old = self.station
        verify_fates(old)
        for index, _ in enumerate(old.history.lives):
            if index not in old.published:
                continue
            last = [r for r in old.records if r.life is old.history.lives[index]][-1]
            assert last.outcome is old.published[index][0], "journal and registers tell two stories"
        self.station = self._boot()
        self.write_plc()
        self.plc.drop()

    def arm(self) -> None:
        """The PLC re-arms: echo, drop what is on the belt, edge; the station takes the baseline."""
        station = self.station
        self.write_plc()
        self.plc.arm(station.epoch)
        baseline = station.reader.arm(station.image.holding())
        assert baseline == on_wire(self.plc.newest)
        call = station.history.call(self.now_ns, ends_all=True)
        station.history.arming += 1
        self._apply(call, station.tracker.arm(self.now_ns, baseline))
        station.image.clear_verdicts()
        self._note_overrun(station)
        station.armed = True
        station.last_number = self.plc.newest

    def disarm(self, reason: Reason) -> None:
        station = self.station
        station.armed = False
        station.reader.disarm()
        call = station.history.call(self.now_ns, ends_all=True)
        self._apply(call, station.tracker.disarm(self.now_ns, reason))

    def fault(self, reason: Reason) -> None:
        call = self.station.history.call(self.now_ns, ends_all=True)
        self._apply(call, self.station.tracker.fault(self.now_ns, reason))

    def change_recipe(self) -> None:
        self.recipe = RECIPES[1 - RECIPES.index(self.recipe)]
        call = self.station.history.call(self.now_ns, ends_all=True)
        self._apply(call, self.station.tracker.use_recipe(self.now_ns, self.recipe))

    # --- time and belt

    def run(self, ms: int, *, speed: int = 1, frozen: bool = False) -> None:
        """Let time pass in polls of 5 ms; a frozen station does nothing while line and PLC go on."""
        end_ns = self.now_ns + ms * MS
        while self.now_ns < end_ns:
            step_ms = min(5, (end_ns - self.now_ns + MS - 1) // MS)
            self.now_ns = min(end_ns, self.now_ns + step_ms * MS)
            self.position += step_ms * speed
            if not frozen:
                self.station_cycle()
            self.plc_cycle()

    def run_until(self, instant_ns: int) -> None:
        """Stand still until exactly this instant, the last tick strictly before it."""
        while self.now_ns < instant_ns - 5 * MS:
            self.run(5, speed=0)
        self.now_ns = max(self.now_ns, instant_ns)

    def station_cycle(self) -> None:
        self.read_triggers()
        self.tick()

    def tick(self) -> None:
        call = self.station.history.call(self.now_ns)
        self._apply(call, self.station.tracker.tick(self.now_ns))

    def plc_cycle(self) -> None:
        station = self.station
        image = station.image.input_bytes()
        self.plc.poll(image)
        self._all_recent_were_read(station)
        self.plc.gate(self.position, self.now_ns)
        station.image.write_holding(4, [station.image.read(10)])

    # --- triggers

    def trigger(self, *, write_slot: bool = True) -> None:
        """A part breaks the beam now; the PLC latches the encoder and writes its ring."""
        self.plc.trigger(self.position, self.wire(self.reported), self.now_ns, write_slot=write_slot)
        part = self.plc.parts[-1]
        self.crossed.append((part, self.station, None))
        self.write_plc()

    @property
    def reported(self) -> int:
        return self.position + self.slip

    def wire(self, position: int) -> int:
        return (position + self.encoder_start) % 2**32

    def write_plc(self) -> None:
        words = self.plc.registers()
        self.station.image.write_holding(8, words[8:40])
        self.station.image.write_holding(3, [words[3]])

    def read_triggers(self) -> None:
        looked_ns, self.looked_ns = self.looked_ns, self.now_ns
        station = self.station
        news = station.reader.read(station.image.holding())
        if not station.armed:
            assert news == (), "triggers were read while not armed"
            return
        ahead = self.plc.newest - station.last_number
        if not 0 <= ahead <= 14:
            assert type(news).__name__ == "Resync", f"a jump of {ahead} is no gap"
            self.plc.drop()
            self.disarm(Reason.RESYNC)
            return
        expected = [(on_wire(n), self.plc.held(n)) for n in range(station.last_number + 1, self.plc.newest + 1)]
        assert type(news) is tuple, "a gap of up to 14 is no jump"
        assert [(t.seq, t.encoder_pulses) for t in news] == expected
        for trigger in news:
            station.last_number += 1
            self._born(station, trigger, looked_ns)

    def _born(self, station: Station, trigger: Any, looked_ns: int) -> None:
        history = station.history
        number = station.last_number
        entry, part = [(i, p) for i, (p, _, _) in enumerate(self.crossed) if p.number == number][-1]
        skipped = trigger.encoder_pulses is None
        reported = None if skipped else self._reported_of(part, trigger.encoder_pulses)
        life = history.birth(self.now_ns, looked_ns, number, reported)
        self.crossed[entry] = part, station, life
        assert part.crossed_ns + DEADLINE_MS * MS >= life.deadline_ns, "the oracle's own deadline is too long"
        self.crossing_ns[life] = part.crossed_ns
        effects = station.tracker.trigger(self.now_ns, trigger.seq, trigger.encoder_pulses, since_ns=looked_ns)
        self._apply(len(history.calls) - 1, effects)

    def _reported_of(self, part: Tracked, wire: int) -> int:
        """The unbounded position that the PLC reported for this part."""
        near = part.position + self.slip
        return near + (wire - self.wire(near) + 2**31) % 2**32 - 2**31

    # --- verdicts

    def lives(self) -> list[Life]:
        return self.station.history.lives

    def judge(
        self,
        index: int,
        outcome: Outcome,
        *,
        offsets: tuple[int | None, ...] = (0, 0),
        taken: tuple[Taken, ...] = (Taken(), Taken(), Taken()),
        cameras: tuple[int, ...] = (0, 1),
        recipe: str | None = None,
        epoch: int | None = None,
        seq_off: int = 0,
        ordinal_off: int = 0,
    ) -> None:
        """The inspector says `outcome` of part `index`, resting on pictures `offsets` away from it in place."""
        station, history = self.station, self.station.history
        life = history.lives[index]
        base = life.position if life.position is not None else 0
        views = tuple(
            ViewSeen(
                camera=camera,
                frame_id=1,
                encoder_pulses=None if offset is None else self.wire(base + offset),
                exposure_ns=when.instant_ns(life, self.crossing_ns[life]),
                ready_ns=self.now_ns,
                stamped=when.stamped,
            )
            for camera, offset, when in zip(cameras, offsets, taken, strict=False)
        )
        judged = PartJudged(
            ordinal=index + 1 + ordinal_off,
            epoch=station.epoch if epoch is None else epoch,
            seq=on_wire(life.number + seq_off),
            verdict=Verdict(outcome=outcome, reasons=()),
            views=views,
            recipe_sha256=recipe or self.recipe,
            **BUNDLE,
            ready_ns=self.now_ns,
            judged_ns=self.now_ns,
        )
        call = history.call(self.now_ns)
        if seq_off or ordinal_off or judged.epoch != station.epoch:
            history.unknown += 1
        else:
            here = all(offset is not None and abs(offset) <= WINDOW for offset in offsets)
            then = all(
                when.fits(life, self.crossing_ns[life], fired=camera in self.fired)
                for camera, when in zip(cameras, taken, strict=False)
            )
            whole = sorted(cameras) == list(range(VIEWS))
            trusted = outcome is Outcome.NOT_INSPECTED or (
                here and then and whole and judged.recipe_sha256 == self.recipe
            )
            life.said.append(Said(call, outcome, trusted))
        self._apply(call, station.tracker.judge(self.now_ns, judged))

    def sync(self, most: int = 1000) -> None:
        """The journal's disk catches up with at most so many records and reports its PASS records."""
        station = self.station
        for record in [r for r in station.records if not r.durable][:most]:
            record.durable = True
            if record.outcome is Outcome.PASS:
                call = station.history.call(self.now_ns)
                record.life.on_disk.append(call)
                index = station.history.lives.index(record.life)
                self._apply(call, station.tracker.durable(self.now_ns, index + 1))

    # --- effects

    def _apply(self, call: int, effects: tuple[Any, ...]) -> None:
        station = self.station
        for effect in effects:
            kind = type(effect).__name__
            if kind == "Close":
                assert effect.ordinal - 1 in station.published, "closed before its outcome was out"
                assert effect.ordinal - 1 in station.announced, "closed what was never announced"
                assert effect.ordinal not in station.closed
                station.closed.add(effect.ordinal)
                continue
            index = effect.part.ordinal - 1
            life = station.history.lives[index]
            assert (effect.part.seq, effect.part.epoch) == (on_wire(life.number), station.epoch)
            born_ns = station.history.calls[life.born].now_ns  # older than the deadline is all the same
            both = (effect.part.deadline_ns, life.deadline_ns)
            assert both[0] == both[1] or max(both) <= born_ns
            if kind == "Open":
                assert life.position is not None
                assert effect.part.encoder_pulses == self.wire(life.position)
                station.announced.add(index)
            elif kind == "JournalVerdict":
                superseding = any(r.life is life for r in station.records)
                assert effect.superseding == superseding
                assert index not in station.published, "a record after publication"
                station.records.append(Record(life, effect.outcome))
            else:
                self._publish(call, index, effect)
        verify_counters(station)

    def _publish(self, call: int, index: int, effect: Any) -> None:
        """Invariants 2, 3, 5 and the two-phase PASS, at the moment of publication."""
        station = self.station
        life = station.history.lives[index]
        assert index == len(station.published), "published out of trigger order, or twice"
        record = [r for r in station.records if r.life is life][-1]
        assert record.outcome is effect.outcome, "published something else than the journal says"
        if effect.outcome is Outcome.PASS:
            assert record.durable, "PASS published before its record was on disk"
            assert self.now_ns < life.deadline_ns, "PASS published at or after its deadline"
        station.published[index] = (effect.outcome, call, self.now_ns)
        station.image.announce(on_wire(life.number), effect.outcome)
        station.unread.append(index)

    def _all_recent_were_read(self, station: Station) -> None:
        """The ring holds at least the last 15: what went out since the last poll is known to the PLC now."""
        words = struct.unpack(">80H", station.image.input_bytes())
        for index in station.unread[-15:]:
            life = station.history.lives[index]
            slot = read_slot(words, life.number)
            assert slot == (on_wire(life.number), station.epoch, station.published[index][0].name)
            assert words[10] == on_wire(station.history.lives[station.unread[-1]].number)
        self._note_overrun(station)

    @staticmethod
    def _note_overrun(station: Station) -> None:
        station.image.overrun = station.image.overrun or len(station.unread) > 15
        station.unread.clear()

    # --- what the belt saw

    def verify_belt(self) -> None:
        """Invariants 1 and 4 at the gate: what passed had to, and what had to pass did."""
        for part, station, life in self.crossed:
            if part.passed is None:
                continue
            index = station.history.lives.index(life) if life is not None else -1
            outcome, _, at_ns = station.published.get(index, (None, 0, 0))
            if part.passed:
                assert life is not None, "a part passed that the station never saw"
                assert outcome is Outcome.PASS, "a part passed without a PASS"
                assert station.epoch == part.epoch, "a part passed on another epoch's verdict"
                assert at_ns < life.deadline_ns
            elif (
                outcome is Outcome.PASS
                and at_ns + POLL_MS * MS <= part.decided_ns
                and not station.image.overrun
            ):
                assert part.given_up or part.too_close, "a timely PASS with no diverting reason was diverted"
