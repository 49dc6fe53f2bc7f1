# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO on the CPU: one view an infer request, uint8 input, conversion inside the graph.

The THROUGHPUT hint makes as many streams as threads; there is one request more than there are streams, so that
the next view is there when a stream ends.
On a CPU that equals or beats batches (nothing is gained from sharing weights that lie in cache) and keeps
each view's latency its own. Per frame there is one copy, into a request's own tensor.

There are no threads of ours: `submit` starts a request, its callback says that it has ended, `collect` decodes.
OpenVINO's Python binding does not call back when an inference fails (2026.4), so that a fault would look like a
hang: `collect` asks the requests that run, every few milliseconds, and there the failure is raised. Nor does
OpenVINO call back for an inference that ends while the thread of the one before is still on its way out of
the callback; that is seen there too.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from inspection.detectors.base import (
    BatchResult,
    DetectorInfo,
    EngineFault,
    Finished,
    View,
)
from inspection.detectors.decode import Decoder, Place, Placing, decoder_for
from inspection.pixels import PICTURE_ERRORS
from inspection.types import StationFault
from weights.bundle import Bundle
from weights.card import Card

_WARM_UP_ROUNDS = 2
_AHEAD = 1  # a request that waits inside OpenVINO, so that no stream idles until the next picture is brought
_LOOK_NS = 5_000_000  # between two looks at the requests that run


class _Request:
    """One infer request with its own input memory, and output memory where the model's table has one size."""

    def __init__(
        self, infer: ov.InferRequest, compiled: ov.CompiledModel, *, planar: bool, batched: bool
    ) -> None:
        shape, table = list(compiled.input(0).shape), compiled.output(0)
        self.infer = infer
        self.memory = np.zeros(shape, np.uint8)
        self.picture = self.memory[0, 0] if planar else self.memory[0]  # (h, w) or (h, w, 3)
        infer.set_input_tensor(ov.Tensor(self.memory, shared_memory=True))
        self._batched = batched
        self._table: np.ndarray | None = None
        if table.partial_shape.is_static and table.element_type == ov.Type.f32:
            self._table = np.full(list(table.shape), np.nan, np.float32)
            infer.set_output_tensor(ov.Tensor(self._table, shared_memory=True))

    def start(self) -> None:
        """Infer what lies in `picture`."""
        if self._table is not None:
            self._table.fill(np.nan)  # rows that were not written are no rows: silence is reject
        self.infer.start_async()

    def answer(self) -> np.ndarray:
        """What came out for the one picture; a window into memory that the next start overwrites."""
        table = self.infer.get_output_tensor(0).data if self._table is None else self._table
        return table[0] if self._batched else table


class OpenVinoDetector:
    """Detector on OpenVINO's CPU plugin.

    threads: inference threads (and streams). grey: every view is (h, w); the graph repeats it where the network
    wants three channels. decoder: in place of the card's, for evaluation, which keeps what the network put out.
    """

    def __init__(
        self, bundle: Bundle, *, threads: int, grey: bool = True, decoder: Decoder | None = None
    ) -> None:
        card = bundle.card
        requests = in_flight(threads)
        self._placing = Placing(bundle)
        planar = card.input.channels == 1 or (grey and not self._placing.makes_planes)
        self._channels = 1 if planar else 3
        self._decoder = decoder or decoder_for(card)
        try:
            self._compiled: ov.CompiledModel | None = compile_for_cpu(
                bundle, threads=threads, planar=planar, requests=requests
            )
            self._requests = [
                _Request(
                    self._compiled.create_infer_request(),
                    self._compiled,
                    planar=planar,
                    batched=bundle.shape.batched,
                )
                for _ in range(requests)
            ]
        except RuntimeError as e:
            raise StationFault(f"OpenVINO cannot run the model of {bundle.path}: {_last_line(e)}.") from e
        self._idle = list(self._requests)
        self._running: dict[_Request, tuple[int, View, Place]] = {}
        self._finished: Finished[_Request | BatchResult] = Finished()
        self._next_look_ns = 0
        self._kept: set[int] = set()  # threads of OpenVINO that keep their Python state
        for request in self._requests:
            request.infer.set_callback(self._ended, request)
        self.info = DetectorInfo(
            name=card.name,
            runtime=f"openvino {ov.__version__.split('-')[0]}",
            input_width_px=card.input.width_px,
            input_height_px=card.input.height_px,
            classes=tuple(card.classes),
            floor_score=card.floor_score,
            bundle_sha256=bundle.sha256,
            max_batch=1,
            parallel=requests,
            threads=threads,
        )

    def warm_up(self) -> int:
        """Infer on every request; nanoseconds of the last. StationFault when one fails on an empty picture."""
        started_ns = 0
        for request in self._requests * _WARM_UP_ROUNDS:
            started_ns = time.monotonic_ns()
            try:
                request.infer.infer()
            except RuntimeError as e:
                raise StationFault(f"OpenVINO fails on an empty picture: {_last_line(e)}.") from e
            if not np.isfinite(request.answer()).all():
                raise StationFault(f"The model of bundle {self.info.bundle_sha256[:12]} returns nonsense.")
        return time.monotonic_ns() - started_ns

    def submit(self, number: int, batch: Sequence[View]) -> None:
        """Copy the one view of the batch into an idle request and start it."""
        (view,) = batch
        if not self._idle:
            self._refuse(number, f"the engine was given more than {self.info.parallel} batches at a time")
            return
        request = self._idle.pop()
        try:
            place = self._placing.put(view, self._channels, request.picture)
            request.start()
        except (RuntimeError, *PICTURE_ERRORS) as e:
            self._idle.append(request)
            self._refuse(number, f"OpenVINO: {_last_line(e)}")
        else:
            self._running[request] = number, view, place

    def collect(self) -> BatchResult | None:
        """Decode what a request has found; now and then, look for one that ended without a word."""
        finished = self._finished.take()
        if finished is None:
            self._look_for_the_silent()
            finished = self._finished.take()
        if finished is None or isinstance(finished, BatchResult):
            return finished
        number, view, place = self._running.pop(finished)
        try:
            return BatchResult(number=number, findings=(self._decoder.decode(finished.answer(), place, view),))
        except EngineFault as e:
            return BatchResult(number=number, fault=e)
        except RuntimeError as e:
            return BatchResult(number=number, fault=EngineFault(f"OpenVINO: {_last_line(e)}"))
        finally:
            self._idle.append(finished)

    def fileno(self) -> int:
        """An event for each request that ends, unless it fails."""
        return self._finished.fileno()

    def close(self) -> None:
        """Wait for the requests that run, then drop them all."""
        for request in self._running:
            with contextlib.suppress(RuntimeError):  # it failed, and nobody asks any more
                request.infer.wait()
        self._running.clear()
        self._idle.clear()
        self._requests.clear()
        self._compiled = None
        self._finished.close()

    def _ended(self, request: _Request) -> None:
        """OpenVINO's callback, on a thread of its own.

        The binding makes a Python thread state for each call and drops it after, which costs more than all else
        here. One reference that is never given back keeps it for the life of the thread.
        """
        if threading.get_ident() not in self._kept:
            self._kept.add(threading.get_ident())
            ctypes.pythonapi.PyGILState_Ensure()
        self._finished.put(request)

    def _look_for_the_silent(self) -> None:
        """Requests that ended without a word: those that failed, and those whose callback was left out.

        A request counts as ended only once its callback has returned, so one that is not in `_finished` by then
        never will be.
        """
        now_ns = time.monotonic_ns()
        if now_ns < self._next_look_ns:
            return
        self._next_look_ns = now_ns + _LOOK_NS
        for request in list(self._running):
            try:
                if request.infer.wait_for(0) and request not in self._finished:
                    self._finished.put_here(request)
            except RuntimeError as e:
                number, _, _ = self._running.pop(request)
                self._idle.append(request)
                self._refuse(number, f"OpenVINO: {_last_line(e)}")

    def _refuse(self, number: int, why: str) -> None:
        self._finished.put_here(BatchResult(number=number, fault=EngineFault(why)))


def in_flight(threads: int) -> int:
    """Requests that keep so many streams busy."""
    return threads + _AHEAD


def compile_for_cpu(bundle: Bundle, *, threads: int, planar: bool, requests: int) -> ov.CompiledModel:
    """The bundle's model with a uint8 input, one stream a thread; RuntimeError when it cannot run.

    planar: one grey plane goes in, for every channel of the network.
    """
    core = ov.Core()
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
