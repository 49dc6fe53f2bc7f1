# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a station checks of an ONNX graph before any engine sees it.

Refused: pickles and zip archives under an .onnx name, external data, custom operator domains, model-local
functions, training graphs, and inputs or outputs that are not what the card says. Source of the field
names: onnx.proto3 (ONNX IR).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError

from inspection.types import StationFault
from weights.card import Card

_STANDARD_DOMAINS = ("", "ai.onnx")
_ROW_WORDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What an output kind must look like."""

    words: str
    remedy: str
    dimensions: int  # with the batch's
    classes_at: int | None = None  # dimension that must be the number of classes

    def fits(self, dims: list[int | None], classes: int) -> bool:
        if self.classes_at is None:  # rows of boxes; a single table may lack the batch dimension
            return len(dims) in (2, 3) and dims[-1] == _ROW_WORDS
        return len(dims) == self.dimensions and dims[self.classes_at] == classes


_WANTED = {
    "boxes_n6": _Wanted(
        words=f"{_ROW_WORDS} words", remedy="export the model end to end (NMS-free)", dimensions=3
    ),
    "maps_nchw": _Wanted(
        words="one map a class (batch, classes, h, w)",
        remedy="export one map for each class of the card",
        dimensions=4,
        classes_at=1,
    ),
    "scores_nc": _Wanted(
        words="one score a class (batch, classes)",
        remedy="export one score for each class of the card",
        dimensions=2,
        classes_at=1,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What the checked graph takes: `fixed_batch` is None where the batch dimension is free."""

    input_name: str
    output_name: str
    channels: int
    height_px: int
    width_px: int
    fixed_batch: int | None
    opset: int
    batched: bool = True  # False: a table of boxes without a batch dimension


def check_onnx(data: bytes, card: Card, source: str) -> ModelShape:
    """Parse and check a model's bytes against its card; StationFault with one sentence otherwise."""
    model = _parse(data, source)
    if model.functions:
        raise StationFault(
            f"{source} defines functions of its own ({model.functions[0].name}): export without them."
        )
    if model.training_info:
        raise StationFault(f"{source} carries a training graph: export it for inference.")
    for imported in model.opset_import:
        if imported.domain not in _STANDARD_DOMAINS:
            raise StationFault(
                f"{source} needs the custom operator domain {imported.domain!r}: only plain ONNX loads."
            )
    for graph in _graphs(model.graph):
        _check_graph(graph, source)
    return _check_shapes(model, card, source)


def _parse(data: bytes, source: str) -> onnx.ModelProto:
    if data[:2] == b"PK" or (data[:1] == b"\x80" and data[1:2] <= b"\x05"):
        raise StationFault(
            f"{source} is a pickle or a torch archive, which can run code: export the model to ONNX."
        )
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as e:
        raise StationFault(f"{source} is not an ONNX model: export it again.") from e
    if not model.graph.node:
        raise StationFault(f"{source} is not an ONNX model: it holds no graph.")
    return model


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every subgraph inside If, Loop and Scan."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _check_graph(graph: onnx.GraphProto, source: str) -> None:
    for node in graph.node:
        if node.domain not in _STANDARD_DOMAINS:
            raise StationFault(
                f"{source} uses the custom operator {node.domain}.{node.op_type}: only plain ONNX loads."
            )
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise StationFault(
                f"{source} keeps weights in another file ({tensor.name}): export it with data inside."
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for sparse in attribute.sparse_tensors:
                yield from (sparse.values, sparse.indices)


def _check_shapes(model: onnx.ModelProto, card: Card, source: str) -> ModelShape:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise StationFault(
            f"{source} has {len(inputs)} inputs and {len(model.graph.output)} outputs: it must have one each."
        )
    picture, table = inputs[0], model.graph.output[0]
    want = [None, card.input.channels, card.input.height_px, card.input.width_px]
    have = _dims(picture)
    if (
        picture.name != card.input.name
        or picture.type.tensor_type.elem_type != onnx.TensorProto.FLOAT
        or len(have) != len(want)
        or have[1:] != want[1:]
    ):
        raise StationFault(
            f"{source} takes {picture.name!r} {have}, its card says float32 {card.input.name!r} {want}:"
            " card and model do not belong together."
        )
    out = _dims(table)
    batch = have[0]
    if table.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise StationFault(f"{source} gives {table.name!r} that is not float32: export it as float32.")
    wanted = _WANTED[card.output.kind]
    if table.name != card.output.name or not wanted.fits(out, len(card.classes)):
        raise StationFault(
            f"{source} gives {table.name!r} {out}, its card says {card.output.name!r} of {wanted.words}: "
            f"{wanted.remedy}."
        )
    batched = len(out) == wanted.dimensions
    if not batched and batch != 1:
        raise StationFault(
            f"{source} gives one table for a free batch: export it with batch 1 or with (batch, N, 6)."
        )
    opset = max((i.version for i in model.opset_import if i.domain in _STANDARD_DOMAINS), default=0)
    return ModelShape(
        input_name=picture.name,
        output_name=table.name,
        channels=card.input.channels,
        height_px=card.input.height_px,
        width_px=card.input.width_px,
        fixed_batch=batch,
        opset=opset,
        batched=batched,
    )


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    """Shape with None for a free dimension."""
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") else None for d in dims]
