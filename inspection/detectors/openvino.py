# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO on the CPU: one infer request a lane, uint8 input, conversion inside the graph.

The THROUGHPUT hint makes as many streams as threads; a request carries one view and lanes run side by side, one
lane more than there are streams: the next view is there when a stream ends.
On a CPU that equals or beats batches (nothing is gained from sharing weights that lie in cache) and keeps
each view's latency its own. Per frame there is one copy, into a preallocated tensor.

Each lane has a thread that starts its request and waits. OpenVINO's callbacks will not do: its Python binding
does not call them when an inference fails, so a fault would look like a hang.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from inspection.detectors.base import (
    BatchResult,
    DetectorInfo,
    EngineFault,
    Letterboxes,
    RowDecoder,
    View,
)
from inspection.pixels import with_channels
from inspection.types import Finding, StationFault
from weights.bundle import Bundle
from weights.card import Card

_WARM_UP_ROUNDS = 2
_AHEAD = 1  # a request that waits inside OpenVINO, so that no stream idles until the next picture is brought


class _Lane:
    """One infer request with its own input memory."""

    def __init__(self, request: ov.InferRequest, shape: list[int], planar: bool) -> None:
        self.request = request
        self.memory = np.zeros(shape, np.uint8)
        self.picture = self.memory[0, 0] if planar else self.memory[0]  # (h, w) or (h, w, 3)
        request.set_input_tensor(ov.Tensor(self.memory, shared_memory=True))


class OpenVinoDetector:
    """Detector on OpenVINO's CPU plugin.

    threads: inference threads (and streams). grey: every view is (h, w); the graph repeats it where the network
    wants three channels.
    """

    def __init__(self, bundle: Bundle, *, threads: int, grey: bool = True) -> None:
        card = bundle.card
        requests = in_flight(threads)
        self._planar = grey or card.input.channels == 1
        self._channels = 1 if self._planar else 3
        self._decoder = RowDecoder(classes=tuple(card.classes), floor_score=card.floor_score)
        self._boxes = Letterboxes(card.input.width_px, card.input.height_px)
        try:
            self._compiled: ov.CompiledModel | None = compile_for_cpu(
                bundle, threads=threads, grey=self._planar, requests=requests
            )
            shape = list(self._compiled.input(0).shape)
            self._lanes = [
                _Lane(self._compiled.create_infer_request(), shape, self._planar) for _ in range(requests)
            ]
        except RuntimeError as e:
            raise StationFault(f"OpenVINO cannot run the model of {bundle.path}: {_last_line(e)}.") from e
        self._work: queue.SimpleQueue[tuple[View, Callable[[BatchResult], None]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"openvino-lane-{i}", daemon=True)
            for i, lane in enumerate(self._lanes)
        ]
        for thread in self._threads:
            thread.start()
        self.info = DetectorInfo(
            name=card.name,
            runtime=f"openvino {ov.__version__.split('-')[0]}",
            input_width_px=card.input.width_px,
            input_height_px=card.input.height_px,
            classes=tuple(card.classes),
            floor_score=card.floor_score,
            bundle_sha256=bundle.sha256,
            max_batch=1,
            parallel=len(self._lanes),
            threads=threads,
        )

    def warm_up(self) -> int:
        """Infer on every lane; nanoseconds of the last one. StationFault when one fails on an empty picture."""
        started_ns = 0
        for lane in self._lanes * _WARM_UP_ROUNDS:
            started_ns = time.monotonic_ns()
            try:
                lane.request.infer()
            except RuntimeError as e:
                raise StationFault(f"OpenVINO fails on an empty picture: {_last_line(e)}.") from e
            rows = _rows(lane.request)
            if rows.ndim != 2 or not np.isfinite(rows).all():
                raise StationFault(f"The model of bundle {self.info.bundle_sha256[:12]} returns nonsense.")
        return time.monotonic_ns() - started_ns

    def submit(self, batch: Sequence[View], done: Callable[[BatchResult], None]) -> None:
        """Hand the one view of the batch to whichever lane is idle."""
        (view,) = batch
        self._work.put((view, done))

    def _run(self, lane: _Lane) -> None:
        """One lane's thread: it sleeps in `wait`, without the interpreter's lock, while OpenVINO computes."""
        while (work := self._work.get()) is not None:
            view, done = work
            try:
                result = BatchResult(findings=(self._look(lane, view),))
            except EngineFault as e:
                result = BatchResult(fault=e)
            except Exception as e:  # noqa: BLE001 - top of a thread: whatever it is, the batch must be answered
                result = BatchResult(fault=EngineFault(f"OpenVINO: {_last_line(e)}"))
            done(result)

    def _look(self, lane: _Lane, view: View) -> tuple[Finding, ...]:
        box = self._boxes.of(view.pixels)
        box.apply(with_channels(view.pixels, self._channels), lane.picture)
        lane.request.start_async()
        lane.request.wait()
        return self._decoder.decode(_rows(lane.request), box, view)

    def close(self) -> None:
        """Finish what was submitted, end the threads, drop the requests."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        self._lanes.clear()
        self._compiled = None


def in_flight(threads: int) -> int:
    """Requests that keep so many streams busy."""
    return threads + _AHEAD


def compile_for_cpu(bundle: Bundle, *, threads: int, grey: bool, requests: int) -> ov.CompiledModel:
    """The bundle's model with a uint8 input, one stream a thread; RuntimeError when it cannot run."""
    core = ov.Core()
    planar = grey or bundle.card.input.channels == 1
    model = _with_u8_input(core.read_model(bundle.model), bundle.card, planar)
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "PERFORMANCE_HINT_NUM_REQUESTS": requests,
        # left alone, a CPU with AMX would compute in bfloat16: a verdict must not depend on the box it ran on
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return core.compile_model(model, "CPU", settings)


def _rows(request: ov.InferRequest) -> np.ndarray:
    rows = request.get_output_tensor(0).data
    return rows[0] if rows.ndim == 3 else rows


def _with_u8_input(model: Any, card: Card, planar: bool) -> Any:
    """The model with a uint8 input: one grey plane (1, 1, h, w), or RGB (1, h, w, 3)."""
    height_px, width_px = card.input.height_px, card.input.width_px
    model.reshape([1, card.input.channels, height_px, width_px])
    steps = PrePostProcessor(model)
    picture = steps.input()
    picture.model().set_layout(ov.Layout("NCHW"))
    tensor = picture.tensor().set_element_type(ov.Type.u8)
    if planar:
        tensor.set_shape([1, 1, height_px, width_px]).set_layout(ov.Layout("NCHW"))
    else:
        tensor.set_shape([1, height_px, width_px, 3]).set_layout(ov.Layout("NHWC"))
    process = picture.preprocess().convert_element_type(ov.Type.f32).scale(1 / card.input.scale)
    if planar and card.input.channels == 3:
        process.custom(lambda plane: ops.concat([plane, plane, plane], 1).output(0))
    elif not planar:
        process.convert_layout(ov.Layout("NCHW"))
    return steps.build()


def _last_line(e: Exception) -> str:
    """OpenVINO's exceptions carry pages; the last line that says something is the cause."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(e).__name__
