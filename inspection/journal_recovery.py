# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the writer does before its first record: check the end of the journal, cut a torn tail, find open parts.

Only the last two segments are read (each begins with the run it holds, and a part lives for well under a
second, so nothing open can lie further back); `verify` reads everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inspection.journal_format import GENESIS, HEADER_BYTES, list_segments
from inspection.journal_reader import SegmentScan, check_joint, scan_segment
from inspection.journal_records import (
    Continued,
    JournalCorrupt,
    PartOpened,
    Published,
    Record,
    Started,
    VerdictRecord,
)
from inspection.types import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was found. `segment` 0 means there was no journal yet.

    `unmarked` are PASS records whose publication is not on record; `undecided` are parts that have no
    verdict record at all. The gate closes both as NOT_INSPECTED (restart).
    """

    segment: int
    offset: int
    next_index: int
    chain: bytes
    torn_bytes: int
    last_epoch: int | None
    unmarked: tuple[VerdictRecord, ...]
    undecided: tuple[PartOpened, ...]


def recover(folder: Path) -> Recovered:
    """Scan the end of the journal and make it appendable. Raises JournalCorrupt, OSError."""
    segments = list_segments(folder)
    if segments and _headless(segments[-1][1]):
        # power went while the segment was being made: nothing in it was ever durable
        segments.pop()[1].unlink()
    if not segments:
        return Recovered(
            segment=0,
            offset=0,
            next_index=0,
            chain=GENESIS,
            torn_bytes=0,
            last_epoch=None,
            unmarked=(),
            undecided=(),
        )
    last = scan_segment(segments[-1][1], last=True)
    scans = [last]
    if len(segments) > 1:
        before = scan_segment(segments[-2][1], last=last.durable == HEADER_BYTES)
        if last.durable == HEADER_BYTES and before.chain != last.header.previous_chain:
            # The unsynced tail of the segment before was lost, and nothing in this one was durable either:
            # both belong to one torn tail.
            last.path.unlink()
            scans = [before]
        else:
            check_joint(before, last)
            scans = [before, last]
    for scan in scans[:-1]:
        _cut(scan, seal=True)
    end = scans[-1]
    _cut(end, seal=False)
    records = [entry.record for scan in scans for entry in scan.entries]
    unmarked, undecided = open_parts(records)
    return Recovered(
        segment=end.header.segment,
        offset=end.end,
        next_index=end.next_index,
        chain=end.chain,
        torn_bytes=end.torn_bytes,
        last_epoch=_last_epoch(records),
        unmarked=unmarked,
        undecided=undecided,
    )


def open_parts(
    records: Iterable[Record],
) -> tuple[tuple[VerdictRecord, ...], tuple[PartOpened, ...]]:
    """(PASS verdicts without their published mark, opened parts without a verdict), in order. Pure."""
    verdicts: dict[tuple[int, int], VerdictRecord] = {}
    opened: dict[tuple[int, int], PartOpened] = {}
    for record in records:
        match record:
            case PartOpened(part=part):
                opened[part.epoch, part.ordinal] = record
            case VerdictRecord():
                opened.pop((record.epoch, record.ordinal), None)
                if record.outcome is Outcome.PASS:
                    verdicts[record.epoch, record.ordinal] = record
                else:
                    verdicts.pop((record.epoch, record.ordinal), None)
            case Published():
                verdicts.pop((record.epoch, record.ordinal), None)
            case _:
                pass
    return tuple(verdicts.values()), tuple(opened.values())


def _last_epoch(records: list[Record]) -> int | None:
    for record in reversed(records):
        if isinstance(record, Started | Continued):
            return record.epoch
    return None


def _headless(path: Path) -> bool:
    """True for a last segment whose header page never reached the disk."""
    with path.open("rb") as f:
        return not f.read(HEADER_BYTES).strip(b"\0")


def _cut(scan: SegmentScan, *, seal: bool) -> None:
    """Zero the torn tail behind the last valid record, or cut the file there when it is full."""
    if not seal and not scan.torn_bytes:
        return
    fd = os.open(scan.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if seal:
            if scan.file_bytes != scan.end:
                os.ftruncate(fd, scan.end)
        else:
            os.pwrite(fd, bytes(scan.torn_bytes), scan.end)
        os.fsync(fd)
    finally:
        os.close(fd)


__all__ = ["JournalCorrupt", "Recovered", "open_parts", "recover"]
