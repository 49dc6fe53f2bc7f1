# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the gate says when nothing is wrong with a part and something with the line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inspection.board import GateCounter
from inspection.gate_watch import LineStop, ResidualWatch
from inspection.gates.registers import Control, Holding, Input, Status
from inspection.journal import read
from inspection.journal_records import DispositionRecord, LineEvent
from inspection.types import Disposition, Outcome
from tests.gate.bench import Bench

STOP = Status.LINE_STOP_REQUEST | Status.REJECT_CONFIRM_FAULT


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An armed gate."""
    bench = Bench(tmp_path)
    bench.arm()
    yield bench
    bench.close()


def dispose(bench: Bench, seq: int, disposition: Disposition) -> Status:
    """The PLC reports what its gate did with one part; the status bits after that."""
    bench.image.write_holding(Holding.DISPOSITION_RING + 2 * (seq % 8), [seq, disposition])
    bench.write(Holding.NEWEST_OUTCOME_SEQ, seq)
    return Status(bench.image.read(Input.STATUS)) & STOP


def sentences(bench: Bench, kind: str) -> list[str]:
    """Events of one kind in the journal."""
    records = [entry.record for entry in read(bench.folder / "journal")]
    return [r.text for r in records if isinstance(r, LineEvent) and r.kind == kind]


def escaped(bench: Bench) -> int:
    """The board's count of parts passed without a PASS."""
    return bench.board.row("gate").get(GateCounter.PASSED_WITHOUT_PASS)


def test_part_passed_with_its_pass_is_nothing_to_speak_of(bench: Bench) -> None:
    bench.judge(bench.trigger(1, 1000), Outcome.PASS)
    bench.disk_catches_up()
    assert dispose(bench, 1, Disposition.PASSED) == Status(0)
    assert escaped(bench) == 0
    assert sentences(bench, "disposition") == []


@pytest.mark.parametrize("outcome", [Outcome.REJECT, Outcome.NOT_INSPECTED, None])
def test_part_passed_without_a_pass_asks_for_a_stop_is_counted_and_on_record(
    bench: Bench, outcome: Outcome | None
) -> None:
    part = bench.trigger(1, 1000)
    if outcome is not None:
        bench.judge(part, outcome)
    assert dispose(bench, 1, Disposition.PASSED) == STOP
    assert escaped(bench) == 1
    (text,) = sentences(bench, "disposition")
    assert "passed part 1" in text
    assert (outcome.name if outcome is not None else "no outcome") in text
    records = [entry.record for entry in read(bench.folder / "journal")]
    assert [r.disposition for r in records if isinstance(r, DispositionRecord)] == [Disposition.PASSED]
    bench.let(500)
    assert Status(bench.image.read(Input.STATUS)) & STOP == STOP  # latched
    bench.write(Holding.CONTROL, Control.ARM | Control.ACK_LINE_STOP)
    assert Status(bench.image.read(Input.STATUS)) & STOP == Status(0)
    assert escaped(bench) == 1


def test_pass_that_waits_for_the_disk_is_not_published_yet(bench: Bench) -> None:
    bench.disk.go.clear()
    bench.judge(bench.trigger(1, 1000), Outcome.PASS)
    assert dispose(bench, 1, Disposition.PASSED) == STOP
    assert escaped(bench) == 1


def test_reject_that_was_not_confirmed_asks_for_a_stop_and_is_on_record(bench: Bench) -> None:
    bench.judge(bench.trigger(1, 1000), Outcome.REJECT)
    assert dispose(bench, 1, Disposition.MISMATCH) == STOP
    assert escaped(bench) == 0
    assert len(sentences(bench, "disposition")) == 1


def test_pass_of_an_earlier_arming_does_not_cover_a_number_that_comes_again() -> None:
    latch = LineStop(0)
    latch.outcome(7, Outcome.PASS)
    latch.outcome(9, Outcome.PASS)
    latch.armed(8)  # the PLC counts from 8 again
    assert latch.disposition(7, Disposition.PASSED) is None  # it went through just before
    assert latch.disposition(9, Disposition.PASSED) is not None
    assert latch.bits == STOP


def test_disposition_of_a_diverted_part_is_nothing_to_speak_of() -> None:
    latch = LineStop(0)
    assert latch.disposition(2, Disposition.DIVERTED_CONFIRMED) is None
    assert latch.disposition(3, Disposition.DIVERTED_BY_GATE) is None
    assert latch.bits == Status(0)


def judged_with_residual(bench: Bench, first: int, count: int, residual: int) -> int:
    """Parts whose pictures lie so many pulses from their triggers; the next number."""
    for seq in range(first, first + count):
        part = bench.trigger(seq, 1000 * seq)
        bench.judge(part, Outcome.REJECT, encoder_pulses=1000 * seq + residual)
        assert bench.outcome(seq) is Outcome.REJECT
        bench.let(25)
    return first + count


def test_counts_that_drift_beyond_a_quarter_pitch_are_warned_of_before_they_pair_wrongly(bench: Bench) -> None:
    seq = judged_with_residual(bench, 1, 20, 24)
    assert Status.WARNING not in Status(bench.image.read(Input.STATUS))
    seq = judged_with_residual(bench, seq, 40, 30)
    assert Status.WARNING in Status(bench.image.read(Input.STATUS))
    (text,) = sentences(bench, "encoder")
    assert "camera 0" in text
    assert "ahead of" in text
    assert bench.gate.warning == text  # what gate.py shows on the board
    judged_with_residual(bench, seq, 40, 0)
    assert Status.WARNING not in Status(bench.image.read(Input.STATUS))
    assert bench.reconciles()


def test_one_wild_count_is_no_drift() -> None:
    watch = ResidualWatch(100)
    for residual in (0, 1, -2, 40, 0, 1, 0, -1, 2):
        watch.see(0, residual)
    assert watch.text == ""
    for _ in range(32):
        watch.see(1, -26)
    assert "behind" in watch.text
    watch.armed()
    assert watch.text == ""
