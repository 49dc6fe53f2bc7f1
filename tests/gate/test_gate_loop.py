# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate between its edges, on a clock and a disk of the test's own: the bad moments that no socket hits."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspection.board import Board, GateCounter, ProcessState
from inspection.gate_effects import GateSettings
from inspection.gate_loop import Gate
from inspection.gate_watch import DeviceWatch, LineStop
from inspection.gates.registers import (
    VERDICT_RING_AT,
    Control,
    Holding,
    Input,
    RegisterImage,
    Status,
)
from inspection.journal import Disk, Journal, read
from inspection.journal_records import VerdictRecord
from inspection.journal_recovery import open_parts
from inspection.link import Link, link_pair
from inspection.messages import PartJudged, PartTriggered, ViewSeen
from inspection.tracker import Tracker, TrackerSettings
from inspection.types import (
    Disposition,
    Epoch,
    Ordinal,
    Outcome,
    PartRef,
    Reason,
    StationState,
    Verdict,
)
from inspection.window import PairWindow

MS = 1_000_000
EPOCH = 4711
RECIPE_SHA256 = "a" * 64


class HeldDisk(Disk):
    """A disk whose syncs wait for the test, and whose writes fail when told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.writes_left = 1 << 30
        self.full = False

    def preallocate(self, path: Path, size_bytes: int) -> int:
        """As Disk; ENOSPC while `full`."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().preallocate(path, size_bytes)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """As Disk; EIO once `writes_left` is used up."""
        if threading.current_thread().name != "journal-sync":
            self.writes_left -= 1
            if self.writes_left < 0:
                raise OSError(errno.EIO, "broken")
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        """As Disk; waits until the test lets go."""
        self.go.wait()
        super().sync(fd)


class Bench:
    """One gate, armed on demand; the test moves the clock and hands it what the others would say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ns = 10**12
        self.disk = HeldDisk()
        self.journal = Journal(folder / "journal", segment_bytes=64 * 1024, disk=self.disk)
        self.board = Board.create(folder / "board", ["gate", "inspector", "camera:a"])
        for role in self.board.names:
            self.board.row(role).claim(ProcessState.READY)
        self.image = RegisterImage(epoch=EPOCH)
        self._ends = link_pair()
        self.link = Link(self._ends[1])
        self.clock_steps: list[int] = []  # what the clock gains at its next readings
        window = PairWindow(kind="encoder", pulses=50)
        settings = TrackerSettings(
            views=1, deadline_ns=100 * MS, poll_ns=0, min_pitch_pulses=100, window=window
        )
        tracker = Tracker(epoch=Epoch(EPOCH), settings=settings, recipe_sha256=RECIPE_SHA256)
        self.gate = Gate(
            settings=GateSettings(
                epoch=EPOCH,
                recipe_id=1,
                recipe_crc=2,
                recipe_sha256=RECIPE_SHA256,
                bundle_sha256="b" * 64,
                max_in_flight=15,
            ),
            tracker=tracker,
            image=self.image,
            journal=self.journal,
            link=Link(self._ends[0]),
            row=self.board.row("gate"),
            devices=DeviceWatch({role: self.board.row(role) for role in ("inspector", "camera:a")}),
            schedule=lambda _at_ns: None,
            clock=self.clock,
        )
        self.let(0)

    def clock(self) -> int:
        """Monotonic time of the bench."""
        if self.clock_steps:
            self.now_ns += self.clock_steps.pop(0)
        return self.now_ns

    def let(self, ms: int) -> None:
        """Time goes by in turns of 25 ms, everybody alive."""
        end_ns = self.now_ns + ms * MS
        while True:
            for role in ("inspector", "camera:a"):
                self.board.row(role).beat(self.now_ns)
            self.write(Holding.PLC_HEARTBEAT, self.image.holding()[0] + 1)
            self.gate.watch()
            if self.now_ns >= end_ns:
                return
            self.now_ns = min(end_ns, self.now_ns + 25 * MS)

    def write(self, address: int, *words: int) -> None:
        """The PLC writes."""
        self.image.write_holding(address, words)
        self.gate.plc_wrote(1)

    def arm(self) -> None:
        """Up to continuous execution."""
        self.let(25)
        self.write(Holding.CONTROL, 0, EPOCH)
        self.write(Holding.CONTROL, Control.ARM, EPOCH)
        assert self.gate.machine.executing

    def trigger(self, seq: int, encoder: int) -> PartRef:
        """A trigger of the PLC; the part that the inspector is told of."""
        self.image.write_holding(
            Holding.TRIGGER_RING + 4 * (seq % 8), [seq, encoder >> 16, encoder & 0xFFFF, 0]
        )
        self.write(Holding.NEWEST_TRIGGER_SEQ, seq)
        while True:
            message = self.link.receive()
            assert message is not None, "the inspector was told nothing"
            if isinstance(message, PartTriggered) and message.part.seq == seq:
                return message.part

    def judge(self, part: PartRef, outcome: Outcome) -> None:
        """The inspector's verdict, delivered."""
        view = ViewSeen(camera=0, frame_id=1, encoder_pulses=part.encoder_pulses, exposure_ns=0, ready_ns=0)
        self.link.send(
            PartJudged(
                ordinal=part.ordinal,
                epoch=part.epoch,
                seq=part.seq,
                verdict=Verdict(outcome=outcome, reasons=(Reason.NONE,)),
                views=(view,),
                recipe_sha256=RECIPE_SHA256,
                bundle_sha256="b" * 64,
                ready_ns=self.now_ns,
                judged_ns=self.now_ns,
            )
        )
        self.gate.inspector_said()

    def disk_catches_up(self) -> None:
        """All that was appended is on disk, and the gate hears of it."""
        assert self.journal.wait_durable(self.journal.appended, 30)
        self.gate.on_disk(self.journal.durable)

    def outcome(self, seq: int) -> Outcome | None:
        """What the registers say of one part."""
        words = [self.image.read(VERDICT_RING_AT + 4 * (seq % 16) + i) for i in range(3)]
        return Outcome(words[2]) if words[:2] == [seq, EPOCH] else None

    def last_verdict(self, seq: int) -> VerdictRecord:
        """The record that counts."""
        records = [e.record for e in read(self.folder / "journal")]
        return [r for r in records if isinstance(r, VerdictRecord) and r.seq == seq][-1]

    def reconciles(self) -> bool:
        """The board's sum."""
        row = self.board.row("gate")
        ended = row.get(GateCounter.PASS) + row.get(GateCounter.REJECT) + row.get(GateCounter.NOT_INSPECTED)
        return row.get(GateCounter.TRIGGERS) == ended + row.get(GateCounter.IN_FLIGHT)

    def close(self) -> None:
        """Give everything back."""
        self.disk.go.set()
        self.gate.journal.close()
        self.board.close()
        for end in self._ends:
            end.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An armed gate."""
    bench = Bench(tmp_path)
    bench.arm()
    yield bench
    bench.close()


def test_pass_waits_for_the_disk(bench: Bench) -> None:
    bench.disk.go.clear()
    bench.judge(bench.trigger(1, 1000), Outcome.PASS)
    bench.let(50)
    assert bench.outcome(1) is None
    bench.disk.go.set()
    bench.disk_catches_up()
    assert bench.outcome(1) is Outcome.PASS
    assert bench.reconciles()


def test_pass_that_is_not_on_disk_at_its_deadline_is_superseded(bench: Bench) -> None:
    bench.disk.go.clear()
    bench.judge(bench.trigger(1, 1000), Outcome.PASS)
    bench.let(125)
    assert bench.outcome(1) is Outcome.NOT_INSPECTED
    bench.disk.go.set()
    bench.disk_catches_up()
    assert bench.outcome(1) is Outcome.NOT_INSPECTED
    assert bench.last_verdict(1).reasons == (Reason.JOURNAL_LATE,)


def test_reject_does_not_wait_for_the_disk(bench: Bench) -> None:
    bench.disk.go.clear()
    bench.judge(bench.trigger(1, 1000), Outcome.REJECT)
    assert bench.outcome(1) is Outcome.REJECT


def test_pass_whose_mark_cannot_be_written_is_not_announced(bench: Bench) -> None:
    bench.judge(bench.trigger(1, 1000), Outcome.PASS)
    bench.journal.wait_durable(bench.journal.appended, 30)
    bench.disk.writes_left = 0
    bench.disk_catches_up()
    assert bench.outcome(1) is Outcome.NOT_INSPECTED
    assert bench.gate.machine.state is StationState.ERROR
    assert bench.image.read(Input.ERROR_CODE) == 1
    assert bench.reconciles()
    assert bench.board.row("gate").get(GateCounter.PASS) == 0
    unmarked, _ = open_parts(e.record for e in read(bench.folder / "journal"))
    assert [r.seq for r in unmarked] == [1]  # recovery will close it


def test_pass_whose_announcement_takes_too_long_is_not_announced(bench: Bench) -> None:
    bench.judge(bench.trigger(1, 1000), Outcome.PASS)
    bench.journal.wait_durable(bench.journal.appended, 30)
    bench.now_ns += 99 * MS
    bench.clock_steps = [0, 0, 2 * MS]  # entry, before the mark, after it
    bench.disk_catches_up()
    assert bench.outcome(1) is Outcome.NOT_INSPECTED
    assert bench.last_verdict(1).outcome is Outcome.NOT_INSPECTED
    assert bench.reconciles()


def test_gate_that_stood_still_closes_first_and_believes_nothing_older(bench: Bench) -> None:
    part = bench.trigger(1, 1000)
    bench.now_ns += 90 * MS
    bench.gate.watch()
    second = bench.trigger(2, 2000)
    bench.now_ns += 201 * MS
    bench.judge(second, Outcome.PASS)  # the first thing it reads on waking up
    bench.disk_catches_up()
    assert (bench.outcome(1), bench.outcome(2)) == (Outcome.NOT_INSPECTED, Outcome.NOT_INSPECTED)
    assert not bench.gate.machine.executing
    assert bench.last_verdict(part.seq).outcome is Outcome.NOT_INSPECTED


def test_failed_write_goes_to_error_and_reset_needs_a_working_journal(bench: Bench) -> None:
    part = bench.trigger(1, 1000)
    bench.disk.writes_left = 0
    bench.judge(part, Outcome.PASS)
    assert bench.outcome(1) is Outcome.NOT_INSPECTED
    assert bench.gate.machine.state is StationState.ERROR
    bench.let(250)
    assert bench.gate.machine.state is StationState.ERROR
    bench.write(Holding.CONTROL, Control.RESET_ERROR)
    assert bench.gate.machine.state is StationState.ERROR
    assert bench.gate.wants_journal
    bench.journal.close()
    bench.disk.writes_left = 1 << 30
    bench.gate.use_journal(Journal(bench.folder / "journal", segment_bytes=64 * 1024, disk=bench.disk))
    bench.let(50)
    assert bench.gate.machine.state is StationState.READY  # never straight back to execution
    bench.write(Holding.CONTROL, 0)
    bench.arm()


def test_full_disk_stops_pass_and_what_is_open_is_still_closed_on_record(bench: Bench) -> None:
    bench.disk.full = True
    seq = 0
    while bench.gate.machine.executing:
        seq += 1
        bench.judge(bench.trigger(seq, 1000 * seq), Outcome.REJECT)
        bench.disk_catches_up()
        bench.let(25)
    assert seq > 20
    assert bench.image.read(Input.ERROR_CODE) == 1
    assert Status.ERROR in Status(bench.image.read(Input.STATUS))
    assert "full" in bench.gate.text
    bench.write(Holding.CONTROL, Control.RESET_ERROR)
    assert bench.gate.machine.state is StationState.ERROR  # still full
    bench.disk.full = False
    while not bench.journal.has_room:
        bench.let(25)
    bench.write(Holding.CONTROL, 0)
    bench.write(Holding.CONTROL, Control.RESET_ERROR)
    bench.let(25)
    assert bench.gate.machine.state is StationState.READY
    assert bench.reconciles()


def test_inspector_restarted_between_two_looks_is_lost(bench: Bench) -> None:
    bench.trigger(1, 1000)
    bench.board.row("inspector").claim(ProcessState.READY)
    bench.let(25)
    assert bench.outcome(1) is Outcome.NOT_INSPECTED
    assert bench.last_verdict(1).reasons == (Reason.INSPECTOR_LOST,)


def test_verdict_of_another_epoch_changes_nothing(bench: Bench) -> None:
    part = bench.trigger(1, 1000)
    stranger = PartRef(
        ordinal=part.ordinal,
        epoch=Epoch(EPOCH + 1),
        seq=part.seq,
        encoder_pulses=part.encoder_pulses,
        trigger_ns=part.trigger_ns,
        deadline_ns=part.deadline_ns,
    )
    bench.judge(stranger, Outcome.PASS)
    unknown = PartRef(
        ordinal=Ordinal(99),
        epoch=part.epoch,
        seq=part.seq,
        encoder_pulses=part.encoder_pulses,
        trigger_ns=part.trigger_ns,
        deadline_ns=part.deadline_ns,
    )
    bench.judge(unknown, Outcome.PASS)
    bench.disk_catches_up()
    assert bench.outcome(1) is None
    bench.judge(part, Outcome.REJECT)
    assert bench.outcome(1) is Outcome.REJECT


def test_arming_again_empties_the_verdict_ring(bench: Bench) -> None:
    bench.judge(bench.trigger(1, 1000), Outcome.PASS)
    bench.disk_catches_up()
    assert bench.outcome(1) is Outcome.PASS
    bench.write(Holding.CONTROL, 0)
    bench.arm()
    assert bench.outcome(1) is None
    assert bench.image.read(Input.NEWEST_SEQ) == 0


def test_part_passed_without_a_pass_asks_for_a_line_stop() -> None:
    latch = LineStop(0)
    latch.outcome(1, Outcome.PASS)
    latch.disposition(1, Disposition.PASSED)
    latch.disposition(2, Disposition.DIVERTED_CONFIRMED)
    assert latch.bits == Status(0)
    latch.disposition(2, Disposition.PASSED)
    assert Status.LINE_STOP_REQUEST in latch.bits
    latch.acknowledge()
    assert latch.bits == Status(0)
