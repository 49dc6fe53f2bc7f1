# SPDX-License-Identifier: AGPL-3.0-or-later
"""Old journal segments go, and what went is on record: the anchor of the journal that is left.

At ten parts a second with strips a journal grows by some 10 GB a day. A segment may be removed when it is full,
all of it is in the records database for good, and it is older or the journal larger than station.toml allows;
the newest three stay whatever it says, because recovery reads the last two. Before a file goes, `anchor.json`
says on disk with which segment, record number and chain value the journal begins from now on. `verify` holds
against it: a segment that is missing without such a record is damage, as before.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from inspection.journal_disk import Disk
from inspection.journal_format import (
    GENESIS,
    HEADER_BYTES,
    Position,
    SegmentHeader,
    corrupt,
    list_segments,
    segment_path,
    unpack_header,
)
from inspection.journal_records import JournalCorrupt

ANCHOR_NAME = "anchor.json"
KEPT_ALWAYS = 3
_AT_ONCE = 8  # segments a call: the recorder's heartbeat keeps its pace


class Anchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the journal begins since older segments were removed. `sha256` is over all the rest."""

    first_segment: int
    first_index: int  # as many records were removed, ever
    chain: str  # hex, before the first record that is left
    removed_bytes: int
    removed_utc_ns: int  # the last time
    previous_sha256: str = ""  # of the anchor before this one
    sha256: str = ""

    def sealed(self) -> Anchor:
        """With its own hash filled in."""
        return msgspec.structs.replace(self, sha256=self._digest())

    @property
    def holds(self) -> bool:
        """Whether the hash fits."""
        return self.sha256 == self._digest()

    def _digest(self) -> str:
        bare = msgspec.structs.replace(self, sha256="")
        return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def read_anchor(folder: Path) -> Anchor | None:
    """The anchor, None where nothing was ever removed; JournalCorrupt when it was damaged."""
    path = folder / ANCHOR_NAME
    try:
        anchor = msgspec.json.decode(path.read_bytes(), type=Anchor)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as e:
        raise corrupt(path, 0, f"it is not the record of removed segments ({e})") from e
    if not anchor.holds:
        raise corrupt(path, 0, "its hash does not fit: it was changed")
    return anchor


def check_beginning(folder: Path, header: SegmentHeader, anchor: Anchor | None, *, first: bool) -> None:
    """JournalCorrupt unless the journal begins where it may; call for each segment.

    Segments before the anchor's are left-overs of a removal that was interrupted; they may be there.
    """
    path = segment_path(folder, header.segment)
    begins = (header.segment, header.first_index, header.previous_chain)
    if anchor is None:
        if first and begins != (1, 0, GENESIS):
            raise corrupt(path, 0, f"what was before it is missing, and no {ANCHOR_NAME} says why")
        return
    if first and header.segment > anchor.first_segment:
        raise corrupt(path, 0, f"segment {anchor.first_segment} should still be there ({ANCHOR_NAME})")
    expected = (anchor.first_segment, anchor.first_index, bytes.fromhex(anchor.chain))
    if header.segment == anchor.first_segment and begins != expected:
        raise corrupt(path, 0, f"it does not begin where {ANCHOR_NAME} says")


def removable(
    folder: Path, committed: Position, *, keep_bytes: int, keep_ns: int, now_utc_ns: int
) -> list[int]:
    """Segments that may go, oldest first, at most eight; `committed` is what the database holds for good."""
    segments = list_segments(folder)
    sizes = [path.stat().st_size for _, path in segments]
    total = sum(sizes)
    going: list[int] = []
    for i, (number, _) in enumerate(segments[:-KEPT_ALWAYS][:_AT_ONCE]):
        if number >= committed.segment:
            break
        full_since_ns = _header(segments[i + 1][1]).created_utc_ns  # the next one began when this one was full
        if now_utc_ns - full_since_ns <= keep_ns and total <= keep_bytes:
            break
        going.append(number)
        total -= sizes[i]
    return going


def retire(folder: Path, going: list[int], *, now_utc_ns: int, disk: Disk | None = None) -> None:
    """Write the anchor, then remove these segments: the oldest ones, as `removable` gave them."""
    if not going:
        return
    disk = disk or Disk()
    before = read_anchor(folder)
    first = _header(segment_path(folder, going[-1] + 1))
    gone = sum(segment_path(folder, number).stat().st_size for number in going)
    anchor = Anchor(
        first_segment=first.segment,
        first_index=first.first_index,
        chain=first.previous_chain.hex(),
        removed_bytes=gone + (before.removed_bytes if before else 0),
        removed_utc_ns=now_utc_ns,
        previous_sha256=before.sha256 if before else "",
    ).sealed()
    temp = folder / f"{ANCHOR_NAME}.new"
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        disk.write(fd, msgspec.json.format(msgspec.json.encode(anchor)) + b"\n", 0)
        disk.sync(fd)
    finally:
        os.close(fd)
    temp.rename(folder / ANCHOR_NAME)
    disk.sync_folder(folder)
    for number in going:
        segment_path(folder, number).unlink()
    disk.sync_folder(folder)


def _header(path: Path) -> SegmentHeader:
    with path.open("rb") as f:
        return unpack_header(f.read(HEADER_BYTES), path)


__all__ = ["Anchor", "JournalCorrupt", "check_beginning", "read_anchor", "removable", "retire"]
