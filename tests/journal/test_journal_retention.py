# SPDX-License-Identifier: AGPL-3.0-or-later
"""Old segments go only when nobody needs them any more, and what is left still verifies to its beginning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from inspection.journal import Journal, JournalCorrupt, follow, read, verify
from inspection.journal import main as command
from inspection.journal_disk import Disk
from inspection.journal_format import Position, list_segments, segment_path
from inspection.journal_records import Published, VerdictRecord
from inspection.journal_retention import ANCHOR_NAME, read_anchor, removable, retire
from inspection.records import schema as t
from inspection.records.database import open_reader, open_writer
from inspection.records.projection import Projection
from inspection.types import Outcome
from tests.journal.test_journal import SMALL, event, started, verdict

FOREVER_NS = 10**18
NOW_NS = 2 * 10**18  # later than any clock says now


@pytest.fixture(scope="module")
def long_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    journal = Journal(folder, segment_bytes=SMALL)
    journal.append(started())
    for i in range(1, 1300):
        journal.append(event(i))
        journal.append(verdict(i))
        index = journal.append(Published(epoch=7, ordinal=i, seq=i, published_ns=9))
        if i % 20 == 0:
            assert journal.wait_durable(index, 10)
    journal.close()
    assert len(list_segments(folder)) >= 8
    return folder


@pytest.fixture
def folder(tmp_path: Path, long_journal: Path) -> Path:
    copy = tmp_path / "journal"
    shutil.copytree(long_journal, copy)
    return copy


def numbers(folder: Path) -> list[int]:
    return [number for number, _ in list_segments(folder)]


def end(folder: Path) -> Position:
    return Position(segment=numbers(folder)[-1], offset=0)


def everything_old(folder: Path, committed: Position | None = None) -> list[int]:
    return removable(folder, committed or end(folder), keep_bytes=1, keep_ns=1, now_utc_ns=NOW_NS)


def test_nothing_goes_before_the_database_has_it(folder: Path) -> None:
    assert everything_old(folder, Position(segment=1, offset=60_000)) == []
    assert everything_old(folder, Position(segment=0, offset=0)) == []
    assert everything_old(folder, Position(segment=4, offset=4096)) == [1, 2, 3]


def test_the_newest_three_stay_and_a_call_is_bounded(folder: Path) -> None:
    total = len(numbers(folder))
    assert everything_old(folder) == list(range(1, min(8, total - 3) + 1))
    while going := everything_old(folder):
        assert len(going) <= 8
        retire(folder, going, now_utc_ns=NOW_NS)
    assert numbers(folder) == [total - 2, total - 1, total]


def test_only_what_is_too_old_or_too_much_goes(folder: Path) -> None:
    sizes = [path.stat().st_size for _, path in list_segments(folder)]

    def going(keep_bytes: int, keep_ns: int, now_ns: int = NOW_NS) -> list[int]:
        return removable(folder, end(folder), keep_bytes=keep_bytes, keep_ns=keep_ns, now_utc_ns=now_ns)

    assert going(sum(sizes), FOREVER_NS) == []
    assert going(sum(sizes) - 1, FOREVER_NS) == [1]
    assert going(sum(sizes) - sizes[0] - 1, FOREVER_NS) == [1, 2]
    assert going(sum(sizes), 1) == everything_old(folder)
    assert going(sum(sizes), 10**15, 1) == []  # a clock that was set back removes nothing


def test_what_is_left_verifies_and_says_from_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = verify(folder)
    kept = [entry for entry in read(folder) if entry.position.segment > 3]
    retire(folder, [1, 2, 3], now_utc_ns=NOW_NS)
    after = verify(folder)
    assert (after.chain, after.first_index + after.records) == (before.chain, before.records)
    assert after.first_index == kept[0].index > 0
    assert list(read(folder)) == kept
    retire(folder, [4], now_utc_ns=NOW_NS)  # and again
    assert verify(folder).chain == before.chain
    assert command(["verify", str(folder)]) == 0
    assert f"from record {verify(folder).first_index} on" in capsys.readouterr().out


def test_the_gate_goes_on_writing_behind_a_shortened_journal(folder: Path) -> None:
    retire(folder, everything_old(folder), now_utc_ns=NOW_NS)
    records = verify(folder).records
    journal = Journal(folder, segment_bytes=SMALL)
    assert journal.recovered.last_epoch == 7
    journal.append(event(0))
    journal.close()
    assert verify(folder).records == records + 1


class _PowerCut(Disk):
    """Stops the work at the n-th sync of a folder: what was done before it may be on disk, nothing else is."""

    def __init__(self, at: int) -> None:
        self._left = at

    def sync_folder(self, folder: Path) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        super().sync_folder(folder)


def test_a_removal_that_was_interrupted_verifies_and_is_finished_later(folder: Path) -> None:
    chain = verify(folder).chain
    with pytest.raises(KeyboardInterrupt):
        retire(
            folder, [1, 2, 3], now_utc_ns=NOW_NS, disk=_PowerCut(1)
        )  # the anchor stands, every file still too
    assert numbers(folder)[0] == 1
    assert verify(folder).chain == chain
    segment_path(folder, 1).unlink()  # or one had gone
    assert verify(folder).chain == chain
    retire(folder, everything_old(folder), now_utc_ns=NOW_NS)
    assert verify(folder).chain == chain


def test_a_segment_that_is_missing_without_a_record_is_damage(folder: Path) -> None:
    segment_path(folder, 1).unlink()
    with pytest.raises(JournalCorrupt, match="missing"):
        verify(folder)


def test_a_segment_missing_behind_the_anchor_is_damage(folder: Path) -> None:
    retire(folder, [1, 2], now_utc_ns=NOW_NS)
    segment_path(folder, 3).unlink()
    with pytest.raises(JournalCorrupt, match="segment 3 should still be there"):
        verify(folder)


@pytest.mark.parametrize("field", ["first_segment", "first_index", "chain", "removed_bytes"])
def test_a_changed_anchor_is_damage(folder: Path, field: str) -> None:
    retire(folder, [1, 2], now_utc_ns=NOW_NS)
    anchor = json.loads((folder / ANCHOR_NAME).read_text())
    anchor[field] = "ab" * 32 if field == "chain" else anchor[field] + 1
    (folder / ANCHOR_NAME).write_text(json.dumps(anchor))
    with pytest.raises(JournalCorrupt, match="its hash does not fit"):
        verify(folder)


def test_an_anchor_forged_with_a_fitting_hash_still_contradicts_the_segment(folder: Path) -> None:
    retire(folder, [1, 2], now_utc_ns=NOW_NS)
    anchor = read_anchor(folder)
    assert anchor is not None
    raw = json.loads((folder / ANCHOR_NAME).read_text()) | {"first_index": anchor.first_index + 1}
    forged = type(anchor)(**{**raw, "sha256": ""}).sealed()
    raw["sha256"] = forged.sha256
    (folder / ANCHOR_NAME).write_text(json.dumps(raw))
    with pytest.raises(JournalCorrupt, match="does not begin where"):
        verify(folder)


def test_a_database_rebuilt_from_a_shortened_journal_has_what_is_left(folder: Path, tmp_path: Path) -> None:
    retire(folder, [1, 2, 3], now_utc_ns=NOW_NS)
    left = [e.record.ordinal for e in read(folder) if isinstance(e.record, VerdictRecord)]
    engine = open_writer(tmp_path / "records.sqlite")
    projection = Projection(engine, ["A"])
    follower = follow(folder, projection.position())
    while entries := follower.poll(100):
        projection.apply(entries)
    follower.close()
    assert projection.is_on_disk()
    with engine.connect() as connection:
        parts = connection.execute(select(t.parts.c.ordinal, t.parts.c.outcome).order_by(t.parts.c.id)).all()
        runs = connection.execute(select(t.runs.c.epoch, t.runs.c.recipe_sha256)).all()
    assert [p.ordinal for p in parts] == left
    assert {p.outcome for p in parts} == {Outcome.PASS.name.lower()}
    assert [tuple(run) for run in runs] == [(7, "")]
    engine.dispose()


def test_rows_that_are_only_in_the_unsynced_log_are_not_on_disk(folder: Path, tmp_path: Path) -> None:
    engine = open_writer(tmp_path / "records.sqlite")
    projection = Projection(engine, ["A"])
    assert projection.is_on_disk()
    follower = follow(folder)
    projection.apply(follower.poll(50))
    reader = open_reader(tmp_path / "records.sqlite")
    with reader.connect() as connection:  # somebody reads: the log behind him cannot go into the file
        connection.execute(select(t.parts.c.id)).first()
        projection.apply(follower.poll(50))
        assert not projection.is_on_disk()
    reader.dispose()
    assert projection.is_on_disk()
    follower.close()
    engine.dispose()
