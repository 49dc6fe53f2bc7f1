# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of a handed-over picture: a preview for people, an archived file, or shed, always counted.

Encoding costs milliseconds, so it happens here and not in the inspector. The slot is given back as soon as
its pixels are encoded.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from cameras.pfnc import name_of, to_bgr8, to_mono8
from cameras.ring import Ring, StaleLease
from inspection.config import StationConfig
from inspection.messages import ImageHandOver, SlotsLeft
from inspection.records.projection import OUTCOME_NAMES
from inspection.storage.images import ImageStore
from inspection.types import Outcome, Reason

_PREVIEW_S = 0.1  # at most ten previews a second and camera: people do not see more
_ROWS_WAITING = 2000


class Archive:
    """Takes hand-overs, keeps files, and holds the rows that the database has not got yet."""

    def __init__(self, config: StationConfig, rings: list[Ring], store: ImageStore) -> None:
        self._config = config
        self._rings = rings
        self._store = store
        self._rows: deque[dict[str, object]] = deque()
        self._previewed_s = [0.0] * len(rings)
        self.disk_is_full = False
        self.stored = 0
        self.shed = 0
        self.previews = 0

    def take(self, message: ImageHandOver) -> None:
        """Encode, free the slot, then write. A stale lease is a picture that is gone: counted as shed."""
        frame = message.frame
        ring = self._rings[frame.camera]
        try:
            pixels = ring.lease(frame.slot, frame.generation)
            picture = _to_picture(pixels, frame.pixel_format, frame.width_px, frame.height_px)
            jpeg = _encode(picture, self._config.records.jpeg_quality)
            ring.free(frame.slot, frame.generation)
        except StaleLease:
            self.shed += 1
            return
        self._preview(message, jpeg)
        if message.keep:
            self._keep(message, jpeg)

    def take_back(self, message: SlotsLeft) -> None:
        """Free what a killed inspector handed over and never told us of: all it did tell was dealt with."""
        for slot, generation in message.slots:
            with contextlib.suppress(StaleLease):
                self._rings[message.camera].free(slot, generation)
                self.shed += 1

    def _keep(self, message: ImageHandOver, jpeg: bytes) -> None:
        if self.disk_is_full or len(self._rows) >= _ROWS_WAITING:
            self.shed += 1
            return
        try:
            digest = self._store.put(jpeg, "jpg")
        except OSError:
            self.disk_is_full = True  # until the next look at the disk says otherwise
            self.shed += 1
            return
        frame = message.frame
        self.stored += 1
        self._rows.append(
            {
                "epoch": message.epoch,
                "ordinal": message.ordinal,
                "camera": frame.camera,
                "sha256": digest,
                "type": "jpg",
                "bytes": len(jpeg),
                "width": frame.width_px,
                "height": frame.height_px,
                "stored_utc_ns": time.time_ns(),
                "retention": "pass" if message.outcome == Outcome.PASS else "reject",
            }
        )

    def rows(self) -> list[dict[str, object]]:
        """Rows of stored pictures that the database has not taken yet."""
        return list(self._rows)

    def registered(self, count: int) -> None:
        """The first `count` rows are in the database now."""
        for _ in range(count):
            self._rows.popleft()

    def _preview(self, message: ImageHandOver, jpeg: bytes) -> None:
        camera = message.frame.camera
        now_s = time.monotonic()
        if now_s - self._previewed_s[camera] < _PREVIEW_S:
            return
        self._previewed_s[camera] = now_s
        serial = self._config.camera[camera].serial
        verdict = message.verdict
        facts = {
            "epoch": message.epoch,
            "ordinal": message.ordinal,
            "seq": message.seq,
            "outcome": OUTCOME_NAMES[Outcome(message.outcome)],
            "reason": (verdict.reasons[0] if verdict and verdict.reasons else Reason.NONE).value,
            "findings": [
                asdict(f) for f in (verdict.findings if verdict else ()) if f.camera == message.frame.camera
            ],
            "width": message.frame.width_px,
            "height": message.frame.height_px,
            "utc_ns": time.time_ns(),
        }
        folder = self._config.previews_dir
        _replace(folder / f"{serial}.jpg", jpeg)
        _replace(folder / f"{serial}.json", json.dumps(facts).encode())
        self.previews += 1


def _replace(path: Path, data: bytes) -> None:
    temp = path.with_name(path.name + ".new")
    temp.write_bytes(data)
    temp.rename(path)


def _to_picture(pixels: np.ndarray, pixel_format: int, width_px: int, height_px: int) -> np.ndarray:
    name = name_of(pixel_format)
    convert = to_mono8 if name.startswith("Mono") else to_bgr8
    return convert(pixels, pixel_format, width_px, height_px)


def _encode(picture: np.ndarray, quality: int) -> bytes:
    ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape}.")
    return data.tobytes()
