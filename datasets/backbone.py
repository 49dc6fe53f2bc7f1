# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network's inner layers as a description of a picture: any ONNX backbone, cut before its head.

Frozen features: nothing here is trained. Where a network is not at hand, `datasets/features.py` describes a
picture without one. Only this file of the room imports onnx and onnxruntime, and only when a backbone is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.cut import feature_maps, shaped, stage_ends
from inspection.pixels import Letterbox, with_channels
from inspection.types import StationFault

if TYPE_CHECKING:
    import onnx


class Backbone:
    """Describe pictures by mean and spread of a network's inner maps, each channel over the whole picture.

    path: ONNX file with one picture input (1, C, H, W). taps: names of the tensors to read; without them the
    ends of its trunk's stages (`datasets/cut.py`), which lie before any neck.
    scale: what pixels 0..255 are multiplied with. Raises StationFault for a file that is no such network.
    """

    def __init__(
        self,
        path: Path,
        *,
        taps: Sequence[str] | None = None,
        size_px: int | None = None,
        scale: float = 1.0,
        threads: int = 1,
    ) -> None:
        try:
            model = _loaded(path)
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            self.taps = tuple(taps) if taps else backbone_taps(model)
            shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
            _expose(model, self.taps)
            self._session = _session(model, threads)
        except (ValueError, IndexError, KeyError, OSError) as error:
            raise StationFault(
                f"{path}: not a usable backbone ({str(error).splitlines()[0]}); give an ONNX network that "
                "takes one picture (1, channels, height, width)"
            ) from None
        if len(shape) != 4 or shape[1] not in {1, 3}:
            raise StationFault(f"{path}: its input is {shape}; a backbone takes (1, 1 or 3, height, width)")
        self.name = path.name
        self.identity = " ".join((content, *self.taps, str(size_px), str(scale)))
        """Network, tensors, size and scale: the same identity gives the same features."""
        self._channels: int = shape[1]
        self._height_px = size_px or shape[2] or 320
        self._width_px = size_px or shape[3] or 320
        self._scale = scale
        self._input: str = self._session.get_inputs()[0].name

    def __call__(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Describe uint8 pictures, grey (H, W) or RGB (H, W, 3), of any sizes: float32 (N, features)."""
        rows = [self._one(picture) for picture in pictures]
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def _one(self, picture: np.ndarray) -> np.ndarray:
        height_px, width_px = picture.shape[:2]
        frame = Letterbox(
            source_width_px=width_px,
            source_height_px=height_px,
            width_px=self._width_px,
            height_px=self._height_px,
        )
        shown = with_channels(frame.apply(picture), self._channels)
        planes = shown[None] if self._channels == 1 else shown.transpose(2, 0, 1)
        batch = np.ascontiguousarray(planes[None], np.float32) * np.float32(self._scale)
        out: list[np.ndarray] = []
        for tensor in self._session.run(list(self.taps), {self._input: batch}):
            # the padding is no part of the picture: maps are read where the picture lies
            inner = _inner(tensor[0], frame)
            out += [inner.mean(axis=(1, 2)), inner.std(axis=(1, 2))]
        return np.concatenate(out).astype(np.float32)


def _loaded(path: Path) -> onnx.ModelProto:
    """Read the network. Raises ValueError when the file holds none."""
    import onnx  # noqa: PLC0415 - heavy, and only those who bring a backbone need it
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        return onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ValueError(str(error)) from None


def _session(model: onnx.ModelProto, threads: int) -> Any:
    """A runtime for the network. Raises ValueError when it cannot be run."""
    import onnxruntime  # noqa: PLC0415
    from onnxruntime.capi.onnxruntime_pybind11_state import (  # noqa: PLC0415
        Fail,
        InvalidArgument,
        InvalidGraph,
    )
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotSupported  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except (Fail, InvalidArgument, InvalidGraph, NotSupported) as error:
        raise ValueError(str(error)) from None


def _inner(maps: np.ndarray, frame: Letterbox) -> np.ndarray:
    """The part of maps (C, h, w) that shows the picture and not the padding; at least one cell."""
    down, across = maps.shape[1] / frame.height_px, maps.shape[2] / frame.width_px
    left, top = round(frame.offset_px[0] * across), round(frame.offset_px[1] * down)
    width, height = round(frame.inner_px[0] * across), round(frame.inner_px[1] * down)
    return maps[:, top : top + max(1, height), left : left + max(1, width)]


def backbone_taps(model: onnx.ModelProto) -> tuple[str, ...]:
    """Where to read a network: by the rule of `datasets/cut.py`; without such maps, at outputs that are maps.

    Raises StationFault when it has neither: then the taps have to be named.
    """
    copy = type(model).FromString(model.SerializeToString())
    weights = {tensor.name for tensor in model.graph.initializer}
    picture = [value for value in model.graph.input if value.name not in weights][0]  # noqa: RUF015 - IndexError
    graph = shaped(copy, picture.name, picture.type.tensor_type.shape.dim[1].dim_value or 3)
    maps = feature_maps(graph)
    outputs = [value.name for value in model.graph.output]
    found = tuple(stage_ends(graph, maps).values())
    if not found and all(name in maps for name in outputs):
        found = tuple(outputs)
    if not found:
        raise StationFault("backbone: it has no map of stride 8 or 16; name the tensors to read")
    return found


def _expose(model: onnx.ModelProto, taps: Sequence[str]) -> None:
    """Make the tapped tensors the only outputs; the runtime drops what nobody asks for."""
    import onnx  # noqa: PLC0415

    known = {name for node in model.graph.node for name in node.output}
    for name in taps:
        if name not in known:
            raise StationFault(f"backbone: it has no tensor named {name}; name one that it computes")
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in taps
    )
