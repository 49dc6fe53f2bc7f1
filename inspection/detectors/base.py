# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every engine promises. How its output becomes findings: decode.py.

A detector takes batches of views and answers each once: findings for every view, or an `EngineFault`. An empty
tuple of findings means "looked, found nothing"; a network that returns NaN, scores outside 0..1, classes it
does not have or boxes that are none has *not* looked, and that is a fault.

The thread that submits is the one that collects. An engine's own threads only say that something has finished
(`Finished`): whatever they did in Python would be paid for twice, with a wake-up and the interpreter's lock.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from inspection.types import Finding, FrameRef, PartFault, Reason

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
    reference: defect-free picture of the same region, for models that compare; else the bundle's own is taken.
    """

    camera: int
    pixels: np.ndarray
    x_px: int = 0
    y_px: int = 0
    frame: FrameRef | None = None
    reference: np.ndarray | None = None


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
