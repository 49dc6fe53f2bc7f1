# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small ONNX models with a known answer, so that a test knows what an engine must find."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT_PX = 32
ROWS = 3


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
    graph = helper.make_graph(
        nodes,
        "bright_spot",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, channels, input_px, input_px])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, ROWS, 6])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model.SerializeToString()


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
