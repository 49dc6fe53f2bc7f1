# SPDX-License-Identifier: AGPL-3.0-or-later
"""The append-only, hash-chained verdict log: the truth of the station. This file is its one writer.

`Journal.append` writes into space that was preallocated before (so that a full disk does not stop
verdicts at once) and returns the record's index; it does not wait. `sync_until(index)` asks the journal's
own thread for an fdatasync; one sync serves every record appended before it began (group commit), and
`on_durable(index)` is called from that thread. A fault of the disk is final for this object: after a
failed fdatasync nobody knows what is on disk, so `append` raises until the journal is opened anew.

Bytes: journal_format. Records: journal_records. Readers, `verify`: journal_reader. On the command line:
`python -m inspection.journal verify|dump FOLDER`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from inspection.journal_command import main
from inspection.journal_disk import Disk
from inspection.journal_format import (
    DURABLE_AT,
    FRAME_BYTES,
    HEADER_BYTES,
    START,
    Position,
    SegmentHeader,
    pack_durable,
    pack_frame,
    pack_header,
    segment_path,
)
from inspection.journal_reader import Entry, Follower, follow, read, verify
from inspection.journal_records import (
    BundleInUse,
    Continued,
    JournalCorrupt,
    Record,
    Started,
    encode_record,
)
from inspection.journal_recovery import Recovered, recover
from inspection.types import StationFault

__all__ = [
    "START",
    "Disk",
    "Entry",
    "Follower",
    "Journal",
    "JournalCorrupt",
    "JournalFault",
    "Position",
    "Recovered",
    "follow",
    "main",
    "read",
    "verify",
]

SEGMENT_BYTES = 64 * 1024 * 1024
RESERVE_BYTES = 64 * 1024
_SPARE = "next.spare"
_RETRY_S = 1.0


class JournalFault(Exception):
    """The journal takes no more records; the text is one sentence. PASS stops until it is opened anew."""


class Journal:
    """The one writer of a journal folder. `append` and `sync_until` belong to one thread (the gate's loop).

    `on_durable(index)` and `on_fault(text)` are called from the journal's thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        on_durable: Callable[[int], None] | None = None,
        on_fault: Callable[[str], None] | None = None,
        disk: Disk | None = None,
    ) -> None:
        """Open, recover and lock the folder. StationFault: in use, unwritable, full; JournalCorrupt."""
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._reserve = min(RESERVE_BYTES, segment_bytes // 8)
        self._on_durable = on_durable or (lambda _index: None)
        self._on_fault = on_fault or (lambda _text: None)
        self._disk = disk or Disk()
        self._wake = threading.Condition()
        self._stop = False
        self._fault: str | None = None
        self._fd = -1  # none yet
        self._spare: int | None = None
        self._spare_error: str | None = None
        self._retiring: list[tuple[int, int]] = []  # (fd, end) of full segments, not yet synced and cut
        self._fresh_name = True  # a segment's name is not known to be on disk
        self._run: tuple[int, str, str] | None = None
        self.sync_ns_last = 0
        self.sync_ns_max = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
        except OSError as e:
            raise StationFault(f"The journal folder {folder} cannot be used ({e}): correct its rights.") from e
        try:
            self.recovered = recover(folder)
            self._open_last()
        except OSError as e:
            self._let_go()
            raise StationFault(
                f"The journal in {folder} cannot get {segment_bytes >> 10} KiB ({e}): free space on that disk."
            ) from e
        except StationFault:
            self._let_go()
            raise
        self._wanted = self._durable = self._appended = self._index - 1
        self._thread = threading.Thread(target=self._sync_loop, name="journal-sync", daemon=True)
        self._thread.start()

    def _let_go(self) -> None:
        """Opening failed midway: every descriptor goes, because it will be tried again in this very process."""
        for fd in (self._fd, -1 if self._spare is None else self._spare, self._lock):
            if fd >= 0:
                os.close(fd)

    def _open_last(self) -> None:
        r = self.recovered
        self._index, self._chain = r.next_index, r.chain
        if r.segment == 0:
            self._segment = 1
            self._fd = self._disk.preallocate(segment_path(self.folder, 1), self._segment_bytes)
            self._start_segment(self._fd, 1)
        else:
            self._segment, self._offset = r.segment, r.offset
            self._fd = os.open(segment_path(self.folder, r.segment), os.O_RDWR | os.O_CLOEXEC)
            self._size = max(self._segment_bytes, r.offset)
            os.posix_fallocate(self._fd, 0, self._size)
        self._disk.sync(self._fd)
        self._disk.write(self._fd, pack_durable(self._offset), DURABLE_AT)
        self._disk.sync(self._fd)
        self._disk.sync_folder(self.folder)
        self._make_spare()

    def _start_segment(self, fd: int, segment: int) -> None:
        header = SegmentHeader(
            segment=segment,
            first_index=self._index,
            size_bytes=self._segment_bytes,
            previous_chain=self._chain,
            created_utc_ns=time.time_ns(),
        )
        self._disk.write(fd, pack_header(header), 0)
        self._fd, self._segment, self._offset, self._size = fd, segment, HEADER_BYTES, self._segment_bytes

    # --- the writing thread
    @property
    def fault(self) -> str | None:
        """Why this journal takes no more records, or None."""
        return self._fault

    @property
    def spare_error(self) -> str | None:
        """Why the next segment could not be preallocated (a full disk), or None. A warning, not a fault."""
        return self._spare_error

    @property
    def has_room(self) -> bool:
        """Whether there is room for more than closing records; a single large one may not fit all the same."""
        coming = self._spare is not None or self._spare_error is None
        return coming or self._offset < self._size - self._reserve

    @property
    def appended(self) -> int:
        """Index of the newest record; -1 when the journal is empty."""
        return self._appended

    @property
    def durable(self) -> int:
        """Index of the newest record known to be on disk."""
        return self._durable

    def append(self, record: Record, *, closing: bool = False) -> int:
        """Write one record and return its index; raises JournalFault and never loses it in silence.

        `closing` records (NOT_INSPECTED, events, stop) may use the last `RESERVE_BYTES` of the preallocated
        space, so that what is in flight can still be closed on record when the disk is full.
        """
        if self._fault is not None:
            raise JournalFault(self._fault)
        payload = encode_record(record)
        need = FRAME_BYTES + len(payload)
        if self._offset + need > self._size - self._reserve:
            self._make_room(need, closing)
        index = self._put(payload)
        if isinstance(record, Started | Continued | BundleInUse):
            self._run = (record.epoch, record.recipe_sha256, record.bundle_sha256)
        return index

    def sync_until(self, index: int) -> None:
        """Ask for `index` to be on disk soon; returns at once. `on_durable` tells."""
        if index > self._wanted:
            with self._wake:
                self._wanted = index
                self._wake.notify_all()

    def wait_durable(self, index: int, timeout_s: float) -> bool:
        """Block until `index` is on disk; False on time-out or fault. For shutdown and tests."""
        self.sync_until(index)
        with self._wake:
            self._wake.wait_for(lambda: self._durable >= index or self._fault is not None, timeout_s)
            return self._durable >= index

    def close(self, timeout_s: float = 5.0) -> None:
        """Sync what was appended, stop the thread, release the folder. Once: descriptors are used again."""
        if self._stop:
            return
        if self._fault is None:
            self.wait_durable(self._appended, timeout_s)
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():  # a disk that does not answer keeps its descriptors
            return
        if self._fault is None:
            # of the durable mark only: recovery reads on behind an older one
            with contextlib.suppress(OSError):
                self._disk.sync(self._fd)
        spare = [] if self._spare is None else [self._spare]  # the file stays: its space is kept
        for fd in [self._fd, self._lock, *spare, *(fd for fd, _ in self._retiring)]:
            os.close(fd)

    def _put(self, payload: bytes) -> int:
        data, chain = pack_frame(payload, self._chain)
        try:
            self._disk.write(self._fd, data, self._offset)
        except OSError as e:
            self._fail(f"The journal in {self.folder} cannot be written ({e}): look after that disk.")
            raise JournalFault(str(self._fault)) from e
        index = self._index
        with self._wake:
            self._offset += len(data)
            self._chain = chain
            self._index = index + 1
            self._appended = index
        return index

    def _make_room(self, need: int, closing: bool) -> None:
        if HEADER_BYTES + need > self._segment_bytes - self._reserve:
            raise JournalFault(f"A record of {need} bytes does not fit into a journal segment.")
        if self._spare is None:
            if closing and self._offset + need <= self._size:
                return
            why = self._spare_error or "the next segment is not ready yet"
            raise JournalFault(f"The journal in {self.folder} is full ({why}): free space on that disk.")
        try:
            # one piece under the lock: the other thread makes the next spare under the same name
            with self._wake:
                old = (self._fd, self._offset)
                self._start_segment(self._spare, self._segment + 1)
                (self.folder / _SPARE).rename(segment_path(self.folder, self._segment))
                self._spare = None
                self._retiring.append(old)
                self._fresh_name = True
                self._wake.notify_all()
        except OSError as e:
            self._fail(f"The journal in {self.folder} cannot begin a segment ({e}): look after that disk.")
            raise JournalFault(str(self._fault)) from e
        if self._run is not None:
            epoch, recipe, bundle = self._run
            record = Continued(epoch=epoch, recipe_sha256=recipe, bundle_sha256=bundle)
            self._put(encode_record(record))

    def _fail(self, text: str) -> None:
        with self._wake:
            first = self._fault is None
            self._fault = self._fault or text
            self._wake.notify_all()
        if first:
            self._on_fault(text)

    # --- the journal's own thread
    def _sync_loop(self) -> None:
        try:
            while self._sync_turn():
                pass
        except Exception as e:  # noqa: BLE001 (top of a thread)
            self._fail(f"The journal in {self.folder} cannot be synced ({e}): look after that disk.")

    def _sync_turn(self) -> bool:
        with self._wake:
            self._wake.wait_for(self._has_work, _RETRY_S if self._spare is None else None)
            if self._stop or self._fault is not None:
                return False
            work = self._wanted > self._durable or bool(self._retiring)
            target, fd, end = self._appended, self._fd, self._offset
            retiring, fresh = list(self._retiring), self._fresh_name
            self._fresh_name = self._fresh_name and not work
        if work:
            begin_ns = time.monotonic_ns()
            self._sync_files(fd, end, retiring, fresh)
            self.sync_ns_last = time.monotonic_ns() - begin_ns
            self.sync_ns_max = max(self.sync_ns_max, self.sync_ns_last)
            with self._wake:
                del self._retiring[: len(retiring)]
                self._durable = target
                self._wake.notify_all()
            self._on_durable(target)
        with self._wake:
            wants_spare = self._spare is None and self._wanted <= self._durable
        if wants_spare:
            self._make_spare()
        return True

    def _has_work(self) -> bool:
        busy = self._wanted > self._durable or bool(self._retiring)
        return busy or self._stop or self._fault is not None or self._wants_spare()

    def _wants_spare(self) -> bool:
        return self._spare is None and self._spare_error is None

    def _sync_files(self, fd: int, end: int, retiring: list[tuple[int, int]], fresh: bool) -> None:
        for old, old_end in retiring:
            self._disk.sync(old)
            self._disk.write(old, pack_durable(old_end), DURABLE_AT)
            self._disk.sync(old)
            os.ftruncate(old, old_end)  # seals it: a reader that has come so far goes on to the next
            os.close(old)
        self._disk.sync(fd)
        if fresh:
            self._disk.sync_folder(self.folder)
        self._disk.write(fd, pack_durable(end), DURABLE_AT)  # on disk with the next sync

    def _make_spare(self) -> None:
        path = self.folder / _SPARE
        try:
            fd = self._adopt(path)
            if fd is None:
                fd = self._disk.preallocate(path, self._segment_bytes)
        except OSError as e:
            self._spare_error = str(e)  # tried again every second while there is room in this segment
            return
        with self._wake:
            self._spare, self._spare_error = fd, None

    def _adopt(self, path: Path) -> int | None:
        """The spare that an earlier run left: its space is not lost on a full disk. None if unusable."""
        if not path.exists():
            return None
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        blank = not os.pread(fd, HEADER_BYTES, 0).strip(b"\0")
        if blank and os.fstat(fd).st_size == self._segment_bytes:
            os.posix_fallocate(fd, 0, self._segment_bytes)
            os.fsync(fd)
            return fd
        os.close(fd)  # of another size, or given a header just before the power went
        path.unlink()
        return None


def _lock(folder: Path) -> int:
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        os.close(fd)
        raise StationFault(
            f"The journal in {folder} is being written by another gate: stop that station first."
        ) from e
    return fd


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
