# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker with trigger = "software" on the simulated camera: it fires, and knows what it photographed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cameras.firing import UNMATCHED
from cameras.worker import EXIT_LOST
from inspection.board import CameraCounter
from inspection.child import EXIT_FAULT
from inspection.messages import FireTrigger, FrameReady, Message
from inspection.types import FrameRef, Reason
from tests.cameras.harness import WorkerLine, wait_until

# what a camera misses depends on when it is told: not beside other tests
pytestmark = pytest.mark.serial

S = 1_000_000_000


@pytest.fixture
def line(tmp_path: Path) -> Iterator[WorkerLine]:
    with WorkerLine(tmp_path, trigger="software") as line:
        line.start()
        line.wait_ready()
        yield line


def order(line: WorkerLine, encoder: int, *, limit_ns: int = 2 * S) -> FireTrigger:
    now_ns = time.monotonic_ns()
    fire = FireTrigger(ordinal=1, encoder_pulses=encoder, at_ns=now_ns, until_ns=now_ns + limit_ns)
    assert line.link.send(fire)
    return fire


def after_probe(line: WorkerLine) -> Message:
    """Next message that is not the picture of a probe."""
    while True:
        message = line.next_message()
        if isinstance(message, FrameReady) and UNMATCHED in message.frame.unhealthy:
            assert message.frame.encoder_pulses is None
            line.ring.free(message.frame.slot, message.frame.generation)
            continue
        return message


def shot(line: WorkerLine) -> FrameRef:
    message = after_probe(line)
    assert isinstance(message, FrameReady), message
    line.ring.free(message.frame.slot, message.frame.generation)
    return message.frame


def test_ordered_picture_comes_with_its_parts_encoder_count(line: WorkerLine) -> None:
    for number in range(1, 6):
        line.push(20 * number, 1000 * number + 9)  # what the camera sees, and latches itself a little later
        fire = order(line, 1000 * number)
        frame = shot(line)
        assert frame.encoder_pulses == 1000 * number
        assert frame.unhealthy == ()
        assert fire.at_ns <= frame.exposure_ns < fire.until_ns
        assert (line.ring.pixels(frame.slot)[: 64 * 48] == 20 * number).all()


def test_nothing_is_photographed_without_an_order_and_the_books_close(line: WorkerLine) -> None:
    for number in range(1, 4):
        line.push(number, 1000)
        order(line, 1000)
        shot(line)
    assert line.stop() == 0
    assert line.count(CameraCounter.TRIGGERS) == 4 == line.count(CameraCounter.DELIVERED)  # with the probe
    assert line.count(CameraCounter.MISSED) == line.count(CameraCounter.UNEXPLAINED_ID_GAP) == 0


def test_late_order_is_refused_and_nothing_is_fired(line: WorkerLine) -> None:
    order(line, 7000, limit_ns=-1)
    fault = after_probe(line)
    assert (fault.reason, fault.encoder_pulses) == (Reason.FRAME_MISSING, 7000)  # type: ignore[union-attr]
    assert line.stop() == 0
    assert line.count(CameraCounter.TRIGGERS) == 1


def test_picture_of_another_place_is_refused(line: WorkerLine) -> None:
    line.push(5, 9000)
    order(line, 1000)  # the camera's own encoder says 9000
    fault = after_probe(line)
    assert (fault.reason, fault.encoder_pulses) == (Reason.PAIRING_MISMATCH, 1000)  # type: ignore[union-attr]


def test_picture_lost_on_the_way_costs_its_part_and_the_next_one_is_paired(line: WorkerLine) -> None:
    line.push(5, 1000)
    assert line.feed is not None
    line.feed.drop_next(1)
    order(line, 1000)
    order(line, 1001)
    fault = after_probe(line)
    assert (fault.reason, fault.encoder_pulses) == (Reason.FRAME_MISSING, 1000)  # type: ignore[union-attr]
    assert shot(line).encoder_pulses == 1001


def test_camera_that_misses_a_trigger_loses_parts_and_mispairs_none(tmp_path: Path) -> None:
    busy = '[["ExposureTime", 60000], ["SimReadoutTime", 0]]'
    with WorkerLine(tmp_path, trigger="software", settings=busy) as line:
        line.start()
        line.wait_ready()
        line.push(5, 1000)
        order(line, 1000)
        time.sleep(0.01)  # no two parts come within the slack that the clocks are given
        order(line, 1001)  # the camera is still exposing: no picture, and no frame id
        assert shot(line).encoder_pulses == 1000
        order(line, 1002)  # its picture bears the id that 1001 was to have
        lost = [after_probe(line), after_probe(line)]
        assert {fault.encoder_pulses for fault in lost} == {1001, 1002}  # type: ignore[union-attr]

        def recovered() -> bool:
            order(line, 1003)
            message = after_probe(line)
            return isinstance(message, FrameReady) and message.frame.encoder_pulses == 1003

        wait_until(recovered)
        assert line.stop() == 0
        assert line.count(CameraCounter.MISSED) >= 1
        terms = ("DELIVERED", "RING_FULL", "INCOMPLETE", "UNDERRUN", "MISSED", "UNEXPLAINED_ID_GAP")
        assert line.count(CameraCounter.TRIGGERS) == sum(line.count(CameraCounter[name]) for name in terms)


def test_camera_that_takes_no_picture_is_never_ready(tmp_path: Path) -> None:
    deaf = '[["TriggerSource", "Line0"]]'  # it listens to its line, whatever we say
    with WorkerLine(tmp_path, trigger="software", settings=deaf) as line:
        line.start()
        assert line.process is not None
        assert line.process.wait(30.0) in {EXIT_LOST, EXIT_FAULT}
        assert "takes no picture within 250 ms of its software trigger" in line.error()
