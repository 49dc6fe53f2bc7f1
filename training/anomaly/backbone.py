# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network that somebody else trained, cut where its features are worth the most for good-only detection.

Where it is cut, unless `--layers` says so: by the rule of `datasets/cut.py`, at the ends of the trunk's stages
of stride 8 and 16; it must have both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper, version_converter

from datasets.cut import STRIDES, feature_maps, shaped, stage_ends
from inspection.storage.files import write_durably
from inspection.types import StationFault
from training.anomaly.writing import OPSET, cut

OWN_BACKBONE = Path(__file__).resolve().parents[2] / "weights" / "backbone" / "gatesight_backbone.onnx"
ORDERS = ("rgb", "bgr")
SCALE_KEY = "gatesight.scale"
MEAN_RGB, SPREAD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What torchvision's networks expect to be subtracted and divided by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A cut network at opset 18.

    scale: what a pixel 0..255 is multiplied by before it goes in. order: of the colour planes. centred: whether
    torchvision's mean and spread are taken off after scaling. tensors: feature maps, finest first.
    """

    graph: onnx.GraphProto
    input_name: str
    tensors: tuple[str, ...]
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    scale: float
    order: str
    centred: bool
    name: str
    sha256: str  # of the file it came from
    stated_scale: float | None = None  # what the file itself says, as metadata `gatesight.scale`

    def facts(self) -> dict[str, object]:
        """What a card says of it."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "tensors": list(self.tensors),
            "strides": list(self.strides),
            "channels": list(self.channels),
            "scale": self.scale,
            "order": self.order,
            "centred": self.centred,
        }


def own_backbone(option: str) -> Path:
    """The backbone that ships. StationFault where an installation has none; `option` brings another."""
    if not OWN_BACKBONE.is_file():
        raise StationFault(
            f"this installation carries no backbone ({OWN_BACKBONE.name}): bring one with {option} ONNX."
        )
    return OWN_BACKBONE


def load_backbone(
    path: Path,
    *,
    layers: Sequence[str] = (),
    scale: float,
    order: str = "rgb",
    centred: bool = False,
    strides: Sequence[int] = STRIDES,
) -> Backbone:
    """Read an ONNX network and cut it at the ends of its stages of `strides`, or at `layers`.

    StationFault with one sentence where that cannot be done; of `strides`, 8 and 16 must be there.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise StationFault(
            f"Cannot read the backbone {path}: {e.strerror}; give the path of an ONNX file."
        ) from e
    model = _plain(data, path)
    picture = _picture_input(model, path)
    try:
        graph = shaped(model, picture)
    except ValueError as e:
        raise StationFault(f"{path}: its shapes cannot be followed ({e}); give another backbone.") from None
    maps = feature_maps(graph)
    tensors = tuple(layers) or _stages(graph, maps, path, strides)
    unknown = next((name for name in tensors if name not in maps), None)
    if unknown is not None:
        raise StationFault(
            f"{path} has no feature map {unknown!r}: name tensors of 4 dimensions, finest first, with --layers."
        )
    chosen = [maps[name] for name in tensors]
    steps = [stride for stride, _ in chosen]
    if steps != sorted(set(steps)):
        raise StationFault(f"{path}: name --layers finest first, one a stride; these are of strides {steps}.")
    return Backbone(
        graph=cut(graph, tensors),
        input_name=picture,
        tensors=tensors,
        strides=tuple(stride for stride, _ in chosen),
        channels=tuple(channels for _, channels in chosen),
        scale=scale,
        order=order,
        centred=centred,
        name=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        stated_scale=_stated_scale(model, path),
    )


def save_backbone(backbone: Backbone, path: Path) -> None:
    """Write the cut network, for `restore_backbone`."""
    write_durably(path, backbone.graph.SerializeToString(deterministic=True))


def restore_backbone(path: Path, facts: dict[str, Any]) -> Backbone:
    """The cut network that `save_backbone` wrote, with the facts of its card."""
    try:
        graph = onnx.GraphProto.FromString(path.read_bytes())
        return Backbone(
            graph=graph,
            input_name=graph.input[0].name,
            tensors=tuple(facts["tensors"]),
            strides=tuple(facts["strides"]),
            channels=tuple(facts["channels"]),
            scale=float(facts["scale"]),
            order=str(facts["order"]),
            centred=bool(facts["centred"]),
            name=str(facts["name"]),
            sha256=str(facts["sha256"]),
        )
    except (OSError, DecodeError, KeyError, IndexError, ValueError) as e:
        raise StationFault(f"{path} is missing or damaged ({e}): teach again.") from None


def _stated_scale(model: onnx.ModelProto, path: Path) -> float | None:
    for entry in model.metadata_props:
        if entry.key == SCALE_KEY:
            try:
                return float(entry.value)
            except ValueError:
                raise StationFault(f"{path}: its {SCALE_KEY} {entry.value!r} is no number.") from None
    return None


def _plain(data: bytes, path: Path) -> onnx.ModelProto:
    """The model at our opset; refused when it needs anything but plain ONNX."""
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise StationFault(f"{path} is not an ONNX model: export the backbone to ONNX.") from None
    if not model.graph.node:
        raise StationFault(f"{path} is not an ONNX model: export the backbone to ONNX.")
    foreign = next((n for n in model.graph.node if n.domain not in ("", "ai.onnx")), None)
    if model.functions or foreign is not None:
        raise StationFault(f"{path} uses operators or functions of its own: export it to plain ONNX.")
    if any(t.data_location == onnx.TensorProto.EXTERNAL or t.external_data for t in model.graph.initializer):
        raise StationFault(f"{path} keeps weights in another file: export it with data inside.")
    version = max((i.version for i in model.opset_import if i.domain in ("", "ai.onnx")), default=0)
    if version == OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError) as e:
        line = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise StationFault(
            f"{path} is of opset {version} and cannot be brought to {OPSET} ({line}): export it with {OPSET}."
        ) from None


def _picture_input(model: onnx.ModelProto, path: Path) -> str:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    dims = inputs[0].type.tensor_type.shape.dim if inputs else ()
    if len(inputs) != 1 or len(dims) != 4 or dims[1].dim_value not in (0, 3):
        raise StationFault(f"{path} must take one picture (1, 3, height, width) to be a backbone.")
    return inputs[0].name


def _stages(
    graph: onnx.GraphProto, maps: dict[str, tuple[int, int]], path: Path, strides: Sequence[int]
) -> tuple[str, ...]:
    ends = stage_ends(graph, maps, strides)
    missing = next((stride for stride in STRIDES if stride not in ends), None)
    if missing is not None:
        raise StationFault(
            f"{path} has no feature map of stride {missing} before an up-sampling: name the tensors to use"
            " with --layers FINE,COARSE."
        )
    return tuple(ends[stride] for stride in strides if stride in ends)


def shuffled(backbone: Backbone, seed: int) -> Backbone:
    """The same network with the values of each kernel in random order: a backbone that has learnt nothing."""
    graph = onnx.GraphProto()
    graph.CopyFrom(backbone.graph)
    rng = np.random.default_rng(seed)
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim == 4:
            mixed = rng.permutation(value.ravel()).reshape(value.shape)
            tensor.CopyFrom(numpy_helper.from_array(mixed, tensor.name))
    return Backbone(
        graph=graph,
        input_name=backbone.input_name,
        tensors=backbone.tensors,
        strides=backbone.strides,
        channels=backbone.channels,
        scale=backbone.scale,
        order=backbone.order,
        centred=backbone.centred,
        name=f"shuffled {backbone.name}",
        sha256=backbone.sha256,
    )
