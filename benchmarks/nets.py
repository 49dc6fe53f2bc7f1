# SPDX-License-Identifier: AGPL-3.0-or-later
"""The network of the speed benchmarks: the shipped bundle, or a made-up one of about the same cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from weights.bundle import Bundle, load_bundle, write_bundle
from weights.signing import station_key

DEFAULT_BUNDLE = Path(__file__).resolve().parents[1] / "weights" / "default"
_ROWS = 300
# width and stride of each convolution
_LAYERS = ((16, 2), (32, 2), (64, 1), (64, 2), (128, 1), (128, 2), (128, 1), (256, 2), (256, 1))


def convolution_net(input_px: int) -> bytes:
    """A stack of 3x3 convolutions with seeded weights that ends in (1, 300, 6) rows of low scores."""
    rng = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "images", 3
    for i, (width, stride) in enumerate(_LAYERS):
        kernel = rng.normal(0, (2 / (9 * channels)) ** 0.5, (width, channels, 3, 3)).astype(np.float32)
        weights += [
            numpy_helper.from_array(kernel, f"w{i}"),
            numpy_helper.from_array(np.zeros(width, np.float32), f"b{i}"),
        ]
        nodes += [
            helper.make_node(
                "Conv", [name, f"w{i}", f"b{i}"], [f"c{i}"], pads=[1, 1, 1, 1], strides=[stride] * 2
            ),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"]),
        ]
        name, channels = f"r{i}", width
    slope = np.zeros((1, _ROWS, 6), np.float32)
    slope[..., 4] = 1e-3  # scores below every floor, and yet the network cannot be folded away
    base = np.zeros((1, _ROWS, 6), np.float32)
    base[..., 2:4] = 10
    weights += [
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
        numpy_helper.from_array(slope, "slope"),
        numpy_helper.from_array(base, "base"),
        numpy_helper.from_array(np.array([1, 1, 1], np.int64), "column"),
    ]
    nodes += [
        helper.make_node("ReduceMean", [name, "axes"], ["mean"], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["sure"]),
        helper.make_node("Reshape", ["sure", "column"], ["one"]),
        helper.make_node("Mul", ["one", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "base"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, input_px, input_px])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, _ROWS, 6])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model.SerializeToString()


def bundle_to_measure(folder: Path, input_px: int = 320) -> tuple[Bundle, str]:
    """The default bundle when it is there, else a made-up one written into `folder`; and its name."""
    if DEFAULT_BUNDLE.is_dir():
        return load_bundle(DEFAULT_BUNDLE, [DEFAULT_BUNDLE.parent / "trusted"]), "weights/default"
    key = station_key(folder / "keys")
    path = folder / "made-up"
    card: dict[str, Any] = {
        "name": "made-up",
        "licence": "AGPL-3.0-or-later",
        "input": {"width_px": input_px, "height_px": input_px},
        "classes": ["defect"],
    }
    write_bundle(path, model=convolution_net(input_px), card=card, key=key)
    return load_bundle(path, [folder / "keys"]), f"a made-up network of {len(_LAYERS)} convolutions"


def keys_of(bundle: Bundle) -> Path:
    """Folder whose keys trust this bundle, for a station.toml."""
    return DEFAULT_BUNDLE.parent / "trusted" if bundle.path == DEFAULT_BUNDLE else bundle.path.parent / "keys"
