# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backbone out of an ONNX file as a module of torch, so that its weights can be taught on.

onnx2torch does this for more operators, but has stood still since 2024 and slices in a way that torch has
announced to read otherwise. The trunk of a network for pictures needs the few operators below; any other is
refused by name. `Trunk.of` holds the module against ONNX Runtime before anybody learns from it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from inspection.types import StationFault
from training.anomaly.backbone import Backbone

STRIDES = (4, 8, 16, 32)
"""Where a trunk is cut, as far as it has these; 8 and 16 it must have."""
STRUCTURE = "structure"
_TOLERANCE = 1e-3  # of the largest value of a map: rounding of float32 over a few dozen layers
_PROBE_PX = 64
_AS_MUCH = 0.75
_LEAST_UNIT = 1e-3  # for a bias that is nothing so far
_USUAL: dict[str, Any] = {
    "auto_pad": b"NOTSET",
    "ceil_mode": 0,
    "dilations": [1, 1],
    "storage_order": 0,
    "training_mode": 0,
}
"""Attributes of which only this value is followed; `dilations` of a Conv is followed as it is."""
_TAUGHT = {"Conv": (1, 2), "BatchNormalization": (1, 2)}
"""Inputs that are weights, by operator; all other constants stay as they are."""


_ONES, _NONE = [1, 1], [0, 0, 0, 0]


def _padded(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: list[int] = _ONES,
    pads: list[int] = _NONE,
    dilations: list[int] = _ONES,
    group: int = 1,
) -> Tensor:
    if pads[:2] == pads[2:]:
        return functional.conv2d(x, weight, bias, strides, pads[:2], dilations, group)
    return functional.conv2d(_padded(x, pads), weight, bias, strides, 0, dilations, group)


def _norm(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    spread: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
) -> Tensor:
    del momentum  # of the running mean: nothing runs here
    return functional.batch_norm(x, mean, spread, scale, shift, eps=epsilon)


def _max_pool(
    x: Tensor,
    *,
    kernel_shape: list[int],
    strides: list[int] = _ONES,
    pads: list[int] = _NONE,
) -> Tensor:
    return functional.max_pool2d(_padded(x, pads, float("-inf")), kernel_shape, strides)


def _mean_pool(
    x: Tensor,
    *,
    kernel_shape: list[int],
    strides: list[int] = _ONES,
    pads: list[int] = _NONE,
    count_include_pad: int = 0,
) -> Tensor:
    return functional.avg_pool2d(x, kernel_shape, strides, pads[:2], count_include_pad=bool(count_include_pad))


def _slice(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    over = list(range(len(starts))) if axes is None else axes.tolist()
    along = [1] * len(over) if steps is None else steps.tolist()
    cuts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(over, starts.tolist(), ends.tolist(), along, strict=True):
        cuts[axis] = slice(start, min(end, 2**31 - 1), step)
    return x[tuple(cuts)]


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(None if low is None else float(low), None if high is None else float(high))


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "AveragePool": _mean_pool,
    "BatchNormalization": _norm,
    "Clip": _clip,
    "Concat": lambda *parts, axis: torch.cat(parts, axis),
    "Conv": _conv,
    "Div": torch.div,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: (x * alpha + beta).clamp(0, 1),
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "LeakyRelu": lambda x, alpha=0.01: functional.leaky_relu(x, alpha),
    "MaxPool": _max_pool,
    "Mul": torch.mul,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Slice": _slice,
    "Softplus": functional.softplus,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
}


class Trunk(nn.Module):
    """(N, 1 or 3, h, w) of 0..1 -> feature maps, finest first; h and w are multiples of the coarsest stride.

    What is computed lies in a buffer of bytes (`structure`: the graph without its weights, and what a card says
    of it), so that a file of weights says all that is needed to build the module again.

    A weight is what it was plus a change in units of its tensor's own size, and only the change is taught: an
    optimizer steps as far in each number, and a first layer that takes 0..255 has weights a hundred times
    smaller than the next (taught on directly, YOLOX-nano lost in 30 steps what a head had learnt on it in 800).
    Weight decay then pulls towards the backbone as it came.
    """

    structure: Tensor

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        self.about: dict[str, Any] = json.loads(graph.doc_string)
        self.factor = 255.0 * float(self.about["scale"])
        self.strides: tuple[int, ...] = tuple(self.about["strides"])
        self.channels: tuple[int, ...] = tuple(self.about["channels"])
        self._picture, self._maps = graph.input[0].name, [value.name for value in graph.output]
        content = np.frombuffer(graph.SerializeToString(deterministic=True), np.uint8)
        self.register_buffer(STRUCTURE, torch.from_numpy(content.copy()))
        self.taught = nn.ParameterDict()
        self._held: dict[str, tuple[str, str]] = {}
        roles = _roles(graph)
        for number, tensor in enumerate(graph.initializer):
            role = roles.get(tensor.name)
            if role is None:
                self._held[tensor.name] = ("constant", f"constant_{number}")
                fixed = torch.from_numpy(numpy_helper.to_array(tensor).copy())
                self.register_buffer(f"constant_{number}", fixed, persistent=False)
            else:
                key = f"{role}_{number}"
                self._held[tensor.name] = ("taught", key)
                self.taught[key] = nn.Parameter(torch.zeros(*tensor.dims))
                self.register_buffer(f"was_{key}", torch.zeros(*tensor.dims))
        self._steps = [_step(node) for node in graph.node]

    def forward(self, images: Tensor) -> list[Tensor]:
        """All maps."""
        values: dict[str, Tensor] = {self._picture: images.expand(-1, 3, -1, -1) * self.factor}
        for work, inputs, output in self._steps:
            values[output] = work(*(self._value(name, values) for name in inputs))
        return [values[name] for name in self._maps]

    def _value(self, name: str, values: Mapping[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        if name in values:
            return values[name]
        kind, key = self._held[name]
        return getattr(self, key) if kind == "constant" else self._weight(key)

    def _weight(self, key: str) -> Tensor:
        was: Tensor = getattr(self, f"was_{key}")
        if key not in self.taught:  # settled
            return was
        return was + self.taught[key] * was.square().mean().sqrt().clamp_min(_LEAST_UNIT)

    def settle(self) -> None:
        """Make what was and what was learnt one, for an export: nothing can be taught after that."""
        with torch.no_grad():
            settled = {key: self._weight(key).clone() for key in self.taught}
        for key, weight in settled.items():
            setattr(self, f"was_{key}", weight)
            del self.taught[key]

    @classmethod
    def of(cls, backbone: Backbone) -> Trunk:
        """The module of a cut network. StationFault for one that it cannot follow exactly."""
        graph = _plain(backbone)
        trunk = cls(graph)
        by_name = {tensor.name: tensor for tensor in backbone.graph.initializer}
        by_name |= {tensor.name: tensor for tensor in _constants(backbone.graph)}
        state = trunk.state_dict()
        for name, (kind, key) in trunk._held.items():
            if kind == "taught":
                state[f"was_{key}"] = torch.from_numpy(numpy_helper.to_array(by_name[name]).copy())
        trunk.load_state_dict(state)
        _prove(trunk, backbone)
        return trunk

    @classmethod
    def again(cls, tensors: Mapping[str, Tensor], prefix: str) -> Trunk:
        """An empty module of the structure that weights were saved with; `prefix` ends with a dot."""
        held = tensors.get(f"{prefix}{STRUCTURE}")
        if held is None:
            raise StationFault("these weights belong to a network without a backbone: choose its own recipe")
        try:
            return cls(onnx.GraphProto.FromString(held.cpu().numpy().tobytes()))
        except (DecodeError, KeyError, IndexError, ValueError) as error:
            raise StationFault(f"the backbone in these weights cannot be read ({error}): train again") from None


def _step(node: onnx.NodeProto) -> tuple[Callable[..., Tensor], tuple[str, ...], str]:
    # the weight of a Conv says its kernel
    left_out = {*_USUAL, "kernel_shape"} - {"dilations"} if node.op_type == "Conv" else set(_USUAL)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name not in left_out}
    return functools.partial(_OPERATORS[node.op_type], **attributes), tuple(node.input), node.output[0]


def _roles(graph: onnx.GraphProto) -> dict[str, str]:
    """`weight` or `bias`, for each constant that is taught on."""
    roles: dict[str, str] = {}
    for node in graph.node:
        for place in _TAUGHT.get(node.op_type, ()):
            if place < len(node.input):
                roles[node.input[place]] = "weight" if place == 1 and node.op_type == "Conv" else "bias"
    held = {tensor.name for tensor in graph.initializer}
    return {name: role for name, role in roles.items() if name in held}


def _constants(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """What the nodes `Constant` hold, under the names that others know it by."""
    found = []
    for node in graph.node:
        if node.op_type == "Constant":
            given = helper.get_attribute_value(node.attribute[0])
            value = numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)
            if value.dtype == np.float64 and not isinstance(given, onnx.TensorProto):
                value = value.astype(np.float32)  # `value_float` is one
            found.append(numpy_helper.from_array(value, node.output[0]))
    return found


def _followed(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> bool:
    """Whether this attribute means what the functions above make of it."""
    if node.op_type == "Conv" and attribute.name == "dilations":
        return True
    value = helper.get_attribute_value(attribute)
    if attribute.name in _USUAL:
        return value == _USUAL[attribute.name]
    if node.op_type == "AveragePool" and attribute.name == "pads":
        return value[:2] == value[2:]
    return True


def _plain(backbone: Backbone) -> onnx.GraphProto:
    """The graph with constants as such and weights left empty. StationFault names a foreign node."""
    graph = onnx.GraphProto()
    for node in backbone.graph.node:
        if node.op_type == "Constant":
            continue
        if node.op_type not in _OPERATORS or len([name for name in node.output if name]) != 1:
            raise StationFault(
                f"the backbone {backbone.name} uses the operator {node.op_type}, which cannot be taught on: "
                f"choose another backbone; known are {', '.join(sorted(_OPERATORS))}"
            )
        other = next((a.name for a in node.attribute if not _followed(node, a)), None)
        if other is not None:
            raise StationFault(
                f"the backbone {backbone.name} uses {node.op_type} with {other}, which cannot be taught on: "
                "export it with padding spelt out, or choose another backbone"
            )
        fresh = graph.node.add()
        fresh.CopyFrom(node)
        fresh.name = fresh.doc_string = ""
    graph.initializer.extend([*backbone.graph.initializer, *_constants(backbone.graph)])
    roles = _roles(graph)
    for tensor in graph.initializer:
        if tensor.name in roles:
            empty = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            tensor.CopyFrom(empty)
    graph.input.add().name = backbone.input_name
    for name in backbone.tensors:
        graph.output.add().name = name
    graph.doc_string = json.dumps(backbone.facts())
    return graph


def _prove(trunk: Trunk, backbone: Backbone) -> None:
    import onnxruntime as ort

    from training.anomaly.writing import Writing

    rng = np.random.default_rng(0)
    images = rng.random((1, 3, _PROBE_PX, _PROBE_PX), np.float32)
    writing = Writing(backbone.graph)
    model = writing.model(
        [(backbone.input_name, (1, 3, _PROBE_PX, _PROBE_PX))],
        [
            (name, (1, channels, _PROBE_PX // stride, _PROBE_PX // stride))
            for name, stride, channels in zip(
                backbone.tensors, backbone.strides, backbone.channels, strict=True
            )
        ],
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the machine may be inspecting
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {backbone.input_name: images * np.float32(trunk.factor)})
    try:
        with torch.no_grad():
            ours = trunk(torch.from_numpy(images))
    except (TypeError, RuntimeError, ValueError, IndexError) as error:
        line = str(error).splitlines()[0]
        raise StationFault(
            f"the backbone {backbone.name} cannot be followed in torch ({line}): choose another backbone"
        ) from None
    for mine, one in zip(ours, theirs, strict=True):
        expected = np.asarray(one)
        gap = float(np.abs(mine.numpy() - expected).max()) if mine.shape == expected.shape else np.inf
        if not gap <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise StationFault(
                f"the backbone {backbone.name} answers otherwise in torch than in ONNX Runtime (by {gap:.3g}): "
                "choose another backbone"
            )


def scale_for(load: Callable[[float], Backbone], pictures: Sequence[np.ndarray]) -> float:
    """What a pixel of 0..255 is multiplied by: 1/255, unless the features then show less of a picture.

    load: cuts the backbone for a scale; what the file itself says (metadata `gatesight.scale`) decides.
    pictures: uint8 (h, w[, 3]). A network that expects 0..255 sees next to nothing in 0..1: a head on
    YOLOX-nano in 0..1 learnt nothing in 500 steps.
    """
    stated = load(1.0).stated_scale
    if stated is not None:
        return stated
    small, large = (_share_of_content(Trunk.of(load(scale)), pictures) for scale in (1 / 255, 1.0))
    return 1 / 255 if small >= _AS_MUCH * large else 1.0


def _share_of_content(trunk: Trunk, pictures: Sequence[np.ndarray]) -> float:
    """How much of the maps is owed to what a picture shows: the mean over maps of |f(picture) - f(its mean
    grey)| / |f(picture)|. Spread over places would not do: maps follow the borders of an empty picture, too.
    """
    shares: list[float] = []
    for picture in pictures:
        planes = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
        shown = torch.from_numpy(planes[None].astype(np.float32) / 255)
        with torch.no_grad():
            both = zip(trunk(shown), trunk(torch.full_like(shown, float(shown.mean()))), strict=True)
            shares.extend(float((seen - empty).norm() / (seen.norm() + 1e-6)) for seen, empty in both)
    return float(np.mean(shares))
