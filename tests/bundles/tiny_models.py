# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small ONNX models with a known answer, so that a test knows what an engine must find."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT_PX = 32
ROWS = 3
FAILS_AT, SLOW_AT = range(70, 190), 255
"""Grey levels at which `moody_model` fails, and takes most of a second or more."""
_SLOW_TRIPS = 1_000_000


def bright_spot_model(*, channels: int = 1, free_batch: bool = True, input_px: int = INPUT_PX) -> bytes:
    """Three rows a picture whose score follows the picture's mean value and whose boxes are fixed.

    Row 0: box (4, 8, 12, 20), score = mean of the normalised picture, class 0.
    Row 1: box (0, 0, 32, 32), score = 1 - mean, class 1.   Row 2: all zero (padding of an NMS-free head).
    """
    batch: Any = "batch" if free_batch else 1
    base = np.zeros((1, ROWS, 6), np.float32)
    base[0, 0] = [4, 8, 12, 20, 0, 0]
    base[0, 1] = [0, 0, input_px, input_px, 1, 1]
    slope = np.zeros((1, ROWS, 6), np.float32)
    slope[0, 0, 4], slope[0, 1, 4] = 1, -1
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["m"]),
        helper.make_node("Mul", ["m", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "base"], ["output0"]),
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
        numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "column"),
        numpy_helper.from_array(slope, "slope"),
        numpy_helper.from_array(base, "base"),
    ]
    shape = [batch, channels, input_px, input_px]
    return saved_model(nodes, weights, picture=shape, out=[batch, ROWS, 6])


def moody_model(*, fails: bool = True) -> bytes:
    """Finds one "dark" thing in a black picture; cannot be run on a grey one; takes its time on a white one.

    For a grey one the rows are reshaped to a shape they do not have, which no engine can see before it runs. It
    is another one at each level: OpenVINO 2026.4 refuses a shape only once and then goes on with stale rows.
    For a white one a loop counts to a large number. Unless it `fails`, its table always has the same size.
    """
    rows = np.zeros((1, ROWS, 6), np.float32)
    rows[0, 0] = [0, 0, INPUT_PX, INPUT_PX, 0.9, 1]
    count = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["counted", "one_f"], ["counted_on"]),
        ],
        "count",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("counted", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("counted_on", TensorProto.FLOAT, [1]),
        ],
        [numpy_helper.from_array(np.array([1], np.float32), "one_f")],
    )
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "quarter"], ["is_grey_or_white"]),
        helper.make_node("Greater", ["mean", "three_quarters"], ["is_white"]),
        helper.make_node("Cast", ["is_grey_or_white"], ["grey_or_white"], to=TensorProto.INT64),
        helper.make_node("Cast", ["is_white"], ["white"], to=TensorProto.INT64),
        helper.make_node("Sub", ["grey_or_white", "white"], ["grey"]),
        helper.make_node("Mul", ["white", "trips"], ["many"]),
        helper.make_node("Squeeze", ["many"], ["times"]),
        helper.make_node("Loop", ["times", "yes", "zero_f"], ["counted_to"], body=count),
        helper.make_node("Min", ["counted_to", "zero_f"], ["nothing"]),
        helper.make_node("Mul", ["mean", "levels"], ["level"]),
        helper.make_node("Cast", ["level"], ["as_many"], to=TensorProto.INT64),
        helper.make_node("Mul", ["grey", "as_many"], ["or_none"]),
        helper.make_node("Mul", ["or_none", "one_row"], ["too_many"]),
        helper.make_node("Add", ["true_shape", "too_many"], ["shape"]),
        helper.make_node("Reshape", ["rows", "shape"], ["reshaped"]),
        helper.make_node("Add", ["reshaped" if fails else "rows", "nothing"], ["output0"]),
    ]
    numbers = {"one_row": [0, 1, 0], "true_shape": [1, ROWS, 6], "trips": [_SLOW_TRIPS]}
    weights = [
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
        numpy_helper.from_array(rows, "rows"),
        numpy_helper.from_array(np.array([256], np.float32), "levels"),
        numpy_helper.from_array(np.array([0.25], np.float32), "quarter"),
        numpy_helper.from_array(np.array([0.75], np.float32), "three_quarters"),
        numpy_helper.from_array(np.array([0], np.float32), "zero_f"),
        numpy_helper.from_array(np.array(True), "yes"),
        *(numpy_helper.from_array(np.array(n, np.int64), name) for name, n in numbers.items()),
    ]
    shape: list[Any] = [1, "rows_found" if fails else ROWS, 6]
    return saved_model(nodes, weights, picture=[1, 1, INPUT_PX, INPUT_PX], out=shape)


def card_dict(*, channels: int = 1, input_px: int = INPUT_PX, **changes: Any) -> dict[str, Any]:
    """A card that fits `bright_spot_model`."""
    card: dict[str, Any] = {
        "card_version": 1,
        "name": "bright spot",
        "licence": "AGPL-3.0-or-later",
        "input": {"name": "images", "width_px": input_px, "height_px": input_px, "channels": channels},
        "output": {"name": "output0", "kind": "boxes_n6"},
        "classes": ["bright", "dark"],
        "floor_score": 0.05,
    }
    return card | changes


def difference_model() -> bytes:
    """maps_nchw: the third plane as it is, one class; what a golden template's network does at its simplest."""
    size = INPUT_PX
    nodes = [helper.make_node("Slice", ["images", "from", "to", "axis"], ["output0"])]
    weights = [
        numpy_helper.from_array(np.array([value], np.int64), name)
        for name, value in (("from", 2), ("to", 3), ("axis", 1))
    ]
    return saved_model(nodes, weights, picture=["batch", 3, size, size], out=["batch", 1, size, size])


def score_model(of: str = "ReduceMean", *, input_px: int = INPUT_PX) -> bytes:
    """scores_nc of two classes: what `of` makes of the normalised picture, and one less that."""
    nodes = [
        helper.make_node(of, ["images", "axes"], ["value"], keepdims=0),
        helper.make_node("Reshape", ["value", "column"], ["v"]),
        helper.make_node("Sub", ["one", "v"], ["rest"]),
        helper.make_node("Concat", ["v", "rest"], ["output0"], axis=1),
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
        numpy_helper.from_array(np.array([-1, 1], np.int64), "column"),
        numpy_helper.from_array(np.array([[1.0]], np.float32), "one"),
    ]
    return saved_model(nodes, weights, picture=["batch", 1, input_px, input_px], out=["batch", 2])


def saved_model(nodes: list[Any], weights: list[Any], *, picture: list[Any], out: list[Any]) -> bytes:
    """A network from `images` of the shape `picture` to `output0` of the shape `out`, checked."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, picture)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, out)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model.SerializeToString()
