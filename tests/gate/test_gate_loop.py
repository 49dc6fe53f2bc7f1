# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate between its edges, on a clock and a disk of the test's own: the bad moments that no socket hits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inspection.board import GateCounter, ProcessState
from inspection.gates.registers import (
    Control,
    Holding,
    Input,
    Status,
)
from inspection.journal import Journal, read
from inspection.journal_recovery import open_parts
from inspection.messages import PartTriggered
from inspection.types import (
    Epoch,
    Ordinal,
    Outcome,
    PartRef,
    Reason,
    StationState,
)
from tests.gate.bench import EPOCH, MS, Bench


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


def test_deadline_of_a_trigger_that_lay_in_its_socket_ran_meanwhile(bench: Bench) -> None:
    bench.now_ns += 90 * MS
    bench.held_ns = 90 * MS
    part = bench.trigger(1, 1000)
    assert part.deadline_ns == bench.now_ns + 10 * MS
    bench.held_ns = 0
    bench.now_ns += 10 * MS
    bench.judge(part, Outcome.PASS)
    bench.disk_catches_up()
    assert bench.outcome(1) is Outcome.NOT_INSPECTED
    assert bench.reconciles()


@pytest.mark.parametrize(("held_ms", "announced"), [(0, True), (49, True), (50, False), (99, False)])
def test_part_that_may_have_left_its_place_is_not_photographed(
    tmp_path: Path, held_ms: int, announced: bool
) -> None:
    bench = Bench(tmp_path, fired=frozenset({0}))
    bench.arm()
    while bench.link.receive() is not None:
        pass
    bench.now_ns += held_ms * MS
    bench.held_ns = held_ms * MS
    bench.image.write_holding(Holding.TRIGGER_RING + 4, [1, 0, 1000, 0])
    bench.write(Holding.NEWEST_TRIGGER_SEQ, 1)
    assert isinstance(bench.link.receive(), PartTriggered) is announced  # by this the inspector fires
    if not announced:
        assert bench.outcome(1) is Outcome.NOT_INSPECTED
        assert bench.last_verdict(1).reasons == (Reason.TRIGGER_LATE,)
    assert bench.reconciles()
    bench.close()


@pytest.mark.parametrize(
    ("late_ms", "fired", "reason"),
    [(0, False, None), (5, False, None), (6, False, Reason.PAIRING_TIME), (-6, False, Reason.PAIRING_TIME),
     (45, True, Reason.PAIRING_TIME), (50, True, Reason.PAIRING_TIME)],
)  # fmt: skip
def test_pass_on_a_picture_from_another_time_is_not_believed(
    tmp_path: Path, late_ms: int, fired: bool, reason: Reason | None
) -> None:
    bench = Bench(tmp_path, fired=frozenset({0}) if fired else frozenset())
    bench.arm()
    part = bench.trigger(1, 1000)
    bench.judge(part, Outcome.PASS, exposure_ns=part.trigger_ns + late_ms * MS)
    bench.disk_catches_up()
    assert bench.outcome(1) is (Outcome.PASS if reason is None else Outcome.NOT_INSPECTED)
    if reason is not None:
        assert bench.last_verdict(1).reasons == (reason,)
    bench.close()
