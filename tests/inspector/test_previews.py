# SPDX-License-Identifier: AGPL-3.0-or-later
"""People see the line although most passed parts are not kept: a few pictures a second go to be shown only."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from inspection.board import InspectorCounter
from inspection.judging import Release
from inspection.link import Link, link_pair
from inspection.messages import ImageHandOver
from inspection.slots import Keeper
from inspection.types import Epoch, FrameRef, Ordinal, Outcome, PartRef, Seq, Verdict
from tests.inspector.line_stub import inspector_line, write_station

_MS = 1_000_000


class FakeSlots:
    """Stands for one camera's ring: notes which slots come back."""

    def __init__(self) -> None:
        self.freed: list[int] = []
        self.ring = self

    def free(self, frame: FrameRef) -> None:
        self.freed.append(frame.frame_id)

    def recorder_is_busy(self) -> bool:
        return False

    def hand_over(self, slot: int, generation: int) -> None:
        """The recorder's now."""


def _release(number: int, ready_ms: int, outcome: Outcome = Outcome.PASS) -> Release:
    frame = FrameRef(
        camera=0,
        slot=number % 8,
        generation=number,
        frame_id=number,
        encoder_pulses=number,
        exposure_ns=0,
        ready_ns=ready_ms * _MS,
        width_px=8,
        height_px=8,
        pixel_format=0,
    )
    part = PartRef(
        ordinal=Ordinal(number),
        epoch=Epoch(7),
        seq=Seq(number),
        encoder_pulses=number,
        trigger_ns=0,
        deadline_ns=1,
    )
    return Release(frame=frame, part=part, verdict=Verdict(outcome=outcome, reasons=()))


def test_a_picture_is_shown_every_fifth_of_a_second_and_the_others_come_back() -> None:
    ours, theirs = link_pair()
    sender, recorder = Link.from_fd(ours.detach()), Link.from_fd(theirs.detach())
    slots = FakeSlots()
    keeper = Keeper([slots], sender, 0.0)  # type: ignore[list-item]
    for number in range(1, 42):
        keeper.release(_release(number, 1000 + 20 * (number - 1)))
    shown: list[ImageHandOver] = []
    while isinstance(message := recorder.receive(), ImageHandOver):
        shown.append(message)
    assert [m.ordinal for m in shown] == [11, 21, 31, 41]
    assert not any(m.keep for m in shown)
    assert len(slots.freed) == 41 - 4
    assert (keeper.handed, keeper.shed) == (0, 0)
    keeper.release(_release(50, 1810, Outcome.REJECT))
    kept = recorder.receive()
    assert isinstance(kept, ImageHandOver)
    assert kept.keep
    sender.close()
    recorder.close()


def test_passed_parts_are_shown_by_the_process_too(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        until = time.monotonic() + 30  # one every 200 ms is shown: how many parts that takes depends
        ordinal = 0
        while time.monotonic() < until:
            ordinal += 1
            line.trigger(ordinal)
            line.expose_all(ordinal)
            assert line.judged().verdict.outcome is Outcome.PASS
            message = line.links["recorder"].receive()
            if isinstance(message, ImageHandOver):
                break
        else:
            raise AssertionError("no picture was shown")
        assert not message.keep
        pixels = line.rings[message.frame.camera].lease(message.frame.slot, message.frame.generation)
        assert np.count_nonzero(pixels)
        line.rings[message.frame.camera].free(message.frame.slot, message.frame.generation)
        line.wait_slots_free()
        assert line.row.get(InspectorCounter.IMAGES_HANDED) == 0
