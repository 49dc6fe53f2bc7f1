# SPDX-License-Identifier: AGPL-3.0-or-later
"""Batches drawn ahead in a process of their own, in order, a few at most: the network does not wait for
pictures.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import queue
from collections.abc import Generator
from typing import Any

import cv2

from inspection.types import StationFault
from training.backbone.batches import Batch, draw_batch
from training.backbone.scenes import draw_bank
from training.backbone.settings import Settings
from training.low_priority import die_with_parent

_AHEAD = 4
_PATIENCE_S = 5.0


def _draw_ahead(settings: Settings, first: int, step: int, out: Any, parent: int) -> None:
    """Draw batches first, first + step, ... until the parent ends this process, or dies."""
    cv2.setNumThreads(1)
    die_with_parent(parent)
    bank = draw_bank(settings.seed, settings.classes, settings.parts)
    number = first
    while True:
        batch = draw_batch(settings.seed, number, bank, settings.scenes, settings.side_px)
        out.put(batch)
        number += step


def batches(settings: Settings, first: int, *, workers: int = 1, stride: int = 1) -> Generator[Batch]:
    """Yield batch `first`, `first + stride`, ... forever; closing the iterator ends the drawing processes."""
    context = mp.get_context("spawn")
    lines: list[tuple[Any, Any]] = []
    try:
        for k in range(workers):
            line = context.Queue(_AHEAD)
            child = context.Process(
                target=_draw_ahead,
                args=(settings, first + k * stride, workers * stride, line, os.getpid()),
                daemon=True,
                name=f"draw-{k}",
            )
            child.start()
            lines.append((child, line))
        while True:
            for child, line in lines:
                yield _next(child, line)
    finally:
        for child, line in lines:
            child.terminate()
            child.join()
            line.close()
            line.join_thread()


def _next(child: Any, line: Any) -> Batch:
    while True:
        try:
            return line.get(timeout=_PATIENCE_S)
        except queue.Empty:
            if not child.is_alive():
                raise StationFault(
                    f"the drawing process {child.name} ended with code {child.exitcode}: see the lines above"
                ) from None
