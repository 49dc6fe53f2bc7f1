# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector's hands on the rings: what the detector sees of a slot, the strip, and who gets the slot next.

For 8-bit grey cameras nothing is copied: each slot's window is made once and handed out again. Other formats
are converted a frame at a time. Pictures that are worth keeping go to the recorder, but never so many at a time
that the camera would find no free slot: beyond a third of the ring they are shed, and counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from cameras.pfnc import bytes_per_frame, code_of, format_of, to_bgr8, to_mono8
from cameras.ring import Ring, SlotState, StaleLease
from inspection.config import CameraTable
from inspection.detectors.base import View
from inspection.judging import Release
from inspection.keeping import keep_chance
from inspection.link import Link
from inspection.messages import ImageHandOver
from inspection.types import FrameRef, Outcome, StationFault

_SHARE_FOR_RECORDER = 3  # one part in three of a ring
_PREVIEW_NS = 200_000_000  # people see the line although most passed parts are not kept


class CameraSlots:
    """One camera's ring as the inspector uses it. Methods raise StaleLease where the picture is gone."""

    def __init__(self, camera: int, table: CameraTable, ring: Ring) -> None:
        self.ring = ring
        self.handed_limit = max(1, ring.slots // _SHARE_FOR_RECORDER)
        self._camera = camera
        self._code = code_of(table.pixel_format)
        self._size = (table.width_px, table.height_px)
        self._view = table.view
        self._strip = table.strip_px
        self._frame_bytes = self.frame_bytes = bytes_per_frame(self._code, *self._size)
        if self._frame_bytes > ring.slot_bytes:
            raise StationFault(
                f"Camera {table.serial}: a frame of {self._frame_bytes} bytes does not fit a ring slot of"
                f" {ring.slot_bytes}: stop the station and start it again with this configuration."
            )
        self._told = [0] * ring.slots  # generation of each slot that its worker told us of last
        self._windows: list[np.ndarray] = []
        self._strips: list[np.ndarray] = []
        if table.pixel_format == "Mono8":
            self._windows = [self._crop(self._picture(slot), self._view) for slot in range(ring.slots)]
        if self._strip is not None:
            self._strips = [self._raw_strip(slot, self._strip) for slot in range(ring.slots)]

    def fits(self, frame: FrameRef) -> bool:
        """Whether the frame is what the configuration says of this camera."""
        return (frame.width_px, frame.height_px) == self._size and frame.pixel_format == self._code

    def told(self, frame: FrameRef) -> None:
        """The worker said that this slot is ours now."""
        if 0 <= frame.slot < len(self._told):
            self._told[frame.slot] = frame.generation

    def take_back(self, left: Sequence[tuple[int, int]]) -> int:
        """Free what a killed worker published and never told us of; how many slots there were."""
        taken = 0
        for slot, generation in left:
            if 0 <= slot < len(self._told) and self._told[slot] != generation:
                taken += self.ring.valid(slot, generation)
                with contextlib.suppress(StaleLease):
                    self.ring.free(slot, generation)
        return taken

    def holds(self, frame: FrameRef) -> bool:
        """Whether the slot still holds this exposure."""
        return self.ring.valid(frame.slot, frame.generation)

    def view(self, frame: FrameRef) -> View:
        """What the detector sees: uint8 (h, w) grey, or (h, w, 3) RGB for colour formats."""
        pixels = self.ring.lease(frame.slot, frame.generation)
        x_px, y_px = self._view[:2]
        picture = (
            self._windows[frame.slot] if self._windows else self._crop(self._converted(pixels), self._view)
        )
        return View(camera=self._camera, pixels=picture, x_px=x_px, y_px=y_px, frame=frame)

    def raw(self, frame: FrameRef) -> np.ndarray:
        """The whole picture as the camera sent it, uint8 (frame_bytes,), a view."""
        return self.ring.lease(frame.slot, frame.generation)[: self._frame_bytes]

    def strip(self, frame: FrameRef) -> bytes:
        """Raw pixels of the configured strip, row by row; empty when there is none or the picture is gone."""
        if not self._strips or not self.holds(frame):
            return b""
        data = self._strips[frame.slot].tobytes()
        return data if self.holds(frame) else b""

    def free(self, frame: FrameRef) -> None:
        """The slot goes back to the camera. A lease that is gone already is no concern of ours."""
        try:
            self.ring.free(frame.slot, frame.generation)
        except StaleLease:
            return

    def recorder_is_busy(self) -> bool:
        """Whether the recorder holds as many slots as it may."""
        ring = self.ring
        held = sum(ring.state(slot) == SlotState.ARCHIVE for slot in range(ring.slots))
        return held >= self.handed_limit

    def close(self) -> None:
        """Drop every window, then the mapping."""
        self._windows.clear()
        self._strips.clear()
        self.ring.close()

    def _picture(self, slot: int) -> np.ndarray:
        width_px, height_px = self._size
        return self.ring.pixels(slot)[: width_px * height_px].reshape(height_px, width_px)

    def _converted(self, pixels: np.ndarray) -> np.ndarray:
        width_px, height_px = self._size
        form = format_of(self._code)
        if form.mosaic or form.channels > 1:
            return to_bgr8(pixels, self._code, width_px, height_px)[:, :, ::-1]
        return to_mono8(pixels, self._code, width_px, height_px)

    def _raw_strip(self, slot: int, strip_px: Sequence[int]) -> np.ndarray:
        """Window of the strip in undecoded bytes; packed formats have none, their rows are not whole bytes."""
        width_px, height_px = self._size
        bits = format_of(self._code).memory_bits
        if bits % 8:
            raise StationFault("strip_px needs a pixel format of whole bytes: choose an unpacked one.")
        size = bits // 8
        rows = self.ring.pixels(slot)[: self._frame_bytes].reshape(height_px, width_px * size)
        x, y, w, h = strip_px
        return rows[y : y + h, x * size : (x + w) * size]

    @staticmethod
    def _crop(picture: np.ndarray, view: Sequence[int]) -> np.ndarray:
        x, y, w, h = view
        return picture[y : y + h, x : x + w]


class Keeper:
    """Decides for each released frame: to the recorder, or straight back to its camera."""

    def __init__(self, cameras: Sequence[CameraSlots], link: Link | None, pass_share: float) -> None:
        self.handed = 0
        self.shed = 0
        self._cameras = cameras
        self._link = link
        self._pass_share = pass_share
        self._shown_ns = [0] * len(cameras)  # when a picture of each camera last went to the recorder

    def release(self, release: Release) -> None:
        """Give the frame's slot to whom it belongs now."""
        camera = self._cameras[release.frame.camera]
        wanted = self._wanted(release)
        if self._link is None or not (wanted or self._is_preview_due(release)):
            camera.free(release.frame)
        elif camera.recorder_is_busy() or not self._hand_over(camera, self._link, release, keep=wanted):
            self.shed += wanted
            camera.free(release.frame)
        else:
            self.handed += wanted
            self._shown_ns[release.frame.camera] = release.frame.ready_ns

    def _is_preview_due(self, release: Release) -> bool:
        """A picture that is not kept is still shown, when none was for a while; by the frame's own clock."""
        frame = release.frame
        if self._shown_ns[frame.camera] == 0:
            self._shown_ns[frame.camera] = frame.ready_ns
        return release.part is not None and frame.ready_ns - self._shown_ns[frame.camera] >= _PREVIEW_NS

    def _wanted(self, release: Release) -> bool:
        """Every part that did not pass, and a share of those that did, by hash, so that replay agrees."""
        part, verdict = release.part, release.verdict
        if part is None:
            return False
        if verdict is None or verdict.outcome is not Outcome.PASS:
            return True
        return keep_chance(part.epoch, part.ordinal) < self._pass_share

    @staticmethod
    def _hand_over(camera: CameraSlots, link: Link, release: Release, *, keep: bool) -> bool:
        frame, part, verdict = release.frame, release.part, release.verdict
        try:
            camera.ring.hand_over(frame.slot, frame.generation)
        except StaleLease:
            return False
        outcome = Outcome.NOT_INSPECTED if verdict is None else verdict.outcome
        return link.send(
            ImageHandOver(
                frame=frame,
                epoch=part.epoch if part else 0,
                ordinal=part.ordinal if part else 0,
                seq=part.seq if part else 0,
                outcome=int(outcome),
                verdict=verdict,
                keep=keep,
            )
        )
