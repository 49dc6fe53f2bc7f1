# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX Runtime: CUDA where its provider is present, else the CPU; real batches where the model's batch is free.

One worker thread runs the session, which waits for its result but releases the GIL; its input memory is
allocated once. The input is float32, so normalisation happens here, on the worker's thread.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from inspection.detectors.base import (
    BatchResult,
    DetectorInfo,
    EngineFault,
    Finished,
    View,
)
from inspection.detectors.decode import Place, Placing, decoder_for
from inspection.types import Finding, StationFault
from weights.bundle import Bundle

_Work = tuple[int, Sequence[View]]
_RUNTIME_ERRORS = (Fail, InvalidArgument, RuntimeException, RuntimeError, ValueError)
_WARNING = 3  # onnxruntime's severity: errors only


class OnnxDetector:
    """Detector on ONNX Runtime. max_batch counts only where the model's batch dimension is free."""

    def __init__(self, bundle: Bundle, *, threads: int, max_batch: int = 1) -> None:
        card, shape = bundle.card, bundle.shape
        self._scale = np.float32(card.input.scale)
        self._channels = card.input.channels
        self._names = (shape.output_name,), shape.input_name
        self._batched = shape.batched
        self._decoder = decoder_for(card)
        self._placing = Placing(bundle)
        if shape.fixed_batch not in (None, 1):
            raise StationFault(
                f"{bundle.path} holds a model of a fixed batch of {shape.fixed_batch}: export it with"
                " batch 1 or a free one."
            )
        size = max_batch if shape.fixed_batch is None else 1
        height_px, width_px = card.input.height_px, card.input.width_px
        self._planes = np.zeros((size, self._channels, height_px, width_px), np.float32)
        self._grey = np.zeros((height_px, width_px), np.uint8)
        self._colour = np.zeros((height_px, width_px, 3), np.uint8)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = _WARNING
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle threads leave the box alone
        ort.disable_telemetry_events()
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        try:
            self._session = ort.InferenceSession(
                bundle.model, options, providers=[p for p in wanted if p in ort.get_available_providers()]
            )
        except _RUNTIME_ERRORS as e:
            raise StationFault(f"ONNX Runtime cannot run the model of {bundle.path}: {_first_line(e)}.") from e
        provider = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._finished: Finished[BatchResult] = Finished()
        self._thread = threading.Thread(target=self._run, name="onnx-engine", daemon=True)
        self._thread.start()
        self.info = DetectorInfo(
            name=card.name,
            runtime=f"onnxruntime {ort.__version__} {provider}",
            input_width_px=card.input.width_px,
            input_height_px=card.input.height_px,
            classes=tuple(card.classes),
            floor_score=card.floor_score,
            bundle_sha256=bundle.sha256,
            max_batch=size,
            parallel=1,
            threads=threads,
        )

    def warm_up(self) -> int:
        """Infer every batch size (memory is planned for each); nanoseconds of the last batch of one.

        StationFault when one fails on an empty picture.
        """
        started_ns = 0
        for size in (*range(1, self.info.max_batch + 1), 1):
            started_ns = time.monotonic_ns()
            try:
                rows = self._infer(size)
            except _RUNTIME_ERRORS as e:
                raise StationFault(f"ONNX Runtime fails on an empty picture: {_first_line(e)}.") from e
            if not np.isfinite(rows).all():
                raise StationFault(f"The model of bundle {self.info.bundle_sha256[:12]} returns nonsense.")
        return time.monotonic_ns() - started_ns

    def submit(self, number: int, batch: Sequence[View]) -> None:
        """Hand the batch to the worker thread."""
        self._work.put((number, batch))

    def collect(self) -> BatchResult | None:
        """What the worker thread has answered."""
        return self._finished.take()

    def fileno(self) -> int:
        """An event for each answer."""
        return self._finished.fileno()

    def _run(self) -> None:
        """The worker thread: one batch after the other."""
        while (work := self._work.get()) is not None:
            number, batch = work
            try:
                result = BatchResult(number=number, findings=self._look(batch))
            except EngineFault as e:
                result = BatchResult(number=number, fault=e)
            except Exception as e:  # noqa: BLE001 - top of a thread: whatever it is, the batch must be answered
                result = BatchResult(number=number, fault=EngineFault(f"ONNX Runtime: {_first_line(e)}"))
            self._finished.put(result)

    def _look(self, batch: Sequence[View]) -> tuple[tuple[Finding, ...], ...]:
        places = [self._put(view, self._planes[i]) for i, view in enumerate(batch)]
        tables = self._infer(len(batch))
        if len(tables) != len(batch):
            raise EngineFault(f"ONNX Runtime returned {len(tables)} tables for {len(batch)} pictures")
        return tuple(
            self._decoder.decode(table, place, view)
            for table, place, view in zip(tables, places, batch, strict=True)
        )

    def _put(self, view: View, planes: np.ndarray) -> Place:
        """Prepare, letterbox and normalise one view into (c, h, w) float32."""
        grey = view.pixels.ndim == 2 and not self._placing.makes_planes
        if grey or self._channels == 1:
            place = self._placing.put(view, 1, self._grey)
            np.multiply(self._grey[None], self._scale, out=planes)  # grey into every channel
        else:
            place = self._placing.put(view, 3, self._colour)
            np.multiply(self._colour.transpose(2, 0, 1), self._scale, out=planes)
        return place

    def _infer(self, size: int) -> np.ndarray:
        """The output for the first `size` inputs, (size, ...)."""
        (output_names, input_name) = self._names
        rows = np.asarray(self._session.run(output_names, {input_name: self._planes[:size]})[0])
        return rows if self._batched else rows[None]

    def close(self) -> None:
        """Finish what was submitted and end the worker thread."""
        self._work.put(None)
        self._thread.join()
        self._finished.close()


def _first_line(e: Exception) -> str:
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(e).__name__
