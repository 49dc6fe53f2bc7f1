# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every engine promises, and the one way from a network's rows to findings.

A detector takes batches of views and answers each once: findings for every view, or an `EngineFault`. An empty
tuple of findings means "looked, found nothing"; a network that returns NaN, scores outside 0..1, classes it
does not have or boxes that are none has *not* looked, and that is a fault.

The thread that submits is the one that collects. An engine's own threads only say that something has finished
(`Finished`): whatever they did in Python would be paid for twice, with a wake-up and the interpreter's lock.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from inspection.pixels import Letterbox
from inspection.types import Box, Finding, FrameRef, PartFault, Reason

_ROW_WORDS = 6
_SCORE_SLACK = 1e-3  # float32 sigmoids may touch 1 + epsilon
_CLASS_SLACK = 1e-3
_LOOK_S = 0.02
T = TypeVar("T")


class EngineFault(PartFault):
    """The engine raised or returned nonsense: the parts of this batch are NOT_INSPECTED."""

    def __init__(self, text: str, reason: Reason = Reason.ENGINE_FAULT) -> None:
        super().__init__(reason, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture for the engine: the region of a camera frame that the detector sees.

    pixels: uint8 (h, w) grey or (h, w, 3) RGB, usually a window into a ring slot: it is the caller's, who keeps
    it as it is until the answer is collected. x_px, y_px: where the region's corner lies in the camera frame.
    """

    camera: int
    pixels: np.ndarray
    x_px: int = 0
    y_px: int = 0
    frame: FrameRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """Answer to batch `number`: findings per view in the batch's order, or the fault that hit all of it."""

    number: int
    findings: tuple[tuple[Finding, ...], ...] = ()
    fault: EngineFault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorInfo:
    """What runs. `parallel`: batches that may be submitted before the first is collected."""

    name: str
    runtime: str  # engine and version
    input_width_px: int
    input_height_px: int
    classes: tuple[str, ...]
    floor_score: float  # below it nothing is reported: no limit of a recipe may lie there
    bundle_sha256: str
    max_batch: int
    parallel: int
    threads: int


class Detector(Protocol):
    """One model on one runtime. All methods belong to one thread; only `warm_up` and `close` make it wait."""

    @property
    def info(self) -> DetectorInfo:
        """What runs."""
        ...

    def warm_up(self) -> int:
        """Infer on every request, so that the first part is not the slow one; nanoseconds that one view takes.

        Raises StationFault when the model fails on an empty picture.
        """
        ...

    def submit(self, number: int, batch: Sequence[View]) -> None:
        """Start batch `number`, 1..max_batch views, and return soon.

        At most `info.parallel` batches may be uncollected. Never raises for a picture or an engine: that is an
        `EngineFault` in the answer.
        """
        ...

    def collect(self) -> BatchResult | None:
        """The next answer, or None when there is none now; each batch is answered once.

        Call it until None after each `submit` and each event of `fileno`, and every 20 ms at least: where a
        runtime says nothing of an inference that fails, the engine looks for it here.
        """
        ...

    def fileno(self) -> int:
        """Descriptor for epoll, edge-triggered: an event for each answer that comes between two calls."""
        ...

    def close(self) -> None:
        """Wait for what runs and release the engine; batches that are uncollected are never answered."""
        ...


def ask(detector: Detector, *views: View, patience_s: float = 30.0) -> BatchResult:
    """One batch, waited for, of an engine without other work; TimeoutError when it does not answer."""
    detector.submit(0, views)
    give_up_s = time.monotonic() + patience_s
    with select.epoll() as poll:
        poll.register(detector.fileno(), select.EPOLLIN | select.EPOLLET)
        while (answer := detector.collect()) is None:
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"the engine did not answer within {patience_s:.0f} s")
            poll.poll(_LOOK_S)
    return answer


class Finished(Generic[T]):
    """What an engine has finished, on its way to the thread that collects, and the descriptor that wakes it.

    Nobody reads the descriptor: each write is an edge of its own.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def put(self, item: T) -> None:
        """From any thread."""
        self._items.append(item)
        os.eventfd_write(self._fd, 1)

    def put_here(self, item: T) -> None:
        """From the thread that collects, inside a call of its own: it need not be woken."""
        self._items.append(item)

    def take(self) -> T | None:
        """The oldest, or None."""
        return self._items.popleft() if self._items else None

    def __contains__(self, item: object) -> bool:
        """Whether it waits to be taken."""
        return item in self._items

    def fileno(self) -> int:
        """See Detector.fileno."""
        return self._fd

    def close(self) -> None:
        """Once no thread can put any more: the number of a closed descriptor is given out again."""
        os.close(self._fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDecoder:
    """Turns boxes_n6 rows (N, 6: x0, y0, x1, y1, score, class; input pixels) into findings in frame pixels.

    The table is looked at with few numpy calls and the few rows above the floor one by one: right after a
    network has used the caches up, twenty calls on tiny arrays cost 300 us a picture, this a fifth.
    """

    classes: tuple[str, ...]
    floor_score: float
    _floor: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_floor", float(np.float32(self.floor_score)))  # as precise as the scores

    def decode(self, rows: np.ndarray, box: Letterbox, view: View) -> tuple[Finding, ...]:
        """Findings at or above the floor, best first; EngineFault for nonsense.

        Box overshoot beyond the picture is clipped; a box that lies wholly in the letterbox's padding shows
        nothing of the part and is dropped.
        """
        if rows.ndim != 2 or rows.shape[1] != _ROW_WORDS:
            raise EngineFault(f"the engine returned a table of shape {rows.shape}, not (N, {_ROW_WORDS})")
        if not len(rows):
            return ()
        # numpy's extremes are NaN as soon as one number is, so they are finite only when all numbers are
        if not (math.isfinite(rows.max()) and math.isfinite(rows.min())):
            raise EngineFault("the engine returned numbers that are not finite")
        scores = rows[:, 4].tolist()
        worst, best = min(scores), max(scores)
        if worst < -_SCORE_SLACK or best > 1 + _SCORE_SLACK:
            raise EngineFault(f"the engine returned a score outside 0..1 ({worst:g}..{best:g})")
        if best < self._floor:
            return ()
        kept = sorted((-score, i) for i, score in enumerate(scores) if score >= self._floor)
        found = [self._finding(rows[i].tolist(), box, view) for _, i in kept]
        return tuple([finding for finding in found if finding is not None])

    def _finding(self, row: list[float], box: Letterbox, view: View) -> Finding | None:
        """One row; None when it shows nothing of the part."""
        x0, y0, x1, y1, score, number = row
        defect_class = self._class_of(number)
        if x1 <= x0 or y1 <= y0:
            raise EngineFault("the engine returned a box whose corners are exchanged")
        # a regression head may overshoot the border; a whole picture away is not overshoot
        far_x, far_y = box.width_px, box.height_px
        if x0 < -far_x or x1 > 2 * far_x or y0 < -far_y or y1 > 2 * far_y:
            raise EngineFault("the engine returned a box far outside the picture")
        x0, y0, x1, y1 = box.to_source((x0, y0, x1, y1))
        if x1 <= x0 or y1 <= y0:
            if box.identity:
                raise EngineFault("the engine returned a box outside the picture")
            return None
        dx, dy = view.x_px, view.y_px
        return Finding(
            defect_class=defect_class,
            score=min(1.0, score),
            box=Box(x0_px=x0 + dx, y0_px=y0 + dy, x1_px=x1 + dx, y1_px=y1 + dy),
            camera=view.camera,
        )

    def _class_of(self, number: float) -> str:
        nearest = round(number)
        if abs(number - nearest) > _CLASS_SLACK or not 0 <= nearest < len(self.classes):
            raise EngineFault(f"the engine returned class {number:g} of {len(self.classes)}")
        return self.classes[nearest]


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
