# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bytes of a journal segment: header, record frames, hash chain. Pure: bytes in, values out.

Segment file `NNNNNNNN.journal`, little endian, preallocated with zeros:

    0      header: magic, segment number, index of the first record, size in bytes, chain before the first
           record (32 bytes), creation (UTC ns), CRC-32 of all that
    512    durable mark: byte offset up to which this file is known to be on disk, CRC-32 of the offset
    4096   records: payload length (u32), CRC-32 of length + chain + payload, chain (32 bytes), payload

chain = sha256(previous chain + payload). A length of zero ends the segment, and only zeros follow.

Why a durable mark: after a power cut the unsynced tail may hold any mixture of old and new sectors. A
broken record behind the mark is such a torn tail and is cut off (nothing there was ever announced as a
PASS); a broken record before the mark was on disk once, so it is corruption, and recovery refuses.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inspection.journal_records import JournalCorrupt

HEADER_BYTES = 4096
FRAME_BYTES = 40  # length, CRC-32, chain
GENESIS = bytes(32)
DURABLE_AT = 512
DURABLE_BYTES = 12

_MAGIC = b"GSJRNL\x01\n"
_HEADER = struct.Struct("<8sIQQ32sQ")
_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<II32s")
_DURABLE = struct.Struct("<QI")
_NAME = re.compile(r"(\d{8})\.journal")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in the journal: the first byte not yet read. Ordered; `START` is before everything."""

    segment: int
    offset: int


START = Position(segment=0, offset=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """What a segment says of itself in its first page."""

    segment: int
    first_index: int
    size_bytes: int
    previous_chain: bytes
    created_utc_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One record as it lies on disk: payload, the chain after it, and the offset behind it."""

    payload: bytes
    chain: bytes
    end: int


def segment_path(folder: Path, segment: int) -> Path:
    """File of one segment."""
    return folder / f"{segment:08d}.journal"


def list_segments(folder: Path) -> list[tuple[int, Path]]:
    """(number, file) of every segment, in order; JournalCorrupt when one in between is gone."""
    found = [(int(m[1]), p) for p in sorted(folder.glob("*.journal")) if (m := _NAME.fullmatch(p.name))]
    for (a, _), (b, path) in itertools.pairwise(found):
        if b != a + 1:
            raise JournalCorrupt(
                f"Journal segment {segment_path(folder, a + 1)} is missing before {path.name}: "
                "restore it from a copy, or move the journal folder aside to begin a new one."
            )
    return found


def pack_header(header: SegmentHeader) -> bytes:
    """The first page of a fresh segment; its durable mark stands behind the header."""
    raw = _HEADER.pack(
        _MAGIC,
        header.segment,
        header.first_index,
        header.size_bytes,
        header.previous_chain,
        header.created_utc_ns,
    )
    page = bytearray(HEADER_BYTES)
    page[: len(raw) + 4] = raw + _CRC.pack(zlib.crc32(raw))
    page[DURABLE_AT : DURABLE_AT + DURABLE_BYTES] = pack_durable(HEADER_BYTES)
    return bytes(page)


def unpack_header(page: bytes, path: Path) -> SegmentHeader:
    """Inverse of `pack_header`; JournalCorrupt names the file."""
    raw = page[: _HEADER.size]
    bad = len(page) < HEADER_BYTES or raw[:8] != _MAGIC
    if bad or _CRC.unpack_from(page, _HEADER.size)[0] != zlib.crc32(raw):
        raise corrupt(path, 0, "its header is not that of a journal segment")
    rest = page[_HEADER.size + 4 : DURABLE_AT] + page[DURABLE_AT + DURABLE_BYTES : HEADER_BYTES]
    if rest.strip(b"\0"):
        raise corrupt(path, _HEADER.size, "there are bytes where the header has none")
    _, segment, first_index, size_bytes, previous_chain, created_utc_ns = _HEADER.unpack(raw)
    return SegmentHeader(
        segment=segment,
        first_index=first_index,
        size_bytes=size_bytes,
        previous_chain=previous_chain,
        created_utc_ns=created_utc_ns,
    )


def pack_durable(offset: int) -> bytes:
    """The durable mark for one offset; it lies in one disk sector, so it is never half written."""
    raw = offset.to_bytes(8, "little")
    return raw + _CRC.pack(zlib.crc32(raw))


def unpack_durable(page: bytes) -> int | None:
    """Offset in the durable mark of a header page, or None when the mark itself is damaged."""
    raw = bytes(page[DURABLE_AT : DURABLE_AT + DURABLE_BYTES])
    if len(raw) < DURABLE_BYTES:
        return None
    offset, crc = _DURABLE.unpack(raw)
    return offset if crc == zlib.crc32(raw[:8]) else None


def pack_frame(payload: bytes, chain: bytes) -> tuple[bytes, bytes]:
    """(bytes of the record, chain after it)."""
    after = hashlib.sha256(chain + payload).digest()
    length = _CRC.pack(len(payload))
    crc = zlib.crc32(payload, zlib.crc32(after, zlib.crc32(length)))
    return _FRAME.pack(len(payload), crc, after) + payload, after


def next_frame(data: bytes | memoryview, offset: int, chain: bytes | None) -> Frame | None:
    """The record at `offset`, or None when no whole and valid one lies there.

    `chain` is the chain before it; None skips that check (a reader that begins in the middle of a
    segment has only the CRC for the first record).
    """
    if offset + FRAME_BYTES > len(data):
        return None
    length, crc, after = _FRAME.unpack_from(data, offset)
    end = offset + FRAME_BYTES + length
    if length == 0 or end > len(data):
        return None
    payload = bytes(data[offset + FRAME_BYTES : end])
    if crc != zlib.crc32(payload, zlib.crc32(after, zlib.crc32(_CRC.pack(length)))):
        return None
    if chain is not None and after != hashlib.sha256(chain + payload).digest():
        return None
    return Frame(payload=payload, chain=after, end=end)


def frames(data: bytes | memoryview, offset: int, chain: bytes | None) -> Iterator[Frame]:
    """Valid records from `offset` on, until the first place where there is none."""
    while (frame := next_frame(data, offset, chain)) is not None:
        yield frame
        offset, chain = frame.end, frame.chain


def corrupt(path: Path, offset: int, what: str) -> JournalCorrupt:
    """The one sentence about a damaged segment."""
    return JournalCorrupt(
        f"Journal segment {path} is damaged at byte {offset}: {what}; restore it from a copy, "
        "or move the journal folder aside to begin a new one."
    )
