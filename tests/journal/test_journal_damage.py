# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal on a bad day: torn tails, flipped bits, full disks, failing syncs. Never a wrong record."""

from __future__ import annotations

import errno
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspection.journal import Disk, Journal, JournalCorrupt, JournalFault, read, verify
from inspection.journal_format import HEADER_BYTES, pack_durable, segment_path
from inspection.journal_records import LineEvent, Record, Stopped
from inspection.types import StationFault
from tests.journal.test_journal import SMALL, event, started, verdict, write

KEEP = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Record], list[int]]:
    """(bytes of one segment, its records, offset behind each of them)."""
    folder = tmp_path_factory.mktemp("whole")
    records = [started(), *(verdict(i) for i in range(1, 12)), event(0)]
    write(folder, *records)
    ends = [e.position.offset for e in read(folder)]
    return segment_path(folder, 1).read_bytes(), records, ends


def lay(folder: Path, data: bytes, durable: int | None = None) -> None:
    """Put one segment file into an empty folder, with another durable mark if given."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if durable is not None:
        mark = pack_durable(durable)
        data = data[:512] + mark + data[512 + len(mark) :]
    segment_path(folder, 1).write_bytes(data)


def reopen(folder: Path) -> list[Record]:
    """Recover, append one record, and read everything."""
    journal = Journal(folder, segment_bytes=SMALL)
    journal.append(event(99))
    journal.close()
    return [e.record for e in read(folder)]


@KEEP
@given(data=st.data())
def test_truncation_of_an_unsynced_tail_keeps_the_whole_records_before_it(
    tmp_path: Path, whole: tuple[bytes, list[Record], list[int]], data: st.DataObject
) -> None:
    raw, records, ends = whole
    synced = data.draw(st.integers(0, len(ends)))
    durable = HEADER_BYTES if synced == 0 else ends[synced - 1]
    cut = data.draw(st.integers(durable, ends[-1]))
    lay(tmp_path / "j", raw[:cut], durable)
    kept = sum(1 for e in ends if e <= cut)
    assert reopen(tmp_path / "j") == [*records[:kept], event(99)]


@KEEP
@given(data=st.data())
def test_flips_in_an_unsynced_tail_never_yield_a_wrong_record(
    tmp_path: Path, whole: tuple[bytes, list[Record], list[int]], data: st.DataObject
) -> None:
    raw, records, ends = whole
    synced = data.draw(st.integers(0, len(ends) - 1))
    durable = HEADER_BYTES if synced == 0 else ends[synced - 1]
    flips = data.draw(st.lists(st.integers(durable * 8, ends[-1] * 8 - 1), min_size=1, max_size=6, unique=True))
    broken = bytearray(raw)
    for bit in flips:
        broken[bit // 8] ^= 1 << (bit % 8)
    lay(tmp_path / "j", bytes(broken), durable)
    kept = sum(1 for e in ends if e <= min(flips) // 8)
    assert reopen(tmp_path / "j") == [*records[:kept], event(99)]
    assert verify(tmp_path / "j").torn_bytes == 0


@KEEP
@given(data=st.data())
def test_every_flip_in_what_was_durable_is_detected(
    tmp_path: Path, whole: tuple[bytes, list[Record], list[int]], data: st.DataObject
) -> None:
    raw, _, ends = whole
    bit = data.draw(st.integers(0, ends[-1] * 8 - 1))
    broken = bytearray(raw)
    broken[bit // 8] ^= 1 << (bit % 8)
    lay(tmp_path / "j", bytes(broken))
    with pytest.raises(JournalCorrupt):
        verify(tmp_path / "j")
    with pytest.raises(JournalCorrupt):
        Journal(tmp_path / "j", segment_bytes=SMALL)


def test_flip_behind_the_last_record_is_reported_and_cut(
    tmp_path: Path, whole: tuple[bytes, list[Record], list[int]]
) -> None:
    raw, records, ends = whole
    broken = bytearray(raw)
    broken[ends[-1] + 1000] = 1
    lay(tmp_path / "j", bytes(broken))
    assert verify(tmp_path / "j").torn_bytes == 1001
    assert reopen(tmp_path / "j") == [*records, event(99)]


def test_corruption_names_file_offset_and_remedy(
    tmp_path: Path, whole: tuple[bytes, list[Record], list[int]]
) -> None:
    raw, _, ends = whole
    broken = bytearray(raw)
    broken[ends[3] + 50] ^= 4
    lay(tmp_path / "j", bytes(broken))
    with pytest.raises(
        StationFault, match=rf"00000001.journal is damaged at byte {ends[3]}: record 4 .*restore"
    ):
        Journal(tmp_path / "j", segment_bytes=SMALL)


def test_missing_middle_segment_is_an_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    for i in range(800):
        journal.wait_durable(journal.append(event(i)), 10)
    journal.close()
    segment_path(tmp_path, 2).unlink()
    with pytest.raises(JournalCorrupt, match=r"00000002\.journal is missing"):
        verify(tmp_path)


def test_power_cut_at_rollover_loses_only_what_was_never_durable(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    while len(list(tmp_path.glob("*.journal"))) < 2:
        journal.append(event(0))
        journal.wait_durable(journal.appended, 10)
    journal.close()
    first, second = segment_path(tmp_path, 1), segment_path(tmp_path, 2)
    entries = [e for e in read(tmp_path) if e.position.segment == 1]
    # the disk has the first segment's records up to the last but one, and the second one's header only
    end = entries[-2].position.offset
    data = bytearray(first.read_bytes()[:end].ljust(SMALL, b"\0"))
    data[512:524] = pack_durable(end)
    first.write_bytes(data)
    head = bytearray(second.read_bytes()[:HEADER_BYTES].ljust(SMALL, b"\0"))
    head[512:524] = pack_durable(HEADER_BYTES)
    second.write_bytes(head)
    records = reopen(tmp_path)
    assert len(records) == len(entries)  # one lost, one new
    assert verify(tmp_path).segments == 1


# --- full and failing disks


class TightDisk(Disk):
    """A disk that runs full or fails when told to."""

    def __init__(self) -> None:
        self.full = False
        self.write_error = 0
        self.sync_error = 0

    def preallocate(self, path: Path, size_bytes: int) -> int:
        """As Disk; ENOSPC while `full`."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().preallocate(path, size_bytes)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """As Disk; `write_error` is an errno to raise."""
        if self.write_error:
            raise OSError(self.write_error, "broken")
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        """As Disk; `sync_error` is an errno to raise."""
        if self.sync_error:
            raise OSError(self.sync_error, "broken")
        super().sync(fd)


def fill(journal: Journal) -> None:
    """Append until the journal refuses."""
    while True:
        journal.wait_durable(journal.append(event(0)), 10)


def events(folder: Path) -> int:
    """How many filler records there are."""
    return sum(isinstance(e.record, LineEvent) for e in read(folder))


def test_full_disk_stops_records_only_when_the_preallocated_space_is_used(tmp_path: Path) -> None:
    disk = TightDisk()
    disk.full = False
    journal = Journal(tmp_path, segment_bytes=SMALL, disk=disk)
    journal.append(started())
    disk.full = True
    with pytest.raises(JournalFault, match="is full"):
        fill(journal)
    written = events(tmp_path)
    assert written > 100
    assert journal.fault is None  # full is not broken
    closing = 0
    for i in range(5):  # what is in flight can still be closed on record
        journal.append(event(1000 + i), closing=True)
        closing += 1
    disk.full = False
    while journal.spare_error is not None:
        with journal._wake:  # the journal tries again by itself
            journal._wake.wait(0.05)
    journal.append(event(2000))
    journal.close()
    assert events(tmp_path) == written + closing + 1


def test_space_of_the_spare_segment_survives_a_restart_on_a_full_disk(tmp_path: Path) -> None:
    write(tmp_path, started())
    disk = TightDisk()
    disk.full = True
    journal = Journal(tmp_path, segment_bytes=SMALL, disk=disk)
    with pytest.raises(JournalFault, match="is full"):
        fill(journal)
    journal.close()
    assert verify(tmp_path).segments == 2


def test_spare_that_was_given_a_header_before_the_power_went_is_made_anew(tmp_path: Path) -> None:
    write(tmp_path, started())
    spare = tmp_path / "next.spare"
    spare.write_bytes(b"GSJRNL" + bytes(SMALL - 6))
    journal = Journal(tmp_path, segment_bytes=SMALL)
    while len(list(tmp_path.glob("*.journal"))) < 2:
        journal.wait_durable(journal.append(event(0)), 10)
    journal.close()
    assert verify(tmp_path).torn_bytes == 0


def test_failed_write_is_final_until_reopened(tmp_path: Path) -> None:
    disk, told = TightDisk(), []
    journal = Journal(tmp_path, segment_bytes=SMALL, disk=disk, on_fault=told.append)
    journal.append(event(0))
    disk.write_error = errno.EIO
    with pytest.raises(JournalFault):
        journal.append(event(1))
    disk.write_error = 0
    with pytest.raises(JournalFault):
        journal.append(event(2))
    journal.close()
    assert len(told) == 1
    assert reopen(tmp_path) == [event(0), event(99)]


def test_failed_sync_never_reports_durable(tmp_path: Path) -> None:
    disk, durable, faults = TightDisk(), [], []
    journal = Journal(
        tmp_path, segment_bytes=SMALL, disk=disk, on_durable=durable.append, on_fault=faults.append
    )
    disk.sync_error = errno.EIO
    index = journal.append(event(0))
    assert not journal.wait_durable(index, 10)
    disk.sync_error = 0
    assert not journal.wait_durable(index, 0.01)
    assert durable == []
    assert len(faults) == 1
    with pytest.raises(JournalFault):
        journal.append(Stopped(epoch=1, utc_ns=0))
    journal.close()


def test_no_room_for_the_first_segment_is_one_sentence(tmp_path: Path) -> None:
    disk = TightDisk()
    disk.full = True
    with pytest.raises(StationFault, match="free space"):
        Journal(tmp_path, segment_bytes=SMALL, disk=disk)


def test_file_size_limit_of_the_kernel_is_a_fault_and_no_loss(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes posix_fallocate fail in a real kernel, without root and without patches."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from inspection.journal import Journal, JournalFault\n"
        "from inspection.journal_records import LineEvent\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"j = Journal(Path(sys.argv[1]), segment_bytes={SMALL})\n"
        "while j._spare is None: j.wait_durable(j.append(LineEvent(epoch=1, kind='a', text='', utc_ns=0)), 9)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "n = 0\n"
        "try:\n"
        "    while n < 10000: n = j.append(LineEvent(epoch=1, kind='k', text='x' * 50, utc_ns=0))\n"
        "except JournalFault as e: print(j.appended, e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert "cannot be written" in done.stdout, done.stderr
    journal = Journal(tmp_path, segment_bytes=SMALL)
    assert journal.recovered.next_index == int(done.stdout.split()[0]) + 1
    journal.close()


class _Fails(Disk):
    """A disk on which the n-th call of one kind fails, as when it runs full or loses its cable."""

    def __init__(self, call: str, at: int) -> None:
        self._call, self._left = call, at

    def _count(self, call: str) -> None:
        if call != self._call:
            return
        self._left -= 1
        if self._left == 0:
            raise OSError(errno.EIO, "Input/output error")

    def preallocate(self, path: Path, size_bytes: int) -> int:
        self._count("preallocate")
        return super().preallocate(path, size_bytes)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self._count("write")
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self._count("sync")
        super().sync(fd)


def _open_files(folder: Path) -> list[str]:
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(fd.readlink()))
        except OSError:
            continue
    return [link for link in links if link.startswith(str(folder))]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(("call", "at"), [("write", 1), ("sync", 1), ("sync", 2)])
def test_an_opening_that_fails_keeps_no_descriptor_and_can_be_tried_again(
    tmp_path: Path, existing: bool, call: str, at: int
) -> None:
    folder = tmp_path / "j"
    if existing:
        write(folder, started(), event(1))
    with pytest.raises(StationFault, match="cannot get"):
        Journal(folder, segment_bytes=SMALL, disk=_Fails(call, at))
    assert _open_files(folder) == []
    write(folder, started(), event(2))
    verify(folder)


def test_a_last_sync_that_fails_still_lets_go_of_the_folder(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", segment_bytes=SMALL, disk=_Fails("sync", 3))
    journal.close()  # nothing was appended: the third sync is that of the mark
    assert _open_files(tmp_path / "j") == []
    write(tmp_path / "j", started())
