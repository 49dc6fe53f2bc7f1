# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks that stand on a backbone somebody trained before, and what pixel networks are told of mistakes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from datasets.coco import read_coco
from datasets.labels import Label
from inspection.types import Box, StationFault
from tests.training import drawn
from training.recipe import TrainingRecipe, load_training_recipe

torch: Any = pytest.importorskip("torch", reason="training extras are not installed")

from training.anomaly.backbone import OWN_BACKBONE, load_backbone  # noqa: E402
from training.trunk import STRIDES, Trunk, scale_for  # noqa: E402
from training.yolo_folder import SHOWN_NAME, write_folder  # noqa: E402


def _weights(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def _theirs(path: Path, *, foreign: str | None = None) -> Path:
    """A small backbone of strides 2 to 16, with a pooling, a slice and activations as others have them."""
    nodes = [
        helper.make_node("Slice", ["images", "from", "to", "axes", "steps"], ["halved"]),  # stride 2
        helper.make_node("Conv", ["halved", "w1", "b1"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["silu"]),
        helper.make_node("MaxPool", ["silu"], ["p4"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node(
            "Conv", ["p4", "w2"], ["c8"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1], group=2
        ),
        helper.make_node(foreign or "LeakyRelu", ["c8"], ["r8"]),
        helper.make_node(
            "Conv", ["r8", "w3", "b3"], ["c16"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Clip", ["c16", "low", "high"], ["maps"]),
    ]
    held = [
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in (("from", [0, 0]), ("to", [2**40, 2**40]), ("axes", [2, 3]), ("steps", [2, 2]))
    ]
    held += [_weights("w1", 8, 3, 3, 3), _weights("b1", 8), _weights("w2", 16, 4, 3, 3)]
    held += [_weights("w3", 16, 16, 3, 3), _weights("b3", 16)]
    held += [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("low", 0.0), ("high", 6.0))]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 16, 4, 4])],
        held,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def _cut(path: Path, scale: float = 1.0) -> Any:
    return load_backbone(path, scale=scale, strides=STRIDES)


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_trunk_answers_as_the_file_does_and_builds_itself_again_from_its_weights(whose: str, tmp_path: Path):
    backbone = _cut(OWN_BACKBONE if whose == "ours" else _theirs(tmp_path / "theirs.onnx"))
    trunk = Trunk.of(backbone)  # holds it against ONNX Runtime
    images = torch.rand(2, 1, 96, 64, generator=torch.Generator().manual_seed(1))
    maps = trunk(images)
    assert [(m.shape[1], 96 // m.shape[2], 64 // m.shape[3]) for m in maps] == [
        (channels, stride, stride) for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]
    tensors = {f"model.0.{name}": tensor for name, tensor in trunk.state_dict().items()}
    again = Trunk.again(tensors, "model.0.")
    again.load_state_dict(trunk.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(maps, again(images), strict=True))
    assert len(list(trunk.parameters())) > 4  # it can be taught on


def test_a_step_of_the_optimizer_moves_every_weight_by_its_own_measure(tmp_path: Path):
    path = _theirs(tmp_path / "theirs.onnx")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "w1":  # as of a network that takes 0..255
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 100, "w1"))
    onnx.save(model, path)
    trunk = Trunk.of(_cut(path))
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    before = [one.detach() for one in trunk(images)]
    optimizer = torch.optim.SGD(trunk.parameters(), lr=1.0)
    for parameter in trunk.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)  # a hundredth in each number, three layers deep
    optimizer.step()
    for was, now in zip(before, trunk(images), strict=True):
        assert 0 < float((now.detach() - was).norm() / was.norm()) < 0.2


def test_a_trunk_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import training.trunk

    spoilt = {**training.trunk._OPERATORS, "LeakyRelu": lambda x, alpha=0.1: x.clamp(min=0)}
    monkeypatch.setattr(training.trunk, "_OPERATORS", spoilt)
    with pytest.raises(StationFault, match=r"theirs\.onnx answers otherwise in torch"):
        Trunk.of(_cut(_theirs(tmp_path / "theirs.onnx")))


def test_an_operator_that_is_not_known_is_named(tmp_path: Path):
    with pytest.raises(StationFault, match="uses the operator Mish"):
        Trunk.of(_cut(_theirs(tmp_path / "theirs.onnx", foreign="Mish")))


@pytest.mark.parametrize(
    ("operator", "attribute", "value"),
    [
        ("Conv", "auto_pad", "SAME_UPPER"),
        ("AveragePool", "ceil_mode", 1),
        ("AveragePool", "pads", [0, 0, 1, 1]),
    ],
)
def test_what_an_attribute_means_is_followed_or_refused(
    operator: str, attribute: str, value: object, tmp_path: Path
):
    usual = {"strides": [2, 2], "kernel_shape": [3, 3]} | ({"group": 2} if operator == "Conv" else {})
    inputs = ["p4", "w2"] if operator == "Conv" else ["p4"]
    node = helper.make_node(operator, inputs, ["c8"], **usual, **{attribute: value})
    path = _theirs(tmp_path / "theirs.onnx")
    model = onnx.load(path)
    place = next(n for n, one in enumerate(model.graph.node) if one.output[0] == "c8")
    model.graph.node[place].CopyFrom(node)
    if node.op_type == "AveragePool":
        pooled = next(tensor for tensor in model.graph.initializer if tensor.name == "w3")
        pooled.CopyFrom(_weights("w3", 16, 8, 3, 3))
    onnx.save(model, path)
    with pytest.raises(StationFault, match=f"{operator} with {attribute}"):
        Trunk.of(_cut(path))


def test_constants_and_slices_are_read_as_onnx_writes_them(tmp_path: Path):
    path = _theirs(tmp_path / "theirs.onnx")
    model = onnx.load(path)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    nodes[0].input[:] = ["images", "from4", "to4", "", "steps4"]  # no axes: all of them
    nodes[-1].input[:] = ["c16", "zero", "high"]
    zero = helper.make_node("Constant", [], ["zero"], value_float=0.0)
    model.graph.node.extend([zero, *nodes])
    for name, value in (("from4", [0, 0, 0, 0]), ("to4", [9999] * 4), ("steps4", [1, 1, 2, 2])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    onnx.save(model, path)
    assert len(Trunk.of(_cut(path))(torch.rand(1, 1, 64, 64))) == 3  # held against ONNX Runtime


def test_an_exported_network_has_its_weights_settled(tmp_path: Path):
    trunk = Trunk.of(_cut(_theirs(tmp_path / "theirs.onnx")))
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.add_(0.05)
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    before = [one.detach() for one in trunk(images)]
    trunk.settle()
    assert not list(trunk.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, trunk(images), strict=True))


def test_weights_of_a_network_without_a_backbone_are_refused():
    with pytest.raises(StationFault, match="without a backbone"):
        Trunk.again({"model.0.conv.weight": torch.zeros(1)}, "model.0.")


def test_pixels_are_shown_to_a_backbone_as_it_expects_them(tmp_path: Path):
    pictures = [np.random.default_rng(n).integers(60, 200, (64, 64), np.uint8) for n in range(3)]
    assert scale_for(lambda scale: _cut(OWN_BACKBONE, scale), pictures) == _cut(OWN_BACKBONE).stated_scale
    silent = onnx.load(OWN_BACKBONE)
    del silent.metadata_props[:]
    onnx.save(silent, tmp_path / "silent.onnx")
    faint = [np.random.default_rng(n).normal(70, 8, (64, 64)).astype(np.uint8) for n in range(3)]
    assert scale_for(lambda scale: _cut(tmp_path / "silent.onnx", scale), faint) == 1.0
    path = _theirs(tmp_path / "theirs.onnx")
    assert scale_for(lambda scale: _cut(path, scale), pictures) == 1 / 255  # its maps differ there as well
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "w1":  # weights so small that only 0..255 moves anything
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 100, "w1"))
        elif tensor.name == "b1":
            tensor.CopyFrom(numpy_helper.from_array(np.full(8, 0.5, np.float32), "b1"))
    onnx.save(model, path)
    assert scale_for(lambda scale: _cut(path, scale), pictures) == 1.0


def _told(odds: Any, masks: Any) -> tuple[Any, dict[str, Any]]:
    from training.pixel_networks import OnBackbone, PixelLoss

    network = OnBackbone(Trunk.of(_cut(OWN_BACKBONE)), odds.shape[1])
    return PixelLoss(network)(odds.log(), {"semantic_mask": masks})


def test_overlap_does_not_push_classes_that_a_batch_does_not_show():
    masks = torch.zeros(1, 8, 8, dtype=torch.uint8)
    masks[0, 2:4, 2:4] = 1
    odds = torch.full((1, 4, 4, 4), 0.1)
    odds[:, 0] = 0.7
    moved = odds.clone()
    moved[:, 2], moved[:, 3] = 0.02, 0.18  # between two classes that are not there
    assert _told(odds, masks)[1]["dice_loss"] == pytest.approx(float(_told(moved, masks)[1]["dice_loss"]))
    missed = odds.clone()
    missed[:, 1, 1, 1], missed[:, 0, 1, 1] = 0.02, 0.78  # away from the one that is, where it is
    assert _told(missed, masks)[1]["dice_loss"] > _told(odds, masks)[1]["dice_loss"]


def test_a_line_thinner_than_a_cell_of_the_map_counts_and_unknown_pixels_do_not():
    masks = torch.zeros(1, 16, 16, dtype=torch.uint8)
    masks[0, 5] = 1  # one line of sixteen; the map has four
    odds = torch.full((1, 2, 4, 4), 0.5)
    seen = odds.clone()
    seen[:, 1, 1], seen[:, 0, 1] = 0.9, 0.1
    assert _told(seen, masks)[1]["dice_loss"] < _told(odds, masks)[1]["dice_loss"]
    unknown = torch.full_like(masks, 255)
    unknown[0, :, :4] = 0
    wrong = odds.clone()
    wrong[..., 1:] = torch.tensor([0.01, 0.99])[None, :, None, None]  # where nothing is known
    one, other = _told(odds, unknown), _told(wrong, unknown)
    assert float(one[0]) == pytest.approx(float(other[0]))


def test_an_epoch_shows_defects_as_often_as_the_recipe_wants(tmp_path: Path):
    taught = read_coco(drawn.draw(tmp_path / "set", 12, 4))  # eight defective, four good
    few = replace(taught, pictures=tuple(p for p in taught.pictures if p.good) + taught.pictures[1:2])
    recipe = TrainingRecipe(
        name="t",
        network="defect_sem",
        task="segment",
        input_px=64,
        channels=1,
        policy="none@1",
        defective_share=0.6,
    )
    data = write_folder(recipe, few, taught, tmp_path / "data")
    shown = Counter((tmp_path / "data" / SHOWN_NAME).read_text().splitlines())
    marked = {number for number, picture in enumerate(few.pictures) if picture.labels}
    often = sum(times for line, times in shown.items() if int(Path(line).stem) in marked)
    assert len(shown) == len(few.pictures)
    assert 0.6 <= often / shown.total() < 0.7
    assert json.loads(data.read_text())["train"] == SHOWN_NAME


@pytest.mark.parametrize(("task", "network"), [("detect", "defect_p2"), ("segment", "defect_sem")])
def test_a_picture_whose_only_mark_is_too_thin_to_be_taught_is_not_shown_more_often(
    tmp_path: Path, task: str, network: str
):
    taught = read_coco(drawn.draw(tmp_path / "set", 12, 4))
    # 0.9 px of the input: no box is written of it, and a map of pixels keeps it
    thin = Label(class_name="bar", box=Box(x0_px=20, y0_px=20, x1_px=40, y1_px=21))
    pictures = list(taught.pictures)
    pictures[1] = replace(pictures[1], labels=(thin,))
    kept = tuple(p for p in pictures if p.good) + tuple(pictures[1:3])  # four good, one thin, one thick
    recipe = TrainingRecipe(
        name="t",
        network=network,
        task=task,
        input_px=64,
        channels=1,
        policy="none@1",
        defective_share=0.75,
    )
    write_folder(recipe, replace(taught, pictures=kept), taught, tmp_path / "data")
    shown = Counter(int(Path(line).stem) for line in (tmp_path / "data" / SHOWN_NAME).read_text().splitlines())
    if task == "detect":
        assert not (tmp_path / "data/train/labels/000004.txt").read_text()
    marked = {5} if task == "detect" else {4, 5}
    assert {number for number, times in shown.items() if times > 1} == marked
    assert sum(shown[number] for number in marked) >= 0.75 * shown.total()


def test_a_share_that_is_none_is_refused(tmp_path: Path):
    path = drawn.write_recipe(tmp_path / "r.toml")
    for wrong in ("1.0", "-0.1"):
        path.write_text(
            f"defective_share = {wrong}\n"
            + drawn.RECIPE.format(network="defect_p2", task="detect", epochs=1, weights="last")
        )
        with pytest.raises(StationFault, match="defective_share"):
            load_training_recipe(str(path))


def test_a_network_on_a_backbone_goes_from_labels_to_a_bundle_and_is_gone_on_with(tmp_path: Path):
    drawn.material(tmp_path)
    drawn.write_recipe(
        tmp_path / "recipe.toml", network="backbone_sem", task="segment", epochs=2, weights="last"
    )
    text = (tmp_path / "recipe.toml").read_text()
    (tmp_path / "recipe.toml").write_text("defective_share = 0.75\n" + text + "freeze = [0]\n")
    theirs = _theirs(tmp_path / "theirs.onnx")
    drawn.train(tmp_path, tmp_path / "first", "--start", str(theirs))
    card = json.loads((tmp_path / "first/bundle/card.json").read_text())
    assert card["training"]["backbone"]["name"] == "theirs.onnx"
    assert card["training"]["parity"]["verdicts"]["verdict_flips"] == 0
    exported = onnx.load(tmp_path / "first/bundle/model.onnx").graph
    assert not {"ReduceMean", "Sqrt"} & {node.op_type for node in exported.node}  # no weights computed there
    # the same command with other weights under it is another job
    drawn.train(tmp_path, tmp_path / "first", "--resume", code=3)
    drawn.train(tmp_path, tmp_path / "second", "--start", str(tmp_path / "first"))
    second = json.loads((tmp_path / "second/bundle/card.json").read_text())
    assert second["training"]["start_sha256"] == card["training"]["weights_sha256"]
    assert second["training"]["backbone"] == card["training"]["backbone"]  # whose licence it is under
    drawn.write_recipe(tmp_path / "recipe.toml", network="defect_sem", task="segment")
    refused = drawn.train(tmp_path, tmp_path / "third", "--start", str(theirs), code=3)
    assert "a backbone is for recipes with network 'backbone_sem'" in refused.stderr
