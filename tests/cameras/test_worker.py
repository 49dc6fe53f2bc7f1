# SPDX-License-Identifier: AGPL-3.0-or-later
"""The camera worker as a process: frames into the ring, faults named, loss noticed, books closed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cameras.worker import EXIT_LOST
from inspection.board import CameraCounter, ProcessState
from inspection.child import EXIT_FAULT
from inspection.messages import SlotsLeft
from inspection.types import Reason
from tests.cameras.harness import WorkerLine, wait_until

# free-running cameras drop pictures when they are starved of processor time: not beside other tests
pytestmark = pytest.mark.serial


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerLine]:
    """One running worker for the tests that leave it running, with a free ring."""
    with WorkerLine(tmp_path_factory.mktemp("line")) as line:
        line.start()
        line.wait_ready()
        yield line


@pytest.fixture
def line(tmp_path: Path) -> Iterator[WorkerLine]:
    with WorkerLine(tmp_path) as line:
        line.start()
        line.wait_ready()
        yield line


def test_frame_comes_with_its_pixels_encoder_and_exposure_instant(shared: WorkerLine) -> None:
    before_ns = time.monotonic_ns()
    shared.push(77, 4_294_967_296 + 5)
    frame = shared.next_frame().frame
    assert frame.encoder_pulses == 5  # 32 bits
    assert before_ns <= frame.exposure_ns <= frame.ready_ns <= time.monotonic_ns()
    assert frame.stamped
    assert (frame.width_px, frame.height_px) == (64, 48)
    assert (shared.ring.lease(frame.slot, frame.generation) == 77).all()
    shared.ring.free(frame.slot, frame.generation)


def test_frame_is_lost_and_counted_when_the_ring_is_full(shared: WorkerLine) -> None:
    leases = []
    for i in range(4):
        shared.push(i, i)
        leases.append(shared.next_frame().frame)
    shared.push(9, 99)
    fault = shared.next_fault()
    assert (fault.reason, fault.encoder_pulses) == (Reason.FRAME_LOST, 99)
    assert fault.frame_id == leases[-1].frame_id + 1
    for i, frame in enumerate(leases):  # what lies in the ring was not overwritten
        assert (shared.ring.lease(frame.slot, frame.generation) == i).all()
        shared.ring.free(frame.slot, frame.generation)
    shared.push(10, 100)
    assert shared.next_frame().frame.encoder_pulses == 100
    wait_until(lambda: shared.count(CameraCounter.RING_FULL) == 1)


def test_incomplete_frame_is_a_named_fault(shared: WorkerLine) -> None:
    shared.push(1, 10, incomplete=True)
    assert shared.next_fault().reason == Reason.FRAME_INCOMPLETE


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


def test_board_beats_while_no_frames_come(shared: WorkerLine) -> None:
    beats = set()
    wait_until(lambda: beats.add(shared.row.heartbeat_ns) is None and len(beats) > 10, 5.0)


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
    left = (
        line.next_message()
    )  # the new worker says what it found, so that a slot nobody was told of comes back
    assert isinstance(left, SlotsLeft)
    assert left.slots == ((frame.slot, frame.generation),)
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


def test_second_station_is_told_that_the_camera_is_busy(shared: WorkerLine, tmp_path: Path) -> None:
    with WorkerLine(tmp_path, cameras_of=shared) as second:
        second.start()
        assert second.process is not None
        assert second.process.wait(30.0) == EXIT_FAULT
        assert second.error().strip().splitlines()[-1].startswith("Camera LS0001 is in use by another program")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"serial": "LS0009"}, "Camera LS0009 was not found: linesim.cti offers LS0001"),
        ({"settings": '[["ExposureTine", 100]]'}, "no setting ExposureTine; the closest it has: ExposureTime"),
        ({"producer": "nothing.cti"}, "There is no GenTL producer"),
        ({"producer": "station.toml"}, "is not a GenTL producer"),
    ],
)
def test_wrong_configuration_is_one_sentence_and_exit_3(
    tmp_path: Path, wrong: dict[str, str], words: str
) -> None:
    with WorkerLine(tmp_path, **wrong) as line:  # type: ignore[arg-type]
        line.start()
        assert line.process is not None
        assert line.process.wait(20.0) == EXIT_FAULT
        sentence = line.error().strip().splitlines()[-1]
        assert words in sentence
        assert line.row.state == ProcessState.FAULT
        assert line.row.text == sentence[: len(line.row.text)]


def test_camera_without_a_clock_is_never_ready_where_pictures_pair_by_time(tmp_path: Path) -> None:
    stranger = {"producer": "viky", "serial": "1", "width": 400, "height": 400, "settings": "[]"}
    with WorkerLine(tmp_path, trigger="free", line='pairing = "timestamp"', **stranger) as line:  # type: ignore[arg-type]
        line.start()
        assert line.process is not None
        assert line.process.wait(30.0) == EXIT_FAULT
        assert "no clock that maps to ours" in line.error()
        assert line.row.state is not ProcessState.READY


def test_picture_of_a_camera_without_a_clock_says_so(tmp_path: Path) -> None:
    stranger = {"producer": "viky", "serial": "1", "width": 400, "height": 400, "settings": "[]"}
    with WorkerLine(tmp_path, trigger="free", **stranger) as line:  # type: ignore[arg-type]
        line.start()
        line.wait_ready()
        assert line.next_frame().frame.stamped is False
