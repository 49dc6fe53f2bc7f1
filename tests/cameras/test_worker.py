# SPDX-License-Identifier: AGPL-3.0-or-later
"""The camera worker as a process: frames into the ring, faults named, loss noticed, books closed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cameras.worker import EXIT_FAULT, EXIT_LOST
from inspection.board import CameraCounter, ProcessState
from inspection.types import Reason
from tests.cameras.harness import WorkerLine, wait_until


@pytest.fixture
def line(tmp_path: Path) -> Iterator[WorkerLine]:
    with WorkerLine(tmp_path) as line:
        line.start()
        line.wait_ready()
        yield line


def test_frame_comes_with_its_pixels_encoder_and_exposure_instant(line: WorkerLine) -> None:
    before_ns = time.monotonic_ns()
    line.push(77, 4_294_967_296 + 5)
    frame = line.next_frame().frame
    assert frame.encoder_pulses == 5  # 32 bits
    assert before_ns <= frame.exposure_ns <= frame.ready_ns <= time.monotonic_ns()
    assert (frame.width_px, frame.height_px, frame.frame_id) == (64, 48, 1)
    assert (line.ring.lease(frame.slot, frame.generation) == 77).all()
    line.ring.free(frame.slot, frame.generation)


def test_frame_is_lost_and_counted_when_the_ring_is_full(line: WorkerLine) -> None:
    leases = []
    for i in range(4):
        line.push(i, i)
        leases.append(line.next_frame().frame)
    line.push(9, 99)
    fault = line.next_fault()
    assert (fault.reason, fault.encoder_pulses, fault.frame_id) == (Reason.FRAME_LOST, 99, 5)
    for i, frame in enumerate(leases):  # what lies in the ring was not overwritten
        assert (line.ring.lease(frame.slot, frame.generation) == i).all()
        line.ring.free(frame.slot, frame.generation)
    line.push(10, 100)
    assert line.next_frame().frame.encoder_pulses == 100
    wait_until(lambda: line.count(CameraCounter.RING_FULL) == 1)


def test_incomplete_frame_is_a_named_fault(line: WorkerLine) -> None:
    line.push(1, 10, incomplete=True)
    assert line.next_fault().reason == Reason.FRAME_INCOMPLETE


def test_books_close_over_every_kind_of_loss(line: WorkerLine) -> None:
    flags = {
        3: "drop",
        4: "drop",
        6: "incomplete",
        11: "drop",
    }  # the last one leaves no later id to show its hole
    for i in range(12):
        line.push(i, i, **({flags[i]: True} if i in flags else {}))
        if i not in flags:
            frame = line.next_frame().frame
            line.ring.free(frame.slot, frame.generation)
        elif flags[i] == "incomplete":
            line.next_fault()
    wait_until(lambda: line.feed is not None and line.feed.edges_accepted == 12)
    assert line.stop() == 0
    terms = {c.name: line.count(c) for c in CameraCounter if c <= CameraCounter.UNEXPLAINED_ID_GAP}
    assert terms == {
        "TRIGGERS": 12,
        "DELIVERED": 8,
        "RING_FULL": 0,
        "INCOMPLETE": 1,
        "UNDERRUN": 0,
        "MISSED": 0,
        "UNEXPLAINED_ID_GAP": 3,
    }


def test_board_beats_while_no_frames_come(line: WorkerLine) -> None:
    beats = set()
    wait_until(lambda: beats.add(line.row.heartbeat_ns) is None and len(beats) > 10, 5.0)


def test_lost_camera_is_said_and_the_worker_leaves_for_its_supervisor(line: WorkerLine) -> None:
    assert line.feed is not None
    assert line.process is not None
    line.feed.device_lost()
    lost_ns = time.monotonic_ns()
    assert line.process.wait(5.0) == EXIT_LOST
    assert time.monotonic_ns() - lost_ns < 2_000_000_000  # 200 ms on a quiet machine: see benchmarks
    assert line.row.state == ProcessState.FAULT
    assert line.row.text.startswith("Camera LS0001 is gone")
    line.start()  # it waits for the plug, and takes the camera as soon as it is back
    wait_until(lambda: line.row.incarnation == 2 and "LS0001" in line.row.text)
    line.feed.device_back()
    line.wait_ready()
    line.push(5, 50)
    assert line.next_frame().frame.encoder_pulses == 50
    assert line.count(CameraCounter.RECONNECTS) == 1


def test_killed_worker_leaves_no_slot_behind(line: WorkerLine) -> None:
    assert line.process is not None
    line.push(1, 1)
    frame = line.next_frame().frame
    line.process.kill()
    line.process.wait()
    assert (line.ring.lease(frame.slot, frame.generation) == 1).all()  # what was handed over stays ours
    line.start()
    line.wait_ready()
    line.push(2, 2)
    assert line.next_frame().frame.slot != frame.slot


def test_frozen_picture_is_named_at_the_second_frame(tmp_path: Path) -> None:
    with WorkerLine(tmp_path, health={"min_mean": 20, "frozen": True}) as line:
        line.start()
        line.wait_ready()
        seen = []
        for grey in (50, 51, 51, 10):
            line.push(grey, 1)
            frame = line.next_frame().frame
            seen.append(frame.unhealthy)
            line.ring.free(frame.slot, frame.generation)
        assert seen == [(), (), ("frozen",), ("dark",)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"serial": "LS0009"}, "Camera LS0009 was not found: linesim.cti offers LS0001"),
        ({"settings": '[["ExposureTine", 100]]'}, "no setting ExposureTine; the closest it has: ExposureTime"),
        ({"settings": '[["Gain", 99.0]]'}, "Camera LS0001 refused Gain = 99.0"),
        ({"settings": '[["TestPattern", "Sky"]]'}, "TestPattern takes one of its entries (Off,"),
        ({"producer": "nothing.cti"}, "There is no GenTL producer"),
        ({"producer": "station.toml"}, "is not a GenTL producer"),
    ],
)
def test_wrong_configuration_is_one_sentence_and_exit_3(
    tmp_path: Path, wrong: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkerLine(tmp_path, **wrong) as line:  # type: ignore[arg-type]
        line.start()
        assert line.process is not None
        assert line.process.wait(20.0) == EXIT_FAULT
        sentence = line.error().strip().splitlines()[-1]
        assert words in sentence
        assert line.row.state == ProcessState.FAULT
        assert line.row.text == sentence[: len(line.row.text)]
