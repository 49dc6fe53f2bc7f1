# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole detector as one ONNX graph of standard operators: backbone, basis, bank, pose, score."""

from __future__ import annotations

import numpy as np

from training.anomaly.backbone import Backbone
from training.anomaly.features import INPUT_NAME, Frame, averaged, on_grid, start_graph
from training.anomaly.modes import Modes
from training.anomaly.taught import SHARPNESS, Pose, Taught
from training.anomaly.writing import Writing

OUTPUT_NAME = "output0"
_ENTRIES_AT_ONCE = 250
_ROUGH = 1e-12  # under the root: rounding may leave a distance of nothing a hair below it


def detector_model(backbone: Backbone, taught: Taught, frame: Frame) -> bytes:
    """Bytes of the graph: `images` (1, 3, h, w) -> `output0` (1, 1, lines, columns), scores 0..1."""
    writing = start_graph(backbone)
    turned = _turned(writing, backbone, taught, frame)
    shares: list[str] = []
    if len(taught.bank):
        near = _bank(writing, turned, taught.bank)
        shares.append(writing.node("Mul", [near, _number(writing, 1 / taught.bank_unit)]))
    if taught.pose is not None:
        away = _pose(writing, turned, taught.pose, frame)
        shares.append(writing.node("Mul", [away, _number(writing, 1 / taught.pose_unit)]))
    total = shares[0] if len(shares) == 1 else writing.node("Add", shares)
    for _ in range(taught.smoothings):
        total = averaged(writing, total)
    ratio = writing.node("Mul", [total, _number(writing, 1 / taught.limit)])
    for _ in range(SHARPNESS.bit_length() - 1):
        ratio = writing.node("Mul", [ratio, ratio])
    score = writing.node("Div", [ratio, writing.node("Add", [ratio, _number(writing, 1.0)])])
    writing.nodes[-1].output[0] = OUTPUT_NAME
    assert score  # noqa: S101 - renamed to the output above
    model = writing.model(
        [(INPUT_NAME, (1, 3, frame.height_px, frame.width_px))],
        [(OUTPUT_NAME, (1, 1, frame.lines, frame.columns))],
    )
    return model.SerializeToString()


def _number(writing: Writing, value: float) -> str:
    return writing.constant(np.array(value, np.float32))


def _turned(writing: Writing, backbone: Backbone, taught: Taught, frame: Frame) -> str:
    """Features in the basis. Turning comes before enlarging: both are linear, and few channels are cheaper."""
    basis = taught.basis
    weights = (basis.axes / basis.spread[:, None]).T  # (kept, channels)
    shift = -(basis.mean / basis.spread) @ basis.axes
    total, start = "", 0
    for tensor, stride, channels in zip(backbone.tensors, backbone.strides, backbone.channels, strict=True):
        part = writing.constant(weights[:, start : start + channels, None, None].astype(np.float32))
        start += channels
        inputs = [tensor, part] + ([] if total else [writing.constant(shift.astype(np.float32))])
        level = on_grid(writing, writing.node("Conv", inputs, kernel_shape=[1, 1]), stride, frame)
        total = level if not total else writing.node("Add", [total, level])
    return total


def _bank(writing: Writing, turned: str, bank: np.ndarray) -> str:
    """Distance to the nearest entry: |z|^2 + min(|b|^2 - 2 z.b), the products as 1 x 1 convolutions.

    A few hundred entries at a time: their products stay in the cache until the least is taken (58 ms at once,
    29 ms so).
    """
    axis = writing.constant(np.array([1], np.int64))
    least = []
    for part in np.array_split(bank, -(-len(bank) // _ENTRIES_AT_ONCE)):
        entries = writing.constant((-2 * part)[:, :, None, None].astype(np.float32))
        lengths = writing.constant(np.einsum("ij,ij->i", part, part).astype(np.float32))
        products = writing.node("Conv", [turned, entries, lengths], kernel_shape=[1, 1])
        least.append(writing.node("ReduceMin", [products, axis], keepdims=1))
    nearest = least[0] if len(least) == 1 else writing.node("Min", least)
    own = writing.node("ReduceSum", [writing.node("Mul", [turned, turned]), axis], keepdims=1)
    gap = writing.node("Max", [writing.node("Add", [nearest, own]), _number(writing, _ROUGH)])
    return writing.node("Sqrt", [gap])


def _pose(writing: Writing, turned: str, pose: Pose, frame: Frame) -> str:
    """Root mean square of the whitened deviation from each position's mean, once the modes are off."""
    size = pose.components
    leading = writing.node(
        "Slice",
        [turned, *(writing.constant(np.array([v], np.int64)) for v in (0, size, 1))],
    )
    rows = writing.node("Reshape", [leading, writing.constant(np.array([1, size, -1], np.int64))])
    rows = writing.node("Transpose", [rows], perm=[2, 0, 1])  # (positions, 1, size)
    if pose.modes is not None and len(pose.modes.ways):
        rows = _local(writing, rows, pose.modes)
    away = writing.node("Sub", [rows, writing.constant(pose.mean[:, None, :])])
    white = writing.node("MatMul", [away, writing.constant(pose.whitening)])
    axis = writing.constant(np.array([2], np.int64))
    mean = writing.node("ReduceMean", [writing.node("Mul", [white, white]), axis], keepdims=1)
    shape = writing.constant(np.array([1, 1, frame.lines, frame.columns], np.int64))
    return writing.node("Reshape", [writing.node("Sqrt", [mean]), shape])


def _local(writing: Writing, rows: str, modes: Modes) -> str:
    """`Modes.without`: rows (positions, 1, size) less what the ways explain of them."""
    flat = writing.node("Reshape", [rows, writing.constant(np.array([1, -1], np.int64))])
    away = writing.node("Sub", [flat, writing.constant(modes.centre.reshape(1, -1))])
    ways = writing.constant(modes.ways)  # once in the file, for both ways through it
    used = writing.node("Gemm", [away, ways], transB=1)
    used = writing.node("Min", [used, writing.constant(modes.reach[None])])
    used = writing.node("Max", [used, writing.constant(-modes.reach[None])])
    left = writing.node("Sub", [flat, writing.node("Gemm", [used, ways])])
    return writing.node("Reshape", [left, writing.constant(np.array([-1, 1, modes.centre.shape[1]], np.int64))])
