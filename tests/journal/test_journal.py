# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal on a healthy disk: order, durability, segments, recovery, followers, command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inspection.journal import START, Journal, JournalCorrupt, follow, main, read, verify
from inspection.journal_format import segment_path
from inspection.journal_records import (
    Continued,
    LineEvent,
    PartOpened,
    Published,
    Record,
    Started,
    VerdictRecord,
)
from inspection.types import Epoch, Ordinal, Outcome, PartRef, Reason, Seq, StationFault

SMALL = 64 * 1024


def started(epoch: int = 7) -> Started:
    """The record that begins a run."""
    return Started(epoch=epoch, recipe_sha256="r" * 64, bundle_sha256="b" * 64, utc_ns=1, monotonic_ns=2)


def verdict(ordinal: int, outcome: Outcome = Outcome.PASS, epoch: int = 7) -> VerdictRecord:
    """A verdict about part `ordinal`."""
    return VerdictRecord(
        epoch=epoch,
        ordinal=ordinal,
        seq=ordinal,
        encoder=ordinal * 100,
        trigger_ns=1,
        deadline_ns=2,
        trigger_utc_ns=3,
        outcome=outcome,
        reasons=(Reason.NONE,),
    )


def opened(ordinal: int, epoch: int = 7) -> PartOpened:
    """The record of an accepted trigger."""
    part = PartRef(
        ordinal=Ordinal(ordinal),
        epoch=Epoch(epoch),
        seq=Seq(ordinal),
        encoder_pulses=0,
        trigger_ns=1,
        deadline_ns=2,
    )
    return PartOpened(part=part, trigger_utc_ns=0)


def mark(ordinal: int, epoch: int = 7) -> Published:
    """The mark that part `ordinal` was published."""
    return Published(epoch=epoch, ordinal=ordinal, seq=ordinal, published_ns=5)


def event(i: int) -> LineEvent:
    """A filler record."""
    return LineEvent(epoch=7, kind="test", text=f"event {i} " + "x" * 200, utc_ns=i)


def write(folder: Path, *records: Record, segment_bytes: int = SMALL) -> None:
    """Append records, sync, close."""
    journal = Journal(folder, segment_bytes=segment_bytes)
    for record in records:
        journal.append(record)
    journal.close()


def test_records_come_back_in_order_with_their_indexes(tmp_path: Path) -> None:
    records = [started(), opened(1), verdict(1), mark(1)]
    write(tmp_path, *records)
    entries = list(read(tmp_path))
    assert [e.record for e in entries] == records
    assert [e.index for e in entries] == [0, 1, 2, 3]
    assert verify(tmp_path).records == 4


def test_durable_callback_comes_only_after_sync_and_covers_the_group(tmp_path: Path) -> None:
    told: list[int] = []
    journal = Journal(tmp_path, segment_bytes=SMALL, on_durable=told.append)
    for i in range(5):
        journal.append(event(i))
    assert told == []
    assert journal.durable == -1
    assert journal.wait_durable(4, 10)
    assert told[-1] == 4
    journal.close()


def test_segments_roll_over_and_keep_one_chain(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    journal.append(started())
    for i in range(800):
        index = journal.append(event(i))
        assert journal.wait_durable(index, 10)
    journal.close()
    found = verify(tmp_path)
    assert found.segments >= 3
    texts = [e.record.text for e in read(tmp_path) if isinstance(e.record, LineEvent)]
    assert texts == [event(i).text for i in range(800)]
    continued = [e.record for e in read(tmp_path) if isinstance(e.record, Continued)]
    assert len(continued) == found.segments - 1
    assert {c.epoch for c in continued} == {7}
    assert [e.index for e in read(tmp_path)] == list(range(found.records))


def test_reopened_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    write(tmp_path, started(), event(1))
    write(tmp_path, started(8), event(2))
    assert [e.index for e in read(tmp_path)] == [0, 1, 2, 3]
    assert verify(tmp_path).torn_bytes == 0


def test_recovery_names_unmarked_passes_and_undecided_parts(tmp_path: Path) -> None:
    records = [started(), *(opened(i) for i in range(1, 6))]
    records += [verdict(1), mark(1), verdict(2), verdict(3, Outcome.REJECT)]
    records += [verdict(4), verdict(4, Outcome.NOT_INSPECTED)]
    write(tmp_path, *records)
    journal = Journal(tmp_path, segment_bytes=SMALL)
    recovered = journal.recovered
    journal.close()
    assert [v.ordinal for v in recovered.unmarked] == [2]
    assert [p.part.ordinal for p in recovered.undecided] == [5]
    assert recovered.last_epoch == 7


def test_recovery_finds_open_parts_and_epoch_across_a_segment_joint(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    journal.append(started(41))
    journal.append(verdict(1, epoch=41))
    while journal.append(event(0)) and len(list(tmp_path.glob("*.journal"))) < 2:
        journal.wait_durable(journal.appended, 10)
    journal.close()
    journal = Journal(tmp_path, segment_bytes=SMALL)
    recovered = journal.recovered
    journal.close()
    assert recovered.last_epoch == 41
    assert [v.ordinal for v in recovered.unmarked] == [1]


def test_second_writer_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    with pytest.raises(StationFault, match="another gate"):
        Journal(tmp_path, segment_bytes=SMALL)
    journal.close()


def test_killed_writer_leaves_a_journal_that_verifies(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from inspection.journal import Journal\n"
        "from inspection.journal_records import LineEvent\n"
        f"j = Journal(Path(sys.argv[1]), segment_bytes={SMALL})\n"
        "i = 0\n"
        "while True:\n"
        "    n = j.append(LineEvent(epoch=1, kind='k', text=str(i) * 20, utc_ns=i)); i += 1\n"
        "    j.wait_durable(n, 10)\n"
        "    if i % 50 == 0: print(n, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        durable = [int(child.stdout.readline()) for _ in range(8)][-1]
        os.kill(child.pid, signal.SIGKILL)
    journal = Journal(tmp_path, segment_bytes=SMALL)
    assert journal.recovered.next_index > durable
    journal.close()
    assert verify(tmp_path).records > durable


# --- followers


def test_follower_sees_only_what_is_durable(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    follower = follow(tmp_path)
    journal.append(event(0))
    assert follower.poll() == []
    journal.wait_durable(0, 10)
    assert [e.index for e in follower.poll()] == [0]
    assert follower.poll() == []
    follower.close()
    journal.close()


def test_follower_goes_across_segments_and_resumes_from_a_stored_position(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    journal.append(started())
    seen: list[int] = []
    position = START
    for i in range(800):
        journal.wait_durable(journal.append(event(i)), 10)
        if i % 7 == 0:
            follower = follow(tmp_path, position)  # a consumer that restarts all the time
            seen += [e.index for e in follower.poll(limit=5)]
            position = follower.position
            follower.close()
    journal.close()
    follower = follow(tmp_path, position)
    while got := follower.poll():
        seen += [e.index for e in got]
    follower.close()
    assert seen == list(range(verify(tmp_path).records))


def test_follower_with_a_position_of_another_journal_says_so(tmp_path: Path) -> None:
    write(tmp_path, event(0), event(1))
    follower = follow(tmp_path)
    position = follower.poll(limit=1)[0].position
    follower.close()
    segment_path(tmp_path, 1).unlink()
    write(tmp_path, event(0).__class__(epoch=1, kind="a", text="b", utc_ns=0), event(1))
    other = follow(tmp_path, position)
    with pytest.raises(JournalCorrupt, match="replaced"):
        other.poll()
    other.close()


# --- command line


def test_verify_command_says_whole_or_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, started(), event(1))
    assert main(["verify", str(tmp_path)]) == 0
    assert "2 records in 1 segments verify" in capsys.readouterr().out
    assert main(["dump", str(tmp_path)]) == 0
    assert "Started(" in capsys.readouterr().out
    path = segment_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[4096 + 60] ^= 1
    path.write_bytes(data)
    assert main(["verify", str(tmp_path)]) == 1
    assert "damaged at byte 4096" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "nothing")]) == 1
    assert main([]) == 2
