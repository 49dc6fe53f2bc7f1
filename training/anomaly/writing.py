# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write an ONNX graph node by node, and cut one down to what some of its tensors need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 10


class Writing:
    """Nodes and constants in the order they are asked for; names are numbered, so equal work is equal bytes."""

    def __init__(self, start: GraphProto | None = None) -> None:
        self.nodes: list[NodeProto] = [_copy(node) for node in start.node] if start is not None else []
        self.weights: list[TensorProto] = list(start.initializer) if start is not None else []
        taken = {name for node in self.nodes for name in node.output} | {t.name for t in self.weights}
        self._prefix = "gs_"
        while any(name.startswith(self._prefix) for name in taken):  # a graph of ours, gone on with
            self._prefix = "g" + self._prefix
        self._made = 0

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append one operator with one output; returns the output's name."""
        name = self._name(op)
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """Add a weight; returns its name."""
        name = self._name("const")
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def model(
        self, inputs: Sequence[tuple[str, Sequence[int]]], outputs: Sequence[tuple[str, Sequence[int | str]]]
    ) -> onnx.ModelProto:
        """The checked model; inputs and outputs are float32."""

        def described(values: Sequence[tuple[str, Sequence[Any]]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in values]

        graph = helper.make_graph(self.nodes, "gatesight", described(inputs), described(outputs), self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model

    def _name(self, what: str) -> str:
        self._made += 1
        return f"{self._prefix}{what}_{self._made}"


def _copy(node: NodeProto) -> NodeProto:
    fresh = NodeProto()
    fresh.CopyFrom(node)
    return fresh


def cut(graph: GraphProto, tensors: Sequence[str]) -> GraphProto:
    """Only the nodes and weights that `tensors` need."""
    producer = {output: node for node in graph.node for output in node.output}
    wanted, kept = list(tensors), set()
    while wanted:
        node = producer.get(wanted.pop())
        if node is None or id(node) in kept:
            continue
        kept.add(id(node))
        wanted.extend(name for name in node.input if name)
    # ids hold while `producer` holds the nodes
    nodes = [node for node in producer.values() if id(node) in kept]
    nodes = list({id(node): node for node in nodes}.values())
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    inputs = [value for value in graph.input if value.name in used]
    return helper.make_graph(
        nodes, "cut", inputs, [helper.make_empty_tensor_value_info(t) for t in tensors], weights
    )
