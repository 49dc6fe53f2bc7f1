# SPDX-License-Identifier: AGPL-3.0-or-later
"""Carries out what the tracker decided: into the journal, then the registers, and to the inspector."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from inspection.counting import encoder_delta
from inspection.gate_records import closed_as, verdict_record
from inspection.gate_watch import ResidualWatch
from inspection.gates.registers import Input, RegisterImage
from inspection.journal import Journal, JournalFault
from inspection.journal_records import BundleInUse, LineEvent, PartOpened, Published, Record, VerdictRecord
from inspection.link import Link
from inspection.messages import BundleAgreed, BundleReady, PartClosed, PartTriggered
from inspection.tracker import Tracker
from inspection.tracker_effects import Close, Effect, JournalVerdict, Open, Publish
from inspection.types import Outcome, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What the gate knows from its configuration at start."""

    epoch: int
    recipe_id: int
    recipe_crc: int
    recipe_sha256: str
    max_in_flight: int
    consecutive_rejects_stop: int = 0
    min_pitch_pulses: int = 0  # for the watch over encoder counts; 0 where pictures do not pair by them


class Announcer:
    """Journal, then registers. A PASS goes out only with its record on disk, its mark written, and in time.

    `published(seq, outcome)` is called with what the registers really said.
    """

    def __init__(
        self,
        *,
        settings: GateSettings,
        image: RegisterImage,
        journal: Journal,
        link: Link,
        clock: Callable[[], int],
        published: Callable[[int, Outcome], None],
    ) -> None:
        self.unrecorded = 0  # outcomes that the journal could not take; none of them an announced PASS
        self.residuals = ResidualWatch(settings.min_pitch_pulses)
        self.withheld = 0  # PASSes that the tracker gave out and the registers did not
        self._settings = settings
        self._image = image
        self._journal = journal
        self._link = link
        self._clock = clock
        self._published = published
        self._awaiting_disk: deque[tuple[int, int]] = deque()  # (journal index, ordinal) of PASS records
        self._passes: dict[int, VerdictRecord] = {}  # PASS records not published yet, by ordinal

    def use_journal(self, journal: Journal) -> None:
        """Go on with a journal that was opened anew; nothing waits for the old one."""
        self._journal = journal
        self._awaiting_disk.clear()

    def on_disk(self, index: int) -> list[int]:
        """Ordinals of the PASS records that are on disk now that everything up to `index` is."""
        ordinals: list[int] = []
        while self._awaiting_disk and self._awaiting_disk[0][0] <= index:
            ordinals.append(self._awaiting_disk.popleft()[1])
        return ordinals

    def carry_out(self, now_ns: int, effect: Effect) -> str | None:
        """One effect; the sentence of the journal's fault when it could not be recorded."""
        match effect:
            case Open(part=part):
                record = PartOpened(part=part, trigger_utc_ns=time.time_ns() - (now_ns - part.trigger_ns))
                fault = self.append(record)
                self._link.send(PartTriggered(part=part))
                return fault
            case JournalVerdict():
                return self._record(now_ns, effect)
            case Publish():
                return self._publish(effect)
            case Close(ordinal=ordinal):
                self._link.send(PartClosed(ordinal=ordinal))
                return None

    def _record(self, now_ns: int, effect: JournalVerdict) -> str | None:
        record = verdict_record(
            effect,
            now_ns=now_ns,
            utc_ns=time.time_ns(),
            recipe_sha256=self._settings.recipe_sha256,
        )
        for view in record.views if effect.outcome is not Outcome.NOT_INSPECTED else ():
            if view.encoder_pulses is not None:
                self.residuals.see(view.camera, encoder_delta(view.encoder_pulses, effect.part.encoder_pulses))
        try:
            index = self._journal.append(record, closing=effect.outcome is not Outcome.PASS)
        except JournalFault as e:
            self.unrecorded += effect.outcome is not Outcome.PASS
            return str(e)
        if effect.outcome is Outcome.PASS:
            self._passes[effect.part.ordinal] = record
            self._awaiting_disk.append((index, effect.part.ordinal))
            self._journal.sync_until(index)
        return None

    def _publish(self, effect: Publish) -> str | None:
        part, outcome = effect.part, effect.outcome
        at_ns = self._clock()
        mark = Published(epoch=part.epoch, ordinal=part.ordinal, seq=part.seq, published_ns=at_ns)
        passed = self._passes.pop(part.ordinal, None)
        fault = None
        if outcome is Outcome.PASS:
            fault = self.append(mark)
            at_ns = self._clock()  # once more: the write may have taken its time
            late = at_ns >= part.deadline_ns
            if late or fault is not None:
                outcome = Outcome.NOT_INSPECTED
                self._withhold(passed, Reason.DEADLINE_MISSED if late else Reason.JOURNAL_FAULT, at_ns)
        self._image.store(Input.LAST_MARGIN_MS, max(0, part.deadline_ns - at_ns) // 1_000_000)
        self._image.publish(part.seq, outcome)
        self._published(part.seq, outcome)
        if effect.outcome is not Outcome.PASS:
            fault = self.append(mark)
        return fault

    def _withhold(self, passed: VerdictRecord | None, reason: Reason, at_ns: int) -> None:
        """The tracker let a PASS go in time and its announcement did not make it: silence is reject."""
        self.withheld += 1
        if passed is None or self.append(closed_as(passed, reason, at_ns)) is not None:
            self.unrecorded += 1  # recovery closes a PASS without its mark

    def append(self, record: Record) -> str | None:
        """Write one record that does not pass a part; the sentence of the fault when it could not be."""
        try:
            self._journal.append(record, closing=True)
        except JournalFault as e:
            return str(e)
        return None

    def use_bundle(self, tracker: Tracker, ready: BundleReady) -> str | None:
        """Another bundle judges from the next part on: on record first, then expected, then told.

        The sentence of the journal's fault when it could not be recorded; then nothing has changed.
        """
        if ready.bundle_sha256 != tracker.bundle_sha256:
            record = BundleInUse(
                epoch=self._settings.epoch,
                recipe_sha256=ready.recipe_sha256,
                bundle_sha256=ready.bundle_sha256,
                utc_ns=time.time_ns(),
                from_ordinal=tracker.counters.triggers + 1,
                act=ready.act,
                who=ready.who,
                why=ready.why,
            )
            if (fault := self.append(record)) is not None:
                return fault
            if ready.act:
                said = f"bundle {ready.bundle_sha256[:12]} judges from part {record.from_ordinal} on, by"
                text = f"{said} {ready.who}: {ready.why}"
                self.append(LineEvent(epoch=record.epoch, kind="bundle", text=text, utc_ns=record.utc_ns))
        ordinal = tracker.use_bundle(ready.bundle_sha256)
        self._link.send(
            BundleAgreed(
                epoch=self._settings.epoch, bundle_sha256=ready.bundle_sha256, from_ordinal=int(ordinal)
            )
        )
        return None
