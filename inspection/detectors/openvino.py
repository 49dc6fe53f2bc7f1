# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO on the CPU: one infer request a lane, uint8 input, conversion inside the graph.

The THROUGHPUT hint makes as many streams as threads; a request carries one view and lanes run side by side.
On a CPU that equals or beats batches (nothing is gained from sharing weights that lie in cache) and keeps
each view's latency its own. Per frame the caller pays one copy into a preallocated tensor.
"""

from __future__ import annotations

import time
from collections import deque
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
from inspection.pixels import Letterbox, with_channels
from inspection.types import StationFault
from weights.bundle import Bundle
from weights.card import Card

_WARM_UP_ROUNDS = 2


class _Lane:
    """One infer request with its own input memory; belongs to OpenVINO between start and answer."""

    def __init__(self, request: ov.InferRequest, shape: list[int], planar: bool) -> None:
        self.request = request
        self.memory = np.zeros(shape, np.uint8)
        self.picture = self.memory[0, 0] if planar else self.memory[0]  # (h, w) or (h, w, 3)
        request.set_input_tensor(ov.Tensor(self.memory, shared_memory=True))
        self.view: View | None = None
        self.box: Letterbox | None = None
        self.done: Callable[[BatchResult], None] | None = None


class OpenVinoDetector:
    """Detector on OpenVINO's CPU plugin.

    threads: inference threads (and streams). grey: every view is (h, w); the graph repeats it where the network
    wants three channels. parallel: requests in flight, `threads` by default.
    """

    def __init__(self, bundle: Bundle, *, threads: int, grey: bool = True, parallel: int | None = None) -> None:
        card = bundle.card
        self._planar = grey or card.input.channels == 1
        self._channels = 1 if self._planar else 3
        self._decoder = RowDecoder(classes=tuple(card.classes), floor_score=card.floor_score)
        self._boxes = Letterboxes(card.input.width_px, card.input.height_px)
        try:
            core = ov.Core()
            model = _with_u8_input(core.read_model(bundle.model), card, self._planar)
            self._compiled: ov.CompiledModel | None = core.compile_model(
                model,
                "CPU",
                {
                    "PERFORMANCE_HINT": "THROUGHPUT",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": threads,
                    "PERFORMANCE_HINT_NUM_REQUESTS": parallel or threads,
                },
            )
            shape = list(self._compiled.input(0).shape)
            self._lanes = [
                _Lane(self._compiled.create_infer_request(), shape, self._planar)
                for _ in range(parallel or threads)
            ]
        except RuntimeError as e:
            raise StationFault(f"OpenVINO cannot run the model of {bundle.path}: {_first_line(e)}.") from e
        self._idle = deque(self._lanes)
        self.info = DetectorInfo(
            name=card.name,
            runtime=f"openvino {ov.__version__.split('-')[0]}",
            input_width_px=card.input.width_px,
            input_height_px=card.input.height_px,
            classes=tuple(card.classes),
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
                raise StationFault(f"OpenVINO fails on an empty picture: {_first_line(e)}.") from e
            rows = _rows(lane.request)
            if rows.ndim != 2 or not np.isfinite(rows).all():
                raise StationFault(f"The model of bundle {self.info.bundle_sha256[:12]} returns nonsense.")
        return time.monotonic_ns() - started_ns

    def submit(self, batch: Sequence[View], done: Callable[[BatchResult], None]) -> None:
        """Copy the one view of the batch into an idle lane and start it."""
        (view,) = batch
        lane = self._idle.popleft()
        lane.view, lane.done = view, done
        try:
            lane.box = self._boxes.of(view.pixels)
            lane.box.apply(with_channels(view.pixels, self._channels), lane.picture)
            # set anew each time: OpenVINO takes the callback out while it runs, and a request that is started
            # from another thread just then would complete in silence
            lane.request.set_callback(self._answered, lane)
            lane.request.start_async()
        except (RuntimeError, ValueError) as e:
            self._answer(lane, BatchResult(fault=EngineFault(f"OpenVINO: {_first_line(e)}")))

    def _answered(self, lane: _Lane) -> None:
        """Runs on OpenVINO's thread when a request ends, in whatever way."""
        assert lane.view is not None  # noqa: S101 - set by submit before the start
        assert lane.box is not None  # noqa: S101
        try:
            lane.request.wait()  # over already; raises what the inference raised
            found = self._decoder.decode(_rows(lane.request), lane.box, lane.view)
            result = BatchResult(findings=(found,))
        except EngineFault as e:
            result = BatchResult(fault=e)
        except RuntimeError as e:
            result = BatchResult(fault=EngineFault(f"OpenVINO: {_first_line(e)}"))
        self._answer(lane, result)

    def _answer(self, lane: _Lane, result: BatchResult) -> None:
        done, lane.done, lane.view = lane.done, None, None
        self._idle.append(lane)
        if done is not None:
            done(result)

    def close(self) -> None:
        """Wait for what is in flight and drop the requests."""
        for lane in self._lanes:
            try:
                lane.request.wait()
            except RuntimeError:
                continue  # its fault was answered already
        self._idle.clear()
        self._lanes.clear()
        self._compiled = None


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


def _first_line(e: Exception) -> str:
    """OpenVINO's exceptions carry pages; the last line that says something is the cause."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(e).__name__
