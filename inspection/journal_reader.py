# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading the journal: whole (`read`, `verify`), as a live tail (`Follower`), and what recovery must know.

Readers never write. A follower sees only what is durable, so a projection (the records database) can
never hold a record that a power cut takes back from the journal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inspection.journal_format import (
    HEADER_BYTES,
    START,
    Position,
    SegmentHeader,
    corrupt,
    frames,
    list_segments,
    next_frame,
    segment_path,
    unpack_durable,
    unpack_header,
)
from inspection.journal_records import JournalCorrupt, Record, decode_record
from inspection.journal_retention import check_beginning, read_anchor

_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record with its number in the whole journal and the position behind it (store that one)."""

    index: int
    record: Record
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentScan:
    """One segment, read to the end of its valid records.

    `torn_bytes` counts from `end` to the last byte that is not zero; 0 means a clean end.
    """

    path: Path
    header: SegmentHeader
    entries: tuple[Entry, ...]
    end: int
    chain: bytes
    durable: int | None
    file_bytes: int
    torn_bytes: int

    @property
    def next_index(self) -> int:
        """Index of the record that would follow."""
        return self.header.first_index + len(self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found. `torn_bytes` lie behind the last valid record of the last segment."""

    segments: int
    records: int
    torn_bytes: int
    chain: bytes
    first_index: int = 0  # records before this one were removed (journal_retention)


def scan_segment(path: Path, *, last: bool) -> SegmentScan:
    """Read and check one segment. Raises JournalCorrupt for damage in what was durable.

    In the last segment whatever follows the durable mark and is not valid counts as torn, not corrupt.
    Reads the file in one piece (the default segment is 64 MiB).
    """
    data = path.read_bytes()
    header = unpack_header(data[:HEADER_BYTES], path)
    if segment_path(path.parent, header.segment) != path:
        raise corrupt(path, 0, f"its header says it is segment {header.segment}")
    durable = unpack_durable(data)
    entries: list[Entry] = []
    end, chain = HEADER_BYTES, header.previous_chain
    for frame in frames(data, HEADER_BYTES, chain):
        position = Position(segment=header.segment, offset=frame.end)
        try:
            record = decode_record(frame.payload)
        except JournalCorrupt as e:
            raise JournalCorrupt(f"{path} at byte {end}: {e}") from e
        entries.append(Entry(index=header.first_index + len(entries), record=record, position=position))
        end, chain = frame.end, frame.chain
    torn = len(data[end:].rstrip(b"\0"))
    if durable is None:
        # the mark is the only witness of what was on disk, so its loss is damage, whatever else is whole
        raise corrupt(path, 512, "the mark of what is on disk cannot be read")
    if durable > end:
        raise corrupt(path, end, f"record {header.first_index + len(entries)} was on disk and has changed")
    if torn and not last:
        raise corrupt(path, end, "there are bytes behind its last record, and a later segment exists")
    return SegmentScan(
        path=path,
        header=header,
        entries=tuple(entries),
        end=end,
        chain=chain,
        durable=durable,
        file_bytes=len(data),
        torn_bytes=torn,
    )


def check_joint(before: SegmentScan, after: SegmentScan) -> None:
    """Raise JournalCorrupt unless `after` continues the chain and the numbering of `before`."""
    if before.chain != after.header.previous_chain or before.next_index != after.header.first_index:
        raise corrupt(after.path, 0, f"it does not continue {before.path.name}")


def read(folder: Path) -> Iterator[Entry]:
    """Every valid record in order, durable or not (for tests and tools; a live projection uses `Follower`).

    Raises JournalCorrupt where the chain breaks; a torn tail simply ends the journal.
    """
    for scan in _scans(folder):
        yield from scan.entries


def verify(folder: Path) -> Verification:
    """Check every segment, record, CRC, chain, joint and the beginning; JournalCorrupt names the damage.

    The beginning is record 0, or what the anchor of removed segments says.
    """
    segments = records = torn_bytes = first_index = 0
    chain = b""
    for scan in _scans(folder):
        first_index = first_index if segments else scan.header.first_index
        segments, records = segments + 1, records + len(scan.entries)
        torn_bytes, chain = scan.torn_bytes, scan.chain
    if not segments:
        raise JournalCorrupt(f"There is no journal in {folder}: give the folder that holds *.journal files.")
    return Verification(
        segments=segments, records=records, torn_bytes=torn_bytes, chain=chain, first_index=first_index
    )


def _scans(folder: Path) -> Iterator[SegmentScan]:
    segments = list_segments(folder)
    anchor = read_anchor(folder)
    before: SegmentScan | None = None
    for i, (_, path) in enumerate(segments):
        try:
            scan = scan_segment(path, last=i == len(segments) - 1)
        except FileNotFoundError as e:
            raise JournalCorrupt(f"{path} went while it was being read: verify again.") from e
        check_beginning(folder, scan.header, anchor, first=i == 0)
        if before is not None:
            check_joint(before, scan)
        yield scan
        before = scan


@dataclass(slots=True)
class _Tail:
    """The segment a follower is reading."""

    fd: int
    segment: int
    index: int  # of the next record
    chain: bytes  # before the next record

    def durable(self) -> int | None:
        """Durable mark as it stands now."""
        return unpack_durable(os.pread(self.fd, HEADER_BYTES, 0))


class Follower:
    """Live tail of a journal for one consumer. Safe beside a writing gate and across its restarts.

    `poll` returns what has become durable since; it never blocks. Keep `position` (of the last entry
    handled) with the consumer's own data and hand it in again after a restart.
    """

    def __init__(self, folder: Path, position: Position = START) -> None:
        self._folder = folder
        self._tail: _Tail | None = None
        self._crossing: bytes | None = None  # chain at the end of the segment just finished
        self.position = position

    def poll(self, limit: int = 256) -> list[Entry]:
        """At most `limit` durable records after `position`, which moves on. Raises JournalCorrupt."""
        out: list[Entry] = []
        while len(out) < limit:
            tail = self._tail or self._open()
            if tail is None:
                break
            got = self._read_some(tail, limit - len(out))
            out.extend(got)
            if not got and not self._next_segment(tail):
                break
        return out

    def lag_bytes(self) -> int:
        """Durable bytes in the present segment that were not read yet (0 when none is open)."""
        if self._tail is None:
            return 0
        return max(0, (self._tail.durable() or 0) - self.position.offset)

    def close(self) -> None:
        """Release the file."""
        if self._tail is not None:
            os.close(self._tail.fd)
            self._tail = None

    def _open(self) -> _Tail | None:
        numbers = [n for n, _ in list_segments(self._folder)]
        if not numbers:
            return None
        segment = max(self.position.segment, numbers[0])  # older ones may have been retired
        if segment not in numbers:
            raise JournalCorrupt(
                f"The journal in {self._folder} ends before segment {segment}, which was read already: was it "
                "replaced? Rebuild the projection from the beginning."
            )
        path = segment_path(self._folder, segment)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._tail = self._place(fd, path, segment)
        except JournalCorrupt:
            os.close(fd)
            raise
        return self._tail

    def _place(self, fd: int, path: Path, segment: int) -> _Tail:
        header = unpack_header(os.pread(fd, HEADER_BYTES, 0), path)
        if self._crossing is not None and header.previous_chain != self._crossing:
            raise corrupt(path, 0, "it does not continue the one before it")
        self._crossing = None
        tail = _Tail(fd=fd, segment=segment, index=header.first_index, chain=header.previous_chain)
        if segment != self.position.segment or self.position.offset <= HEADER_BYTES:
            self.position = Position(segment=segment, offset=HEADER_BYTES)
            return tail
        end = HEADER_BYTES
        for frame in frames(os.pread(fd, self.position.offset, 0), HEADER_BYTES, header.previous_chain):
            tail.index, tail.chain, end = tail.index + 1, frame.chain, frame.end
        if end != self.position.offset:
            raise JournalCorrupt(
                f"Byte {self.position.offset} of {path} is no place between two records: was the journal "
                "replaced? Rebuild the projection from the beginning."
            )
        return tail

    def _read_some(self, tail: _Tail, limit: int) -> list[Entry]:
        durable = tail.durable()
        offset = self.position.offset
        if durable is None or durable <= offset:
            return []  # an unreadable mark is being rewritten just now; recovery judges a lasting one
        size = min(durable - offset, _READ_BYTES)
        data = os.pread(tail.fd, size, offset)
        if size < durable - offset and next_frame(data, 0, tail.chain) is None:
            data = os.pread(tail.fd, durable - offset, offset)  # one record larger than a read
        out: list[Entry] = []
        for frame in frames(data, 0, tail.chain):
            self.position = Position(segment=tail.segment, offset=offset + frame.end)
            out.append(Entry(index=tail.index, record=decode_record(frame.payload), position=self.position))
            tail.index, tail.chain = tail.index + 1, frame.chain
            if len(out) >= limit:
                break
        if not out:
            raise corrupt(segment_path(self._folder, tail.segment), offset, "a durable record cannot be read")
        return out

    def _next_segment(self, tail: _Tail) -> bool:
        """Go on to the next segment when this one is sealed and read to its end."""
        following = segment_path(self._folder, tail.segment + 1)
        if not following.exists() or os.fstat(tail.fd).st_size != self.position.offset:
            return False  # sealing cuts a segment to its last record
        self._crossing = tail.chain
        self.position = Position(segment=tail.segment + 1, offset=HEADER_BYTES)
        self.close()
        return True


def follow(folder: Path, position: Position = START) -> Follower:
    """A follower that goes on after `position` (that of the last `Entry` handled)."""
    return Follower(folder, position)
