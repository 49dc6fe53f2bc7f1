# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector gives copies away only when it has time and room, and never loses a slot over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cameras.pfnc import code_of
from cameras.ring import Ring, SlotOwner, SlotState
from inspection.board import Board, ShadowCounter
from inspection.judging import Judged
from inspection.link import Link, link_pair
from inspection.messages import ShadowPart
from inspection.shadow_feed import SHADOW_SLOTS, ShadowFeed
from inspection.slots import CameraSlots
from inspection.types import Epoch, FrameRef, Ordinal, Outcome, PartRef, Reason, Seq, Verdict

SIZE = 16
HASH = "a" * 64


class Rig:
    """Two cameras' rings, the shadow's beside them, and both ends of the link."""

    def __init__(self, folder: Path) -> None:
        self.board = Board.create(folder / "board", ["shadow"])
        self.board.row("shadow").set(ShadowCounter.WANTS, 1)
        self.rings = [Ring.create(folder / f"ring{i}", 6, SIZE * SIZE) for i in range(2)]
        self.copies = [Ring.create(folder / f"shadow{i}", SHADOW_SLOTS, SIZE * SIZE) for i in range(2)]
        table = SimpleNamespace(
            pixel_format="Mono8",
            width_px=SIZE,
            height_px=SIZE,
            view=(0, 0, SIZE, SIZE),
            strip_px=None,
            serial="x",
        )
        self._cameras = [CameraSlots(i, table, Ring.attach(ring.path)) for i, ring in enumerate(self.rings)]  # type: ignore[arg-type]
        self._ends = link_pair()
        self.shadow = Link(self._ends[1])
        self._link = Link(self._ends[0])
        self.feed = ShadowFeed(
            cameras=self._cameras,
            rings=[Ring.attach(ring.path) for ring in self.copies],
            link=self._link,
            shadow=self.board.row("shadow"),
        )

    def judged(self, ordinal: int, outcome: Outcome = Outcome.PASS) -> Judged:
        frames = []
        for camera, ring in enumerate(self.rings):
            slot = ring.acquire()
            assert slot is not None
            ring.pixels(slot)[:] = ordinal
            frames.append(
                FrameRef(
                    camera=camera,
                    slot=slot,
                    generation=ring.publish(slot),
                    frame_id=ordinal,
                    encoder_pulses=1,
                    exposure_ns=1,
                    ready_ns=1,
                    width_px=SIZE,
                    height_px=SIZE,
                    pixel_format=code_of("Mono8"),
                )
            )
        part = PartRef(
            ordinal=Ordinal(ordinal),
            epoch=Epoch(1),
            seq=Seq(ordinal),
            encoder_pulses=1,
            trigger_ns=1,
            deadline_ns=2,
        )
        return Judged(part=part, verdict=Verdict(outcome=outcome, reasons=(Reason.NONE,)), frames=tuple(frames))

    def free(self, judged: Judged) -> None:
        for frame in judged.frames:
            self.rings[frame.camera].free(frame.slot, frame.generation)

    def held(self) -> int:
        return sum(ring.state(s) is not SlotState.FREE for ring in self.copies for s in range(ring.slots))

    def close(self) -> None:
        self.feed.close()
        for camera in self._cameras:
            camera.close()
        for ring in (*self.rings, *self.copies):
            ring.close()
        self.shadow.close()
        self._link.close()
        self.board.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_the_shadow_gets_a_copy_of_every_view_and_what_was_said_of_it(rig: Rig) -> None:
    judged = rig.judged(3)
    rig.feed.offer(judged, HASH, busy=False)
    rig.free(judged)
    rig.rings[0].pixels(judged.frames[0].slot)[:] = 99  # the next picture is there already
    part = rig.shadow.receive()
    assert isinstance(part, ShadowPart)
    assert (part.ordinal, part.bundle_sha256, part.verdict.outcome) == (3, HASH, Outcome.PASS)
    for frame in part.frames:
        assert (rig.copies[frame.camera].lease(frame.slot, frame.generation) == 3).all()


def test_a_busy_inspector_gives_nothing_away(rig: Rig) -> None:
    rig.feed.offer(rig.judged(1), HASH, busy=True)
    assert (rig.feed.sent, rig.feed.dropped, rig.held()) == (0, 1, 0)
    assert rig.shadow.receive() is None


def test_a_part_that_was_not_inspected_is_nothing_to_compare(rig: Rig) -> None:
    rig.feed.offer(rig.judged(1, Outcome.NOT_INSPECTED), HASH, busy=False)
    assert (rig.feed.sent, rig.feed.dropped, rig.held()) == (0, 0, 0)


def test_a_shadow_that_hangs_costs_its_own_slots_and_no_others(rig: Rig) -> None:
    for ordinal in range(1, 30):
        judged = rig.judged(ordinal)
        rig.feed.offer(judged, HASH, busy=False)
        rig.free(judged)
    assert rig.feed.sent == SHADOW_SLOTS
    assert rig.feed.dropped == 29 - SHADOW_SLOTS
    for ring in rig.copies:
        ring.reclaim(SlotOwner.INSPECTOR)  # as the supervisor does when it died
    assert rig.held() == 0
    rig.feed.offer(rig.judged(50), HASH, busy=False)
    assert rig.feed.sent == SHADOW_SLOTS + 1


def test_where_one_view_finds_no_room_no_view_is_given(rig: Rig) -> None:
    while rig.copies[1].acquire() is not None:
        pass
    rig.feed.offer(rig.judged(1), HASH, busy=False)
    assert rig.shadow.receive() is None
    assert all(rig.copies[0].state(slot) is SlotState.FREE for slot in range(SHADOW_SLOTS))


def test_a_picture_that_was_taken_away_meanwhile_is_not_given(rig: Rig) -> None:
    judged = rig.judged(1)
    rig.free(judged)
    rig.feed.offer(judged, HASH, busy=False)
    assert (rig.feed.sent, rig.held()) == (0, 0)
