# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a network is cut to take features from it: one rule for all who bring one.

At the last tensor of stride 8 and the last of stride 16 that lead to a deeper stride and do not depend on any
up-sampling. That is the end of each stage of the trunk, before a detector's neck (features of a neck fail: they
were trained to forget what is no object). A network whose last stride is 8 or 16 is cut at its last tensor of
that stride. Pure graph reading; onnx is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

STRIDES = (8, 16)
"""Fine enough for a scratch, coarse enough for what a texture is."""
PROBE_PX = 256  # shapes are inferred for an input of this size; strides divide it
_UPSAMPLING = frozenset({"Resize", "Upsample", "ConvTranspose", "DepthToSpace", "MaxUnpool"})
_LEAST_CHANNELS = 8


def shaped(model: onnx.ModelProto, picture: str, channels: int = 3) -> onnx.GraphProto:
    """The graph with shapes for a probe of PROBE_PX, whatever size it was exported for; changes `model`.

    picture: name of its input. ValueError where its shapes cannot be followed.
    """
    import onnx  # noqa: PLC0415 - heavy, and only those who bring a backbone need it
    from onnx import helper  # noqa: PLC0415

    graph = model.graph
    del graph.value_info[:]
    del graph.input[:]
    size = [1, channels, PROBE_PX, PROBE_PX]
    graph.input.append(helper.make_tensor_value_info(picture, onnx.TensorProto.FLOAT, size))
    outputs = [value.name for value in graph.output]
    del graph.output[:]
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True).graph
    except RuntimeError as e:
        raise ValueError(str(e)) from None


def feature_maps(graph: onnx.GraphProto) -> dict[str, tuple[int, int]]:
    """(stride, channels) of each feature map of a graph that `shaped` gave."""
    found = {}
    for value in (*graph.value_info, *graph.output):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if len(dims) == 4 and dims[2] == dims[3] and dims[2] > 0 and PROBE_PX % dims[2] == 0:
            found[value.name] = (PROBE_PX // dims[2], dims[1])
    return found


def stage_ends(
    graph: onnx.GraphProto, maps: Mapping[str, tuple[int, int]], strides: Sequence[int] = STRIDES
) -> dict[int, str]:
    """The tensor to cut at, by stride; a stride that the trunk does not have is not in it."""
    order = [name for node in graph.node for name in node.output]
    raised: set[str] = set()  # depends on an up-sampling
    parents: dict[str, set[str]] = {}
    for node in graph.node:
        above = node.op_type in _UPSAMPLING or any(name in raised for name in node.input)
        for name in node.output:
            parents[name] = set(node.input)
            if above:
                raised.add(name)
    trunk = [n for n in order if n not in raised and n in maps and maps[n][1] >= _LEAST_CHANNELS]
    ends = {}
    for stride in strides:
        here = [name for name in trunk if maps[name][0] == stride]
        leading = _ancestors([name for name in trunk if maps[name][0] == 2 * stride], parents)
        stage = [name for name in here if name in leading] or here
        if stage:
            ends[stride] = stage[-1]
    return ends


def _ancestors(names: Sequence[str], parents: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    wanted = list(names)
    while wanted:
        for parent in parents.get(wanted.pop(), ()):
            if parent not in seen:
                seen.add(parent)
                wanted.append(parent)
    return seen
