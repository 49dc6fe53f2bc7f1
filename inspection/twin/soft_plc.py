# SPDX-License-Identifier: AGPL-3.0-or-later
"""The PLC's program, pure: belt edges and register reads in, holding registers and gate moves out.

The shell (plc.py, or a test on a virtual clock) calls `received` with each FC04 answer, `lost` when the
connection goes, and `scan` once a program cycle; `scan` returns the holding registers to write. The gate's
rest position diverts: a part passes only on a valid PASS of its own epoch and number, read before the gate
must move.

Everything that happens goes to `log` as flat facts; what they amount to is worked out elsewhere (truth.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from inspection.twin import contract as c
from inspection.twin.belt import Belt
from inspection.twin.chance import trigger_skipped

_MS = 1_000_000
READ_GAP_NS = 40 * _MS  # longer without an FC04 answer is worth a fact: what is read then may be old news
SETTLE_NS = 100 * _MS  # the station must have seen our heartbeat move, and we its, before Arm is raised
ARM_LIMIT_NS = 1_000 * _MS  # Arm not answered by ContinuousExecution within this: lower it and try again
RESET_AFTER_NS = 1_000 * _MS  # how long the line's operator takes to acknowledge an error


class Phase(Enum):
    """Where the PLC stands with the station."""

    AWAY = "away"  # no connection, or a heartbeat that stands still
    WAITING = "waiting"  # alive, not Ready, or the epoch only just echoed
    ARMING = "arming"  # Arm raised, ContinuousExecution not seen yet
    ARMED = "armed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlcPlan:
    """What the PLC's program is told. Times of the belt are relative to `t0_ns` (monotonic)."""

    parts: int | None = None  # how many parts the belt carries; None: no end
    skip_share: float = 0.0
    seed: int = 0
    gate_actuation_ns: int = 20 * _MS
    speed_mm_s: int = 0
    first_seq: int = 1


@dataclass(slots=True, kw_only=True)
class LinePart:
    """One part between the trigger beam and the gate, as the PLC knows it. Instants are monotonic."""

    number: int
    trigger_ns: int
    decide_ns: int  # the gate must begin to move now to stand when its window begins
    epoch: int = 0  # 0: went by while the line was not armed
    seq: int = 0
    told: bool = False  # its trigger was put into the ring
    told_ns: int = 0
    acked_ns: int = 0  # first read whose trigger_ack_seq covers it
    verdict: int = 0
    verdict_ns: int = 0
    outcome_bin: str = ""
    disposition: int = 0
    why: str = ""


@dataclass(slots=True)
class Counts:
    """Running totals for the live display; the report uses the log."""

    parts: int = 0
    told: int = 0
    skipped: int = 0
    untracked: int = 0
    bins: dict[str, int] = field(
        default_factory=lambda: {"pass": 0, "reject": 0, "not_inspected": 0, "untracked": 0}
    )
    crowded_scans: int = 0  # more edges in one scan than the ring holds


class SoftPlc:
    """The program. One instance a line; all calls from one thread, with `now_ns` never going back."""

    def __init__(self, belt: Belt, plan: PlcPlan, log: Callable[..., None]) -> None:
        self._belt = belt
        self._plan = plan
        self._log = log
        self.phase = Phase.AWAY
        self.counts = Counts()
        self.t0_ns: int | None = None
        self._words = [0] * c.HOLDING_WRITTEN
        self._image: tuple[int, ...] = (0,) * c.INPUT_REGISTERS
        self._connected = False
        self._read_ns = 0
        self._beat_ns = 0  # when the station's heartbeat last moved
        self._phase_ns = 0
        self._error_ns = 0
        self._epoch = 0
        self._last_seq = plan.first_seq - 1 or c.LAST_SEQ
        self._next_part = 0
        self._belt_parts: deque[LinePart] = deque()
        self._open: dict[tuple[int, int], LinePart] = {}
        self._early: set[tuple[int, int]] = set()

    # --- what comes from the station
    def received(self, now_ns: int, image: tuple[int, ...]) -> None:
        """Take one FC04 answer of 80 registers, read at `now_ns`."""
        before, self._image = self._image, image
        if now_ns - self._read_ns > READ_GAP_NS and self._read_ns:
            self._log("gap", ns=now_ns, since_ns=self._read_ns)
        self._read_ns = now_ns
        if not self._connected or image[c.IN_HEARTBEAT] != before[c.IN_HEARTBEAT]:
            self._beat_ns = now_ns
        self._connected = True
        heads = (c.IN_EPOCH, c.IN_STATE, c.IN_ERROR_CODE)
        if any(image[i] != before[i] for i in heads):
            self._log(
                "head",
                ns=now_ns,
                epoch=image[c.IN_EPOCH],
                state=image[c.IN_STATE],
                error=image[c.IN_ERROR_CODE],
            )
        if self._epoch != image[c.IN_EPOCH]:
            self._epoch = image[c.IN_EPOCH]
            self._early.clear()
            self._enter(Phase.AWAY, now_ns)  # another station: settle, echo and arm anew
        self._take_acks(now_ns)
        for slot in range(c.VERDICT_SLOTS):
            words = c.slot_words(image, slot)
            if words != c.slot_words(before, slot):
                self._log("slot", ns=now_ns, slot=slot, words=words, epoch=self._epoch)
                self._take_verdict(now_ns, slot, words)

    def lost(self, now_ns: int, text: str) -> None:
        """The connection is gone: what was read stands as read, but nothing new is believed."""
        if self._connected:
            self._log("lost", ns=now_ns, text=text)
        self._connected = False

    def _take_verdict(self, now_ns: int, slot: int, words: tuple[int, int, int, int]) -> None:
        word = c.read_slot(slot, words)
        if word is None or word.epoch != self._epoch:
            return
        part = self._open.get((word.epoch, word.seq))
        if part is None and 0 < c.forward_distance(self._last_seq, word.seq) < 1000:
            self._early.add((word.epoch, word.seq))  # a verdict on a part that nobody has seen yet
        if part is not None and part.verdict == 0:
            part.verdict = word.verdict
            part.verdict_ns = now_ns

    def _take_acks(self, now_ns: int) -> None:
        acked = self._image[c.IN_TRIGGER_ACK_SEQ]
        if acked == 0:
            return
        for part in self._belt_parts:
            waits = part.epoch == self._epoch and part.told and part.acked_ns == 0
            if waits and c.forward_distance(part.seq, acked) < 1000:
                part.acked_ns = now_ns

    # --- one program cycle
    def scan(self, now_ns: int) -> list[int]:
        """Run one program cycle and return holding registers 0..55 for one FC16."""
        words = self._words
        words[c.OUT_HEARTBEAT] = (words[c.OUT_HEARTBEAT] + 1) & 0xFFFF
        words[c.OUT_EPOCH_ECHO] = self._epoch
        words[c.OUT_ACK_SEQ] = self._image[c.IN_NEWEST_SEQ]
        words[c.OUT_SPEED_MM_S] = self._plan.speed_mm_s
        self._step_phase(now_ns)
        self._take_edges(now_ns)
        self._move_gate(now_ns)
        return list(words)

    @property
    def finished(self) -> bool:
        """All parts of a bounded run have passed the gate."""
        return self._plan.parts is not None and self._next_part >= self._plan.parts and not self._belt_parts

    def end(self, now_ns: int) -> None:
        """Log the parts that lie between beam and gate when the run is cut short."""
        for part in self._belt_parts:
            self._log("on_belt", **_facts(part, now_ns))

    def _alive(self, now_ns: int) -> bool:
        return self._connected and now_ns - self._beat_ns <= c.HEARTBEAT_LIMIT_NS and self._image[0] == 1

    def _step_phase(self, now_ns: int) -> None:
        state = self._image[c.IN_STATE]
        ready = self._epoch != 0 and state == c.STATE_READY and bool(self._image[c.IN_STATUS] & c.STATUS_READY)
        waited = now_ns - self._phase_ns
        if not self._alive(now_ns):
            self._enter(Phase.AWAY, now_ns)
        elif self.phase is Phase.AWAY:
            self._enter(Phase.WAITING, now_ns)
        elif self.phase is Phase.WAITING and ready and waited >= SETTLE_NS:
            self._words[c.OUT_NEWEST_TRIGGER] = self._last_seq  # the baseline covers numbers used up before
            self._enter(Phase.ARMING, now_ns)
        elif self.phase is Phase.ARMING and state == c.STATE_CONTINUOUS:
            self._enter(Phase.ARMED, now_ns)
        elif (self.phase is Phase.ARMING and waited > ARM_LIMIT_NS) or (
            self.phase is Phase.ARMED and state != c.STATE_CONTINUOUS
        ):
            self._enter(Phase.WAITING, now_ns)
        self._words[c.OUT_CONTROL] = self._control(now_ns, state)

    def _enter(self, phase: Phase, now_ns: int) -> None:
        if phase is not self.phase:
            self._log("phase", ns=now_ns, phase=phase.value, epoch=self._epoch, baseline=self._last_seq)
            self.phase = phase
            self._phase_ns = now_ns

    def _control(self, now_ns: int, state: int) -> int:
        """Control bits: Arm while arming and armed, and what an operator at the line would press."""
        bits = c.CONTROL_ARM if self.phase in (Phase.ARMING, Phase.ARMED) else 0
        if self.phase is Phase.WAITING:
            if self._image[c.IN_STATUS] & c.STATUS_RESYNC_NEEDED:
                bits |= c.CONTROL_RESYNC
            if state == c.STATE_INITIALIZED:
                bits |= c.CONTROL_PREPARE_RECIPE
            if state != c.STATE_ERROR:
                self._error_ns = now_ns
            elif now_ns - self._error_ns > RESET_AFTER_NS:
                bits |= c.CONTROL_RESET_ERROR
        return bits

    def _take_edges(self, now_ns: int) -> None:
        """All trigger edges since the last scan, each with the encoder count latched at its instant."""
        edges = 0
        while self.t0_ns is not None and (self._plan.parts is None or self._next_part < self._plan.parts):
            number = self._next_part
            trigger_ns = self.t0_ns + self._belt.trigger_ns(number)
            if trigger_ns > now_ns:
                break
            self._next_part += 1
            edges += 1
            decide_ns = self.t0_ns + self._belt.gate_entry_ns(number) - self._plan.gate_actuation_ns
            part = LinePart(number=number, trigger_ns=trigger_ns, decide_ns=decide_ns)
            self._belt_parts.append(part)
            self.counts.parts += 1
            if self.phase is Phase.ARMED:
                self._tell(now_ns, part)
            else:
                self.counts.untracked += 1
        if edges > c.TRIGGER_SLOTS - 1:
            self.counts.crowded_scans += 1
            self._log("crowded", ns=now_ns, edges=edges)

    def _tell(self, now_ns: int, part: LinePart) -> None:
        self._last_seq = c.next_seq(self._last_seq)
        part.seq, part.epoch = self._last_seq, self._epoch
        self._open[(part.epoch, part.seq)] = part
        if (part.epoch, part.seq) in self._early:
            self._early.remove((part.epoch, part.seq))
            part.verdict, part.verdict_ns = c.VERDICT_NOT_INSPECTED, now_ns
        if trigger_skipped(self._plan.seed, part.number, self._plan.parts, self._plan.skip_share):
            self.counts.skipped += 1
            return
        encoder = self._belt.encoder_pulses(part.number)
        first = c.OUT_TRIGGERS + 4 * (part.seq % c.TRIGGER_SLOTS)
        self._words[first : first + 4] = [part.seq, encoder >> 16, encoder & 0xFFFF, 0]
        self._words[c.OUT_NEWEST_TRIGGER] = part.seq
        part.told, part.told_ns = True, now_ns
        self.counts.told += 1

    def _move_gate(self, now_ns: int) -> None:
        while self._belt_parts and self._belt_parts[0].decide_ns <= now_ns:
            part = self._belt_parts.popleft()
            self._sort(now_ns, part)
            self._open.pop((part.epoch, part.seq), None)
            self.counts.bins[part.outcome_bin] += 1
            self._log("part", **_facts(part, now_ns))

    def _sort(self, now_ns: int, part: LinePart) -> None:
        """The gate's decision; every way that does not end in `passed` leaves the gate at rest, diverting."""
        part.disposition = c.DIVERTED_CONFIRMED
        if part.seq == 0:
            part.outcome_bin, part.why = "untracked", "line not armed"
            return
        if part.verdict == c.VERDICT_REJECT:
            part.outcome_bin, part.why = "reject", ""
        elif part.verdict != c.VERDICT_PASS:
            part.outcome_bin = "not_inspected"
            part.why = "" if part.verdict else ("trigger skipped" if not part.told else "no verdict read")
        elif part.epoch != self._epoch:
            part.outcome_bin, part.why = "not_inspected", "station restarted"
        elif not self._alive(now_ns):
            part.outcome_bin, part.why = "not_inspected", "station lost"
        elif not part.told:
            part.outcome_bin, part.why = "not_inspected", "PASS for a trigger that was never told"
        else:
            part.outcome_bin, part.disposition = "pass", c.PASSED
        if part.verdict == c.VERDICT_PASS and part.disposition != c.PASSED:
            part.disposition = c.DIVERTED_BY_GATE
        if part.epoch == self._epoch:
            first = c.OUT_DISPOSITIONS + 2 * (part.seq % c.DISPOSITION_SLOTS)
            self._words[first : first + 2] = [part.seq, part.disposition]
            self._words[c.OUT_NEWEST_OUTCOME] = part.seq


def _facts(part: LinePart, now_ns: int) -> dict[str, int | str | bool]:
    """One part as a line of the log."""
    return {
        "number": part.number,
        "trigger_ns": part.trigger_ns,
        "told_ns": part.told_ns,
        "acked_ns": part.acked_ns,
        "decided_ns": now_ns,
        "epoch": part.epoch,
        "seq": part.seq,
        "told": part.told,
        "verdict": part.verdict,
        "verdict_ns": part.verdict_ns,
        "bin": part.outcome_bin,
        "disposition": part.disposition,
        "why": part.why,
    }
