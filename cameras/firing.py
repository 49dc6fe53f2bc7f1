# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera without a trigger line: the worker's hand on its software trigger. `cameras.fired` decides.

How soon an order is obeyed: the GenICam binding cannot wait for a frame and for a message at once. While no
picture is awaited the worker sleeps on its link, so that an order wakes it; while one is, it asks the camera
for 2 ms at a time and looks at the link between. What comes on top is the copy of one picture into the ring.
An order that comes too late for its part is not obeyed at all: the part is NOT_INSPECTED.
"""

from __future__ import annotations

import dataclasses
import select
import time

import msgspec

from cameras.base import Camera, CameraFault, Exposure, FaultKind
from cameras.fired import UNDER_WAY_NS, FiredShots, Lost
from inspection.link import Link
from inspection.messages import FireTrigger, FrameFault, Message

UNMATCHED = "unmatched"
"""Stands among the broken health limits of a picture that is no part's: the rules refuse it like any other."""
_AWAIT_MS = 2
_GLANCE_MS = 1
_IDLE_S = 0.02
_ORDERS_A_TURN = 16
_PROBES = 10


class Firing:
    """Fires one camera by the inspector's orders and says which part each picture shows."""

    def __init__(self, *, index: int, camera: Camera, link: Link, window_pulses: int | None) -> None:
        self._index = index
        self._camera = camera
        self._link = link
        self._shots = FiredShots(window_pulses=window_pulses)

    @property
    def ready(self) -> bool:
        """Whether the camera answers its software trigger and its frame counter is known."""
        return self._shots.sure

    def next_exposure(self) -> Exposure | None:
        """Obey what is ordered, then the next picture with its part's encoder count; None when none came yet.

        A picture of no part comes with None for its count. Raises CameraFault when the camera is gone, or takes
        no pictures.
        """
        if not self._shots.waiting:
            select.select([self._link], [], [], _IDLE_S if self._shots.sure else 0.0)
        for _ in range(_ORDERS_A_TURN):
            order = self._receive()
            if order is None:
                break
            if isinstance(order, FireTrigger):
                self._obey(order)
        if self._shots.wants_probe(time.monotonic_ns()):
            self._probe()
        exposure = self._camera.fetch(_AWAIT_MS if self._shots.waiting else _GLANCE_MS)
        if exposure is not None:
            exposure = self._claimed(exposure)
        self._tell(self._shots.expire(time.monotonic_ns()))
        return exposure

    def _receive(self) -> Message | None:
        try:
            return self._link.receive()
        except msgspec.DecodeError:
            self._link.dropped += 1
            return None

    def _obey(self, order: FireTrigger) -> None:
        now_ns = time.monotonic_ns()
        reason = self._shots.refusal(order, now_ns)
        if reason is not None:
            self._tell((Lost(order=order, reason=reason),))
            return
        self._camera.trigger()
        self._shots.fired(order, now_ns)

    def _probe(self) -> None:
        if self._shots.probes_unanswered >= _PROBES:
            raise CameraFault(
                FaultKind.LOST,
                f"Camera {self._camera.serial} takes no picture within {UNDER_WAY_NS // 1_000_000} ms of its"
                " software trigger: shorten its exposure, or check its trigger settings.",
            )
        now_ns = time.monotonic_ns()
        self._camera.trigger()
        self._shots.probed(now_ns)

    def _claimed(self, exposure: Exposure) -> Exposure:
        claim = self._shots.frame(exposure.frame_id, exposure.exposure_ns, exposure.encoder_pulses)
        self._tell(claim.lost)
        pulses = None if claim.order is None else claim.order.encoder_pulses
        return dataclasses.replace(exposure, encoder_pulses=pulses)

    def _tell(self, lost: tuple[Lost, ...]) -> None:
        for part in lost:
            self._link.send(
                FrameFault(
                    camera=self._index,
                    reason=part.reason,
                    at_ns=part.order.at_ns,
                    encoder_pulses=part.order.encoder_pulses,
                )
            )


def unmatched(exposure: Exposure) -> tuple[str, ...]:
    """What to add to the health of a picture that `Firing` gave out."""
    return () if exposure.encoder_pulses is not None else (UNMATCHED,)
