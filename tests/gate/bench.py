# SPDX-License-Identifier: AGPL-3.0-or-later
"""A gate on a clock and a disk of the test's own; the test hands it what the others would say."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

from inspection.board import Board, GateCounter, ProcessState
from inspection.gate_effects import GateSettings
from inspection.gate_loop import Gate
from inspection.gate_watch import DeviceWatch
from inspection.gates.registers import (
    VERDICT_RING_AT,
    Control,
    Holding,
    RegisterImage,
)
from inspection.journal import Disk, Journal, read
from inspection.journal_records import VerdictRecord
from inspection.link import Link, link_pair
from inspection.messages import PartJudged, PartTriggered, ViewSeen
from inspection.tracker import Tracker, TrackerSettings
from inspection.types import (
    Epoch,
    Outcome,
    PartRef,
    Reason,
    Verdict,
)
from inspection.window import PairWindow

MS = 1_000_000
EPOCH = 4711
RECIPE_SHA256 = "a" * 64


class HeldDisk(Disk):
    """A disk whose syncs wait for the test, and whose writes fail when told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.writes_left = 1 << 30
        self.full = False

    def preallocate(self, path: Path, size_bytes: int) -> int:
        """As Disk; ENOSPC while `full`."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().preallocate(path, size_bytes)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """As Disk; EIO once `writes_left` is used up."""
        if threading.current_thread().name != "journal-sync":
            self.writes_left -= 1
            if self.writes_left < 0:
                raise OSError(errno.EIO, "broken")
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        """As Disk; waits until the test lets go."""
        self.go.wait()
        super().sync(fd)


class Bench:
    """One gate, armed on demand; the test moves the clock and hands it what the others would say."""

    def __init__(self, folder: Path, fired: frozenset[int] = frozenset()) -> None:
        self.folder = folder
        self.held_ns = 0  # how long what the PLC writes lay in its socket
        self.now_ns = 10**12
        self.disk = HeldDisk()
        self.journal = Journal(folder / "journal", segment_bytes=64 * 1024, disk=self.disk)
        self.board = Board.create(folder / "board", ["gate", "inspector", "camera:a"])
        for role in self.board.names:
            self.board.row(role).claim(ProcessState.READY)
        self.image = RegisterImage(epoch=EPOCH)
        self._ends = link_pair()
        self.link = Link(self._ends[1])
        self.clock_steps: list[int] = []  # what the clock gains at its next readings
        settings = TrackerSettings(
            views=1,
            deadline_ns=100 * MS,
            poll_ns=0,
            min_pitch_pulses=100,
            window=PairWindow(kind="encoder", pulses=50, time_ns=5 * MS),
            fired=fired,
            fire_limit_ns=50 * MS,
        )
        tracker = Tracker(
            epoch=Epoch(EPOCH), settings=settings, recipe_sha256=RECIPE_SHA256, bundle_sha256="b" * 64
        )
        self.gate = Gate(
            settings=GateSettings(
                epoch=EPOCH,
                recipe_id=1,
                recipe_crc=2,
                recipe_sha256=RECIPE_SHA256,
                max_in_flight=15,
                min_pitch_pulses=100,
            ),
            tracker=tracker,
            image=self.image,
            journal=self.journal,
            link=Link(self._ends[0]),
            row=self.board.row("gate"),
            devices=DeviceWatch({role: self.board.row(role) for role in ("inspector", "camera:a")}),
            schedule=lambda _at_ns: None,
            clock=self.clock,
        )
        self.let(0)

    def clock(self) -> int:
        """Monotonic time of the bench."""
        if self.clock_steps:
            self.now_ns += self.clock_steps.pop(0)
        return self.now_ns

    def let(self, ms: int) -> None:
        """Time goes by in turns of 25 ms, everybody alive."""
        end_ns = self.now_ns + ms * MS
        while True:
            for role in ("inspector", "camera:a"):
                self.board.row(role).beat(self.now_ns)
            self.write(Holding.PLC_HEARTBEAT, self.image.holding()[0] + 1)
            self.gate.watch()
            if self.now_ns >= end_ns:
                return
            self.now_ns = min(end_ns, self.now_ns + 25 * MS)

    def write(self, address: int, *words: int) -> None:
        """The PLC writes."""
        self.image.write_holding(address, words)
        self.gate.plc_wrote(1, since_ns=self.now_ns - self.held_ns)

    def arm(self) -> None:
        """Up to continuous execution."""
        self.let(25)
        self.write(Holding.CONTROL, 0, EPOCH)
        self.write(Holding.CONTROL, Control.ARM, EPOCH)
        assert self.gate.machine.executing

    def trigger(self, seq: int, encoder: int) -> PartRef:
        """A trigger of the PLC; the part that the inspector is told of."""
        self.image.write_holding(
            Holding.TRIGGER_RING + 4 * (seq % 8), [seq, encoder >> 16, encoder & 0xFFFF, 0]
        )
        self.write(Holding.NEWEST_TRIGGER_SEQ, seq)
        while True:
            message = self.link.receive()
            assert message is not None, "the inspector was told nothing"
            if isinstance(message, PartTriggered) and message.part.seq == seq:
                return message.part

    def judge(self, part: PartRef, outcome: Outcome, **picture: Any) -> None:
        """The inspector's verdict, delivered; it rests on a picture taken where and when the part was."""
        taken = {"encoder_pulses": part.encoder_pulses, "exposure_ns": part.trigger_ns, **picture}
        view = ViewSeen(camera=0, frame_id=1, ready_ns=0, **taken)
        self.link.send(
            PartJudged(
                ordinal=part.ordinal,
                epoch=part.epoch,
                seq=part.seq,
                verdict=Verdict(outcome=outcome, reasons=(Reason.NONE,)),
                views=(view,),
                recipe_sha256=RECIPE_SHA256,
                bundle_sha256="b" * 64,
                ready_ns=self.now_ns,
                judged_ns=self.now_ns,
            )
        )
        self.gate.inspector_said()

    def disk_catches_up(self) -> None:
        """All that was appended is on disk, and the gate hears of it."""
        assert self.journal.wait_durable(self.journal.appended, 30)
        self.gate.on_disk(self.journal.durable)

    def outcome(self, seq: int) -> Outcome | None:
        """What the registers say of one part."""
        words = [self.image.read(VERDICT_RING_AT + 4 * (seq % 16) + i) for i in range(3)]
        return Outcome(words[2]) if words[:2] == [seq, EPOCH] else None

    def last_verdict(self, seq: int) -> VerdictRecord:
        """The record that counts."""
        records = [e.record for e in read(self.folder / "journal")]
        return [r for r in records if isinstance(r, VerdictRecord) and r.seq == seq][-1]

    def reconciles(self) -> bool:
        """The board's sum."""
        row = self.board.row("gate")
        ended = row.get(GateCounter.PASS) + row.get(GateCounter.REJECT) + row.get(GateCounter.NOT_INSPECTED)
        return row.get(GateCounter.TRIGGERS) == ended + row.get(GateCounter.IN_FLIGHT)

    def close(self) -> None:
        """Give everything back."""
        self.disk.go.set()
        self.gate.journal.close()
        self.board.close()
        for end in self._ends:
            end.close()
