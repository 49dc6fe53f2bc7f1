# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate between its edges: what the PLC writes, the inspector says, the journal confirms and time brings.

One object, one thread, no waiting. Every entry reads the clock once, notices first whether the process itself
had stood still, and only then acts. The tracker decides; `Gate` carries its effects out in order:
journal, then registers. A PASS goes into the registers only after its record is on disk, its mark is written
and the clock, read once more, is still before the deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from inspection.board import Row
from inspection.gate_effects import Announcer, GateSettings
from inspection.gate_orders import PlcDesk
from inspection.gate_status import show_board, status_bits
from inspection.gate_watch import DeviceLoss, DeviceWatch, ErrorCode, FreezeWatch, LineStop
from inspection.gates.plc_rings import Resync
from inspection.gates.registers import Input, RegisterImage, Status
from inspection.journal import Journal
from inspection.journal_records import (
    Armed,
    DispositionRecord,
    LineEvent,
    PartIdentified,
    Record,
)
from inspection.link import Link
from inspection.messages import BundleReady, ExposureDone, LineReset, PartJudged
from inspection.states import Event, StateMachine
from inspection.tracker import (
    VERDICT_RING_HOLDS,
    Effects,
    Tracker,
)
from inspection.types import Disposition, Reason, StationState

_MESSAGES_A_TURN = 64
_EMPTY_WAKES = 100


class Gate:
    """Tracker, registers, journal, link and board row of one epoch, wired by hand in gate.py."""

    def __init__(
        self,
        *,
        settings: GateSettings,
        tracker: Tracker,
        image: RegisterImage,
        journal: Journal,
        link: Link,
        row: Row,
        devices: DeviceWatch,
        schedule: Callable[[int], None],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`schedule(at_ns)` asks for a call of `tick` at that monotonic instant; the latest request counts."""
        self.settings = settings
        self.machine = StateMachine()
        self.desk = PlcDesk(settings.epoch)
        self.journal = journal
        self.text = ""
        self.warning = ""  # does not stop the line, and will if nobody looks
        self._tracker = tracker
        self._image = image
        self._link = link
        self._row = row
        self._devices = devices
        self._schedule = schedule
        self._clock = clock
        self._freeze = FreezeWatch(clock())
        self._line_stop = LineStop(settings.consecutive_rejects_stop)
        self._announcer = Announcer(
            settings=settings,
            image=image,
            journal=journal,
            link=link,
            clock=clock,
            published=self._line_stop.outcome,
        )
        self._empty_wakes = 0
        self._code = ErrorCode.NONE
        self._flags = Status(0)  # latched: ResyncNeeded, RingOverrun, MissedTrigger
        self._missed_seen = 0
        self._scheduled_ns: int | None = None
        self.wants_journal = False
        self.plc_lost = False
        self.recipe_ok = True
        image.store(Input.RECIPE_ID, settings.recipe_id)
        image.store(Input.RECIPE_CRC, settings.recipe_crc)
        link.send(LineReset(epoch=settings.epoch, armed=False))

    # --- entries

    def plc_wrote(self, writer_number: int, *, since_ns: int) -> None:
        """The PLC wrote holding registers through its `writer_number`-th connection, after `since_ns`."""
        now_ns = self._enter()
        holding = self._image.holding()
        self.desk.see_heartbeat(now_ns, holding, writer_number)
        if self.machine.executing:
            self._take_triggers(now_ns, since_ns, holding)
        for seen in self.desk.dispositions.read(holding):
            if seen.disposition is not None:
                self._dispose(seen.seq, seen.disposition)
        if (named := self.desk.new_part_id(holding)) is not None:
            seq, text = named
            self._note(PartIdentified(epoch=self.settings.epoch, seq=seq, part_id=text, utc_ns=time.time_ns()))
        self.desk.take_orders(self, now_ns, holding)
        self._show(now_ns)

    def inspector_said(self) -> bool:
        """Read what the inspector sent. False when its link seems dead: stop reading, the board will tell."""
        now_ns = self._enter()
        for i in range(_MESSAGES_A_TURN):
            try:
                message = self._link.receive()
            except msgspec.DecodeError as e:
                self.event("link", f"a message from the inspector could not be read: {e}")
                continue
            if message is None:
                self._empty_wakes = self._empty_wakes + 1 if i == 0 else 0
                break
            self._empty_wakes = 0
            if isinstance(message, PartJudged):
                self._apply(now_ns, self._tracker.judge(now_ns, message))
            elif isinstance(message, ExposureDone):
                self._tracker.exposure_done(message.ordinal)
            elif isinstance(message, BundleReady):
                self._use_bundle(now_ns, message)
        self._show(now_ns)
        return self._empty_wakes < _EMPTY_WAKES

    def _use_bundle(self, now_ns: int, ready: BundleReady) -> None:
        if ready.recipe_sha256 != self.settings.recipe_sha256:  # its verdicts are distrusted anyhow
            self.event("bundle", f"bundle {ready.bundle_sha256[:12]} was offered under another recipe")
        elif (fault := self._announcer.use_bundle(self._tracker, ready)) is not None:
            self.journal_fault(now_ns, fault)

    def on_disk(self, index: int) -> None:
        """The journal has everything up to `index` on disk."""
        now_ns = self._enter()
        for ordinal in self._announcer.on_disk(index):
            self._apply(now_ns, self._tracker.durable(now_ns, ordinal))
        self._show(now_ns)

    def tick(self) -> None:
        """A deadline may have come."""
        self._scheduled_ns = None
        now_ns = self._enter()
        self._apply(now_ns, self._tracker.tick(now_ns))
        self._show(now_ns)

    def watch(self) -> bool:
        """Look at devices, PLC and journal; call every 25 ms. True when the PLC has just gone silent."""
        now_ns = self._enter()
        if self.journal.fault is not None:
            self.journal_fault(now_ns, self.journal.fault)
        elif not self.journal.has_room:
            self.journal_fault(now_ns, f"the journal is full ({self.journal.spare_error})")
        silent = self.desk.plc_went_silent(now_ns)
        if silent:
            self.plc_lost = True
            self._lose(now_ns, Reason.PLC_LOST, ErrorCode.PLC, "the PLC's heartbeat stands still")
        elif self.desk.plc_alive(now_ns):
            self.plc_lost = False
        report = self._devices.look(now_ns)
        if report.loss is not None:
            self._device_lost(now_ns, report.loss)
        self._climb(found=report.found, ready=report.loss is None)
        self._apply(now_ns, self._tracker.tick(now_ns))
        drift, self.warning = self.warning, self._announcer.residuals.text
        if self.warning and not drift:
            self.event("encoder", self.warning)
        self._show(now_ns)
        return silent

    def beat(self) -> None:
        """Advance the heartbeat of the registers (every 50 ms) and of the board row."""
        self._image.beat()
        self._row.beat(self._enter())
        if self.journal.fault is None and self.journal.appended > self.journal.durable:
            self.journal.sync_until(self.journal.appended)

    def stop(self, text: str) -> None:
        """Close everything open as NOT_INSPECTED; nothing passes after this."""
        now_ns = self._enter()
        self._leave(now_ns, Event.HALTED, Reason.HALTED, ErrorCode.HALTED, text)
        self._show(now_ns)

    # --- orders of the PLC (called by the desk)

    def arm(self, now_ns: int, holding: tuple[int, ...]) -> None:
        """Arm was accepted: the newest number is the baseline."""
        baseline = self.desk.arm(holding)
        if not self.machine.fire(Event.ARMED):
            return
        self._flags = Status(0)
        self._missed_seen = self._tracker.counters.missed_triggers
        self._code, self.text = ErrorCode.NONE, ""
        self._apply(now_ns, self._tracker.arm(now_ns, baseline))
        self._image.clear_verdicts()  # an old PASS must not answer for a number that comes again
        self._line_stop.armed(baseline)
        self._announcer.residuals.armed()
        self._note(Armed(epoch=self.settings.epoch, baseline=baseline, utc_ns=time.time_ns()))
        self._link.send(LineReset(epoch=self.settings.epoch, armed=True))

    def refuse(self, code: ErrorCode, text: str) -> None:
        """An order that is not followed: shown in the error code and on the board."""
        self._code, self.text = code, text
        self.event("refused", text)

    def disarm(self, now_ns: int, text: str) -> None:
        """The PLC took Arm back."""
        self._leave(now_ns, Event.DISARMED, Reason.HALTED, ErrorCode.NONE, text)

    def halt(self, now_ns: int) -> None:
        """The PLC ordered Halt."""
        self._leave(now_ns, Event.HALTED, Reason.HALTED, ErrorCode.HALTED, "halted by the PLC")

    def reset_error(self) -> None:
        """The PLC or a person acknowledged the error; it is left only when its cause is gone."""
        if self.journal.fault is not None:
            self.wants_journal = True  # gate.py opens the journal anew, and calls `use_journal`
            return
        if not self.journal.has_room:
            return  # still full
        self.machine.fire(Event.ERROR_RESET)
        self._flags &= Status.RESYNC_NEEDED
        self._missed_seen = self._tracker.counters.missed_triggers
        self._code, self.text = ErrorCode.NONE, ""

    def resynced(self) -> None:
        """The PLC acknowledged ResyncNeeded."""
        self._flags &= ~Status.RESYNC_NEEDED

    def acknowledge_line_stop(self) -> None:
        """AckLineStop."""
        self._line_stop.acknowledge()

    def prepare_recipe(self, now_ns: int, request: int) -> None:
        """The configured recipe (or 0) is prepared already; with any other the line must not run."""
        self.recipe_ok = request in (0, self.settings.recipe_id)
        if self.recipe_ok:
            if self._code is ErrorCode.UNKNOWN_RECIPE:
                self._code, self.text = ErrorCode.NONE, ""
            return
        text = f"the PLC asks for recipe {request}; this station has recipe {self.settings.recipe_id}"
        self._leave(now_ns, Event.DISARMED, Reason.RECIPE_CHANGED, ErrorCode.UNKNOWN_RECIPE, text)
        self.machine.fire(Event.UNPREPARED)
        self.refuse(ErrorCode.UNKNOWN_RECIPE, text)

    def set_test(self, *, on: bool) -> None:
        """Show the PLC its own Test bit."""
        self._image.status(Status.TEST, on=on)

    def use_journal(self, journal: Journal) -> None:
        """Go on with a journal that was opened anew after a fault; ResetError counts from here."""
        self.journal = journal
        self.wants_journal = False
        self._announcer.use_journal(journal)
        self.reset_error()

    def journal_stays_broken(self, text: str) -> None:
        """Opening it anew failed too: the station stays in Error until the next ResetError."""
        self.wants_journal = False
        self.text = text

    # --- faults

    def journal_fault(self, now_ns: int, text: str) -> None:
        """PASS stops: the station goes to Error, everything open is NOT_INSPECTED."""
        if self.machine.state is not StationState.ERROR:
            self._leave(now_ns, Event.STATION_FAULT, Reason.JOURNAL_FAULT, ErrorCode.JOURNAL, text)

    def _enter(self) -> int:
        now_ns = self._clock()
        gap_ns = self._freeze.gap_ns(now_ns)
        if gap_ns:
            text = f"the gate stood still for {gap_ns // 1_000_000} ms"
            self.event("frozen", text)
            self._lose(now_ns, Reason.RESTART, ErrorCode.FROZEN, text)
        return now_ns

    def _device_lost(self, now_ns: int, loss: DeviceLoss) -> None:
        if self.machine.state in (StationState.READY, StationState.CONTINUOUS_EXECUTION):
            self._lose(now_ns, loss.reason, loss.code, loss.text)
        elif self.machine.state in (StationState.PREOPERATIONAL, StationState.INITIALIZED):
            self.text = f"waiting: {loss.text}"

    def _lose(self, now_ns: int, reason: Reason, code: ErrorCode, text: str) -> None:
        self._leave(now_ns, Event.DEVICE_LOST, reason, code, text)

    def _leave(self, now_ns: int, event: Event, reason: Reason, code: ErrorCode, text: str) -> None:
        """Leave the present state for `event`; whatever is in flight ends NOT_INSPECTED for `reason`."""
        was_executing = self.machine.executing
        if not self.machine.fire(event):
            return
        if code:
            self._code = code
        self.text = text
        self.desk.disarm()
        self._apply(now_ns, self._tracker.disarm(now_ns, reason))
        if was_executing:
            self._link.send(LineReset(epoch=self.settings.epoch, armed=False))
        self.event(event.value, text)

    def _climb(self, *, found: bool, ready: bool) -> None:
        """Towards Ready, as far as devices and PLC allow; never into execution."""
        if found and self.machine.fire(Event.DEVICES_FOUND):
            self.text = ""
        if ready and self.recipe_ok and not self.plc_lost and self.machine.fire(Event.PREPARED):
            self.text = ""

    # --- triggers

    def _take_triggers(self, now_ns: int, since_ns: int, holding: tuple[int, ...]) -> None:
        read = self.desk.triggers.read(holding)
        if isinstance(read, Resync):
            text = f"newest_trigger_seq jumped to {read.found} where {read.expected} was next"
            self._flags |= Status.RESYNC_NEEDED
            self._leave(now_ns, Event.DISARMED, Reason.RESYNC, ErrorCode.RESYNC, text)
            return
        for trigger in read:
            effects = self._tracker.trigger(now_ns, trigger.seq, trigger.encoder_pulses, since_ns=since_ns)
            self._apply(now_ns, effects)

    def _dispose(self, seq: int, disposition: Disposition) -> None:
        """What the PLC's gate did with one part."""
        record = DispositionRecord(
            epoch=self.settings.epoch, seq=seq, disposition=disposition, utc_ns=time.time_ns()
        )
        self._note(record)
        if (text := self._line_stop.disposition(seq, disposition)) is not None:
            self.event("disposition", text)

    # --- effects

    def _apply(self, now_ns: int, effects: Effects) -> None:
        """Carry effects out in order. What a fault of the journal adds comes after what was decided before."""
        fault: str | None = None
        for effect in effects:
            fault = self._announcer.carry_out(now_ns, effect) or fault
        if fault is not None:
            self.journal_fault(now_ns, fault)

    def _note(self, record: Record) -> None:
        """Record something that decides nothing; a journal in fault is noticed by `watch`."""
        if (fault := self._announcer.append(record)) is not None:
            self.text = fault

    def event(self, kind: str, text: str) -> None:
        """Put a sentence into the journal for people."""
        self._note(LineEvent(epoch=self.settings.epoch, kind=kind, text=text, utc_ns=time.time_ns()))

    # --- what everybody may see

    def _show(self, now_ns: int) -> None:
        """Registers, board row and timer after anything has changed."""
        counters = self._tracker.counters
        image, tracker = self._image, self._tracker
        if counters.missed_triggers > self._missed_seen:
            self._flags |= Status.MISSED_TRIGGER
        if self.machine.executing and self.desk.unread_verdicts(image) > VERDICT_RING_HOLDS:
            self._flags |= Status.RING_OVERRUN
        image.store(Input.STATE, self.machine.state)
        image.store(Input.ERROR_CODE, self._code)
        image.store(Input.TRIGGER_ACK_SEQ, tracker.trigger_ack_seq)
        image.store(Input.EXPOSURE_DONE_SEQ, tracker.exposure_done_seq)
        image.store(Input.LATE_COUNT, counters.late)
        image.store(Input.MISSED_TRIGGER_COUNT, counters.missed_triggers)
        image.store(Input.DUPLICATE_COUNT, counters.duplicates)
        bits = status_bits(
            state=self.machine.state,
            in_flight=counters.in_flight,
            max_in_flight=self.settings.max_in_flight,
            recipe_ok=self.recipe_ok,
            warning=self.journal.spare_error is not None or bool(self._flags or self.warning) or self.plc_lost,
        )
        kept = image.read(Input.STATUS) & (Status.SIMULATED | Status.TEST)
        image.store(Input.STATUS, kept | bits | self._flags | self._line_stop.bits)
        show_board(
            self._row,
            counters=counters,
            withheld=self._announcer.withheld,
            passed_without_pass=self._line_stop.passed_without_pass,
            state=self.machine.state,
            plc_alive=self.desk.plc_alive(now_ns),
            newest_seq=image.read(Input.NEWEST_SEQ),
            margin_ms=image.read(Input.LAST_MARGIN_MS),
            journal=self.journal,
        )
        deadline_ns = tracker.next_deadline_ns
        if deadline_ns is not None and deadline_ns != self._scheduled_ns:
            self._scheduled_ns = deadline_ns
            self._schedule(deadline_ns)
