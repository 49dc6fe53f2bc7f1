# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backbone is cut where its stride changes; what is no backbone is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from datasets.backbone import Backbone, backbone_taps
from datasets.features import crop_of, describer, plain_features
from datasets.labels import Label
from inspection.types import Box, StationFault
from tests.datasets.drawn import surface
from tests.teach.conftest import small_backbone
from training.anomaly.backbone import load_backbone


def network(
    strides: tuple[int, ...] = (2, 2, 2, 1, 2, 1, 2, 1), side_px: int = 64, *, head: bool = True
) -> bytes:
    """Convolutions c0, c1, ...; with a head that ends in one row, as a detector's does."""
    rng = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "images", 3
    for i, stride in enumerate(strides):
        weights.append(
            numpy_helper.from_array(rng.normal(0, 0.3, (8, channels, 3, 3)).astype(np.float32), f"w{i}")
        )
        nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"c{i}"], pads=[1] * 4, strides=[stride] * 2))
        name, channels = f"c{i}", 8
    shape: list[int] = [1, 8]
    if head:
        weights.append(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
        nodes.append(helper.make_node("ReduceMean", [name, "axes"], ["out"], keepdims=0))
        name = "out"
    else:
        shape = [1, 8, *[side_px // int(np.prod(strides))] * 2]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side_px, side_px])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model.SerializeToString()


def test_a_detector_is_cut_at_the_last_map_of_stride_8_and_of_16() -> None:
    assert backbone_taps(onnx.load_from_string(network())) == ("c3", "c5")


def test_teaching_and_describing_cut_a_network_at_the_same_place(tmp_path: Path) -> None:
    """A branch of the trunk that ends there, a neck that goes up and down again, and outputs that are maps."""
    for number, content in enumerate(
        (network(), network(head=False), small_backbone().SerializeToString(), _with_branch())
    ):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        assert Backbone(path).taps == load_backbone(path, scale=1.0).tensors
    assert Backbone(path).taps == ("c3", "c5")  # not the branch, which comes later in the file


def _with_branch() -> bytes:
    """The network with a side branch at stride 8 that leads nowhere deeper, last of its stride in the file."""
    model = onnx.load_from_string(network())
    index = next(n for n, node in enumerate(model.graph.node) if "c3" in node.output)
    model.graph.node.insert(index + 1, helper.make_node("Relu", ["c3"], ["side"]))
    model.graph.output.append(helper.make_empty_tensor_value_info("side"))
    return model.SerializeToString()


def test_a_network_that_gives_maps_is_read_as_it_is() -> None:
    assert backbone_taps(onnx.load_from_string(network((2, 2), head=False))) == ("c1",)


def test_a_backbone_describes_pictures_of_any_size_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(network())
    backbone = Backbone(path)
    grey = surface(1)
    rows = backbone([grey, np.repeat(grey[..., None], 3, axis=2), grey[:40, :90], grey[:3, :3]])
    assert rows.shape == (4, 32)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert np.allclose(rows[0], rows[1])
    assert not np.allclose(rows[0], rows[2])
    assert backbone([]).shape[0] == 0


def test_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for content in (b"not a network", b"", network((2, 2))):
        path.write_bytes(content)
        with pytest.raises(StationFault, match=r"backbone"):
            Backbone(path)
    path.write_bytes(network())
    with pytest.raises(StationFault, match="no tensor named c99"):
        Backbone(path, taps=["c99"])
    with pytest.raises(StationFault, match="no such backbone"):
        describer(tmp_path / "gone.onnx")


def test_the_brought_backbone_comes_first_and_plain_is_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "brought.onnx"
    path.write_bytes(network())
    monkeypatch.setenv("GATESIGHT_BACKBONE", str(path))
    assert describer()[1] == "brought.onnx"
    assert describer("plain") == (plain_features, "plain")


def test_plain_features_see_a_defect_and_bear_any_picture() -> None:
    a, b = surface(1), surface(1).copy()
    b[40:50, 40:50] = 0
    rows = plain_features([a, b, a[:1, :1], np.repeat(a[..., None], 3, axis=2)])
    assert np.isfinite(rows).all()
    assert not np.allclose(rows[0], rows[1])
    assert np.allclose(rows[0], rows[3], atol=1e-2)


@pytest.mark.parametrize("corners", [(5, 5, 9, 9), (-5, -5, 3, 3), (90, 90, 120, 120), (200, 200, 210, 210)])
def test_a_crop_is_never_empty(corners: tuple[float, float, float, float]) -> None:
    box = Box(x0_px=corners[0], y0_px=corners[1], x1_px=corners[2], y1_px=corners[3])
    assert min(crop_of(surface(1), Label(class_name="spot", box=box)).shape) >= 1
