# SPDX-License-Identifier: AGPL-3.0-or-later
"""From pictures to features: the picture as the network sees it, the backbone's maps on one grid.

The maps are brought to the grid of the finest one; together they are a vector a cell. `taught.Basis` then turns
each into fewer numbers. All of it is linear after the backbone, so the exported graph may do it in another
order and say the same.

Features are averaged over 3 x 3 cells, as PatchCore does, where pictures are of many shapes: what is seen then
is texture, which varies from cell to cell. Elsewhere it would only blur where a defect lies (validation part of
the pitted spindles: AUPRO 0.89 against 0.96).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoSuchOperator

from datasets.labels import Picture
from inspection.detectors.decode import cells_of
from inspection.pixels import Letterbox, with_channels
from inspection.prepare import Placement, Step
from inspection.types import StationFault
from training.anomaly.backbone import MEAN_RGB, SPREAD_RGB, Backbone
from training.anomaly.writing import Writing
from training.pictures import prepared_picture

INPUT_NAME = "images"
_RUNTIME_ERRORS = (Fail, InvalidArgument, NoSuchOperator, RuntimeException, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Size of the network's input, and of the grid its features lie on.

    average: whether features are averaged over 3 x 3 cells. smoothings: how often distances are.
    """

    width_px: int
    height_px: int
    stride: int
    average: bool = False
    smoothings: int = 2

    @property
    def columns(self) -> int:
        """Of the grid."""
        return self.width_px // self.stride

    @property
    def lines(self) -> int:
        """Of the grid."""
        return self.height_px // self.stride


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One picture as the network sees it. inside: which cells of the grid show the picture at all."""

    pixels: np.ndarray  # uint8 (height, width, 3), RGB
    inside: tuple[slice, slice]


def show(picture: Picture, steps: Sequence[Step], frame: Frame) -> Shown:
    """Prepare and letterbox a picture with the station's own code."""
    prepared = prepared_picture(picture, 3, steps)
    height_px, width_px = prepared.pixels.shape[:2]
    box = Letterbox(
        source_width_px=width_px, source_height_px=height_px, width_px=frame.width_px, height_px=frame.height_px
    )
    size = (picture.width_px, picture.height_px)
    place = Placement(box=box, back=prepared.back, source_px=size) if steps else box
    inside = cells_of(place, (frame.lines, frame.columns))
    return Shown(pixels=with_channels(box.apply(prepared.pixels), 3), inside=inside)


def put_in(writing: Writing, backbone: Backbone) -> None:
    """Lead `images` (pixels x scale, RGB) into the backbone: order of planes, torchvision's centring."""
    current, before = INPUT_NAME, len(writing.nodes)
    if backbone.order == "bgr":
        current = writing.node("Gather", [current, writing.constant(np.array([2, 1, 0], np.int64))], axis=1)
    if backbone.centred:
        mean, spread = (
            np.array(v, np.float32).reshape(1, 3, 1, 1)[:, :: 1 if backbone.order == "rgb" else -1]
            for v in (MEAN_RGB, SPREAD_RGB)
        )
        current = writing.node("Sub", [current, writing.constant(mean)])
        current = writing.node("Div", [current, writing.constant(spread)])
    for node in writing.nodes[:before]:
        for index, name in enumerate(node.input):
            if name == backbone.input_name:
                node.input[index] = current


def start_graph(backbone: Backbone) -> Writing:
    """The backbone's nodes, fed from `images`."""
    writing = Writing(backbone.graph)
    before = len(writing.nodes)
    put_in(writing, backbone)
    writing.nodes = writing.nodes[before:] + writing.nodes[:before]  # what feeds it stands before it
    return writing


def on_grid(writing: Writing, tensor: str, stride: int, frame: Frame) -> str:
    """A map of one stride on the grid."""
    if stride < frame.stride:
        step = frame.stride // stride
        tensor = writing.node("AveragePool", [tensor], kernel_shape=[step, step], strides=[step, step])
    if frame.average:
        tensor = averaged(writing, tensor)
    if stride > frame.stride:
        factor = float(stride // frame.stride)
        scales = writing.constant(np.array([1, 1, factor, factor], np.float32))
        tensor = writing.node(
            "Resize",
            [tensor, "", scales],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
    return tensor


def averaged(writing: Writing, tensor: str) -> str:
    """Mean over 3 x 3 cells, at the border over those that are there."""
    return writing.node(
        "AveragePool", [tensor], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=0
    )


def smoothed(scores: np.ndarray) -> np.ndarray:
    """`averaged` in numpy, (h, w)."""
    total = cv2.boxFilter(scores, cv2.CV_32F, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    ones = np.ones_like(scores)
    return total / cv2.boxFilter(ones, cv2.CV_32F, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)


class Looking:
    """Runs the backbone on pictures; gives features on the grid."""

    def __init__(self, backbone: Backbone, frame: Frame, *, threads: int) -> None:
        writing = start_graph(backbone)
        parts = [
            on_grid(writing, tensor, stride, frame)
            for tensor, stride in zip(backbone.tensors, backbone.strides, strict=True)
        ]
        joined = writing.node("Concat", parts, axis=1)
        count = sum(backbone.channels)
        model = writing.model(
            [(INPUT_NAME, (1, 3, frame.height_px, frame.width_px))],
            [(joined, (1, count, frame.lines, frame.columns))],
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except _RUNTIME_ERRORS as e:
            line = str(e).strip().splitlines()[0]
            raise StationFault(
                f"The backbone {backbone.name} does not run ({line}): export it again."
            ) from None
        self._scale = np.float32(backbone.scale)
        self.frame = frame

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """(cells, channels) float32 of one uint8 picture (height, width, 3)."""
        planes = pixels.transpose(2, 0, 1)[None].astype(np.float32) * self._scale
        (maps,) = self._session.run(None, {INPUT_NAME: planes})
        grid = np.asarray(maps)[0]
        flat = grid.reshape(len(grid), -1)
        return np.ascontiguousarray(flat.T)
