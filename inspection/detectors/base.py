# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every engine promises, and the one way from a network's rows to findings.

A detector takes a batch of views and answers once, from any thread: findings for every view, or an
`EngineFault`. An empty tuple of findings means "looked, found nothing"; a network that returns NaN, scores
outside 0..1, classes it does not have or boxes that are none has *not* looked, and that is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inspection.pixels import Letterbox
from inspection.types import Box, Finding, FrameRef, PartFault, Reason

_ROW_WORDS = 6
_SCORE_SLACK = 1e-3  # float32 sigmoids may touch 1 + epsilon
_CLASS_SLACK = 1e-3


class EngineFault(PartFault):
    """The engine raised or returned nonsense: the parts of this batch are NOT_INSPECTED."""

    def __init__(self, text: str, reason: Reason = Reason.ENGINE_FAULT) -> None:
        super().__init__(reason, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture for the engine: the region of a camera frame that the detector sees.

    pixels: uint8 (h, w) grey or (h, w, 3) RGB, usually a window into a ring slot, so it is the caller's and is
    only valid until `done` is called. x_px, y_px: where the region's corner lies in the camera frame.
    """

    camera: int
    pixels: np.ndarray
    x_px: int = 0
    y_px: int = 0
    frame: FrameRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """Answer to one batch: findings per view in the batch's order, or the fault that hit all of it."""

    findings: tuple[tuple[Finding, ...], ...] = ()
    fault: EngineFault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorInfo:
    """What runs. `parallel`: batches that may be submitted before the first is done."""

    name: str
    runtime: str  # engine and version
    input_width_px: int
    input_height_px: int
    classes: tuple[str, ...]
    bundle_sha256: str
    max_batch: int
    parallel: int
    threads: int


class Detector(Protocol):
    """One model on one runtime. All methods but the `done` callback belong to one thread."""

    @property
    def info(self) -> DetectorInfo:
        """What runs."""
        ...

    def warm_up(self) -> int:
        """Infer on every lane, so that the first part is not the slow one; nanoseconds that one view takes.

        Raises StationFault when the model fails on an empty picture.
        """
        ...

    def submit(self, batch: Sequence[View], done: Callable[[BatchResult], None]) -> None:
        """Start one batch of 1..max_batch views and return soon; `done` is called once, from any thread.

        At most `info.parallel` batches may be unanswered. Never raises for a picture or an engine: that is an
        `EngineFault` in the answer.
        """
        ...

    def close(self) -> None:
        """Release the engine; batches that are still unanswered may never be answered."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDecoder:
    """Turns boxes_n6 rows (N, 6: x0, y0, x1, y1, score, class; input pixels) into findings in frame pixels."""

    classes: tuple[str, ...]
    floor_score: float

    def decode(self, rows: np.ndarray, box: Letterbox, view: View) -> tuple[Finding, ...]:
        """Findings at or above the floor, best first; EngineFault for nonsense.

        Box overshoot beyond the picture is clipped; a box that lies wholly in the letterbox's padding shows
        nothing of the part and is dropped.
        """
        if rows.ndim != 2 or rows.shape[1] != _ROW_WORDS:
            raise EngineFault(f"the engine returned a table of shape {rows.shape}, not (N, {_ROW_WORDS})")
        if not np.isfinite(rows).all():
            raise EngineFault("the engine returned numbers that are not finite")
        scores = rows[:, 4]
        if scores.size and (scores.min() < -_SCORE_SLACK or scores.max() > 1 + _SCORE_SLACK):
            raise EngineFault(f"the engine returned a score outside 0..1 ({scores.min():g}..{scores.max():g})")
        kept = rows[scores >= self.floor_score]
        if not len(kept):
            return ()
        kept = kept[np.argsort(-kept[:, 4], kind="stable")].astype(np.float64)
        numbers = self._class_numbers(kept[:, 5])
        self._check_boxes(kept, box)
        mapped = box.to_source(kept[:, :4])
        shows = (mapped[:, 2] > mapped[:, 0]) & (mapped[:, 3] > mapped[:, 1])
        if box.identity and not shows.all():
            raise EngineFault("the engine returned a box outside the picture")
        mapped += np.array([view.x_px, view.y_px, view.x_px, view.y_px])
        return tuple(
            Finding(
                defect_class=self.classes[number],
                score=min(1.0, float(row[4])),
                box=Box(x0_px=float(b[0]), y0_px=float(b[1]), x1_px=float(b[2]), y1_px=float(b[3])),
                camera=view.camera,
            )
            for number, row, b, seen in zip(numbers, kept, mapped, shows, strict=True)
            if seen
        )

    def _class_numbers(self, column: np.ndarray) -> list[int]:
        numbers = np.rint(column)
        wrong = (np.abs(column - numbers) > _CLASS_SLACK) | (numbers < 0) | (numbers >= len(self.classes))
        if wrong.any():
            raise EngineFault(f"the engine returned class {column[wrong][0]:g} of {len(self.classes)}")
        return [int(n) for n in numbers]

    def _check_boxes(self, rows: np.ndarray, box: Letterbox) -> None:
        x0, y0, x1, y1 = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]
        if ((x1 <= x0) | (y1 <= y0)).any():
            raise EngineFault("the engine returned a box whose corners are exchanged")
        # a regression head may overshoot the border; a whole picture away is not overshoot
        far_x, far_y = box.width_px, box.height_px
        if ((x0 < -far_x) | (x1 > 2 * far_x) | (y0 < -far_y) | (y1 > 2 * far_y)).any():
            raise EngineFault("the engine returned a box far outside the picture")


class Letterboxes:
    """One `Letterbox` for each size of view, made once: the hot path must not build them."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = (width_px, height_px)
        self._made: dict[tuple[int, ...], Letterbox] = {}

    def of(self, pixels: np.ndarray) -> Letterbox:
        """The letterbox from this picture's size to the network's."""
        size = pixels.shape[:2]
        box = self._made.get(size)
        if box is None:
            width_px, height_px = self._size
            box = self._made[size] = Letterbox(
                source_width_px=size[1], source_height_px=size[0], width_px=width_px, height_px=height_px
            )
        return box
