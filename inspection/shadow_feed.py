# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector's end of the shadow: copies of pictures that were judged, given away only when nothing waits.

The shadow has slots of its own, few of them, so that it can hold up nobody: a picture is copied when every view
finds a free one at once, after its verdict went to the gate, and while no other view waits for the engine. Else
it is dropped and counted. A shadow that hangs keeps its slots and gets no more; one that dies has them taken
back by the supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from cameras.ring import Ring, StaleLease
from inspection.board import InspectorCounter, Row, ShadowCounter
from inspection.judging import Judged
from inspection.link import Link
from inspection.messages import ShadowPart
from inspection.slots import CameraSlots
from inspection.types import FrameRef, Outcome

SHADOW_SLOTS = 4
"""A camera. What waits for the shadow is at most so many parts old."""
_WORTH_NS = 2_000_000  # of copying a part, at most: larger pictures are shadowed less often
_LONGEST_PAUSE_NS = 2_000_000_000


class ShadowFeed:
    """Copies judged parts for the shadow. One call a part; nothing here waits."""

    def __init__(
        self, *, cameras: Sequence[CameraSlots], rings: Sequence[Ring], link: Link, shadow: Row
    ) -> None:
        """`rings`: the shadow's, one a camera; `shadow`: its row, which says whether it wants any."""
        self.sent = 0
        self.dropped = 0
        self._cameras = cameras
        self._rings = rings
        self._link = link
        self._shadow = shadow
        self._pause_until_ns = 0

    @property
    def wanted(self) -> bool:
        """Whether a candidate is there to judge."""
        return bool(self._shadow.get(ShadowCounter.WANTS))

    def show(self, row: Row) -> None:
        """Copy the counters to the inspector's row."""
        row.set(InspectorCounter.SHADOW_SENT, self.sent)
        row.set(InspectorCounter.SHADOW_DROPPED, self.dropped)

    def offer(self, judged: Judged, bundle_sha256: str, *, busy: bool) -> None:
        """Give the part away if there is time; its frames are still ours to read."""
        if judged.verdict.outcome is Outcome.NOT_INSPECTED:
            return
        started_ns = time.monotonic_ns()
        if busy or started_ns < self._pause_until_ns or not self._give(judged, bundle_sha256):
            self.dropped += 1
            return
        self.sent += 1
        took_ns = time.monotonic_ns() - started_ns
        if took_ns > _WORTH_NS:  # at most a few per cent of the loop's time goes into copies
            self._pause_until_ns = started_ns + min(50 * took_ns, _LONGEST_PAUSE_NS)

    def _give(self, judged: Judged, bundle_sha256: str) -> bool:
        frames: list[FrameRef] = []
        for frame in judged.frames:
            copied = self._copied(frame)
            if copied is None:
                break
            frames.append(copied)
        whole = len(frames) == len(judged.frames) == len(self._rings)
        part = judged.part
        if whole and self._link.send(
            ShadowPart(
                epoch=part.epoch,
                ordinal=part.ordinal,
                seq=part.seq,
                verdict=judged.verdict,
                bundle_sha256=bundle_sha256,
                frames=tuple(frames),
            )
        ):
            return True
        for frame in frames:
            self._rings[frame.camera].abandon(frame.slot)
        return False

    def _copied(self, frame: FrameRef) -> FrameRef | None:
        ring = self._rings[frame.camera]
        slot = ring.acquire()
        if slot is None:
            return None
        source = self._cameras[frame.camera]
        try:
            ring.pixels(slot)[: source.frame_bytes] = source.raw(frame)
        except StaleLease:
            ring.abandon(slot)
            return None
        if not source.holds(frame):
            ring.abandon(slot)
            return None
        return replace(frame, slot=slot, generation=ring.publish(slot))

    def close(self) -> None:
        """Unmap the shadow's rings."""
        for ring in self._rings:
            ring.close()
