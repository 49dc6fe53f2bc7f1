# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a network is cut, and that the exported graph says what was taught, in every engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from inspection.types import StationFault
from tests.teach.conftest import small_backbone
from training.anomaly.backbone import Backbone, load_backbone
from training.anomaly.bundling import Ready, _card
from training.anomaly.features import Frame, Looking, Shown
from training.anomaly.gaussian import PoseSums
from training.anomaly.graph import detector_model
from training.anomaly.modes import Modes
from training.anomaly.parity import prove_parity
from training.anomaly.taught import Basis, Pose, Taught
from training.anomaly.threshold import Limit
from weights.card import Card, parse_card

FRAME = Frame(width_px=96, height_px=64, stride=8, average=True, smoothings=3)
WHOLE = (slice(0, FRAME.lines), slice(0, FRAME.columns))


def _loaded(path: Path, **given: object) -> Backbone:
    return load_backbone(path, **({"scale": 1.0} | given))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def pictures() -> list[Shown]:
    rng = np.random.default_rng(8)
    smooth = rng.integers(0, 255, (10, 8, 12, 3), np.uint8)
    return [Shown(pixels=np.kron(p, np.ones((8, 8, 1), np.uint8)), inside=WHOLE) for p in smooth]


def _taught(
    looking: Looking, pictures: list[Shown], *, pose: bool, modes: bool
) -> tuple[Taught, list[np.ndarray]]:
    features = [looking.features(item.pixels) for item in pictures]
    basis = Basis.of(features)
    turned = [basis.turn(f) for f in features]
    leading = np.stack([t[:, :32] for t in turned[:6]])
    found = Modes.of(leading, 3) if modes else None
    if found is not None:
        found = replace(found, reach=found.reach / 4)  # so short that some of these pictures go beyond
    sums = PoseSums.of(leading if found is None else found.without(leading))
    return Taught(
        basis=basis,
        bank=np.concatenate(turned[:6])[::3].copy(),
        pose=Pose.of(sums, found) if pose else None,
        bank_unit=3.0,
        pose_unit=1.5,
        limit=0.6,
        lines=FRAME.lines,
        columns=FRAME.columns,
        smoothings=FRAME.smoothings,
    ), turned


def _checked_card(backbone: Backbone, taught: Taught) -> Card:
    ready = Ready(
        backbone=backbone,
        steps=(),
        frame=FRAME,
        taught=taught,
        limit=Limit(value=taught.limit, good=10, pictures=10, above=0, wanted=0.1),
        name="t",
        method={},
        data={},
    )
    return parse_card(json.dumps(_card(ready, parity=None)).encode(), "a test's card")


@pytest.mark.parametrize(
    ("pose", "modes", "order", "centred"),
    [(False, False, "rgb", False), (True, False, "rgb", False), (True, True, "bgr", True)],
)
def test_numpy_onnxruntime_and_the_stations_openvino_agree(  # noqa: PLR0917 - fixtures
    backbone: Path, pictures: list[Shown], pose: bool, modes: bool, order: str, centred: bool
):
    cut = _loaded(backbone, order=order, centred=centred, scale=1 / 255)
    looking = Looking(cut, FRAME, threads=1)
    taught, turned = _taught(looking, pictures, pose=pose, modes=modes)
    distances = [taught.distance_map(t) for t in turned]
    taught = replace(taught, limit=float(np.median([d.max() for d in distances])))
    model = detector_model(cut, taught, FRAME)
    assert {bool(d.max() >= taught.limit) for d in distances} == {True, False}  # verdicts of both kinds
    source = Path("test.onnx")
    given = {"shown": pictures, "distances": distances, "limit": taught.limit, "source": source}
    figures = prove_parity(model, _checked_card(cut, taught), **given)
    assert figures["verdict_flips"] == 0
    assert figures["max_score_difference"] < 2e-3
    # the seeded bug: an export that forgets to standardise as it was taught
    wrong = replace(taught, basis=replace(taught.basis, mean=taught.basis.mean * 0.9))
    with pytest.raises(StationFault, match="does not answer"):
        prove_parity(detector_model(cut, wrong, FRAME), _checked_card(cut, taught), **given)
    if taught.pose is not None and taught.pose.modes is not None:  # and one that lets a way go on without end
        endless = replace(taught.pose.modes, reach=taught.pose.modes.reach * 100)
        wrong = replace(taught, pose=replace(taught.pose, modes=endless))
        with pytest.raises(StationFault, match="does not answer"):
            prove_parity(detector_model(cut, wrong, FRAME), _checked_card(cut, taught), **given)


def test_a_network_is_cut_before_its_neck_where_stages_end(backbone: Path):
    cut = _loaded(backbone)
    assert (cut.strides, cut.channels) == ((8, 16), (24, 32))
    assert not any(node.op_type == "Resize" for node in cut.graph.node)
    model = onnx.load(str(backbone))
    ends = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    assert cut.tensors == (ends[2], ends[3])


def test_named_layers_and_another_opset_are_taken(tmp_path: Path, backbone: Path):
    model = onnx.load(str(backbone))
    ends = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    assert _loaded(backbone, layers=[ends[1], ends[2]]).strides == (4, 8)
    old = tmp_path / "old.onnx"
    model.opset_import[0].version = 13  # all its operators were the same then
    old.write_bytes(model.SerializeToString())
    assert _loaded(old).strides == (8, 16)


@pytest.mark.parametrize(
    ("layers", "says"), [(["nothing"], "no feature map"), (["coarse", "fine"], "finest first")]
)
def test_wrong_layers_are_refused_in_one_sentence(backbone: Path, layers: list[str], says: str):
    ends = [n.output[0] for n in onnx.load(str(backbone)).graph.node if n.op_type == "Relu"]
    named = [{"fine": ends[2], "coarse": ends[3]}.get(name, name) for name in layers]
    with pytest.raises(StationFault, match=says):
        _loaded(backbone, layers=named)


def test_what_is_no_backbone_is_refused(tmp_path: Path):
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(StationFault, match="not an ONNX model"):
        _loaded(tmp_path / "text.onnx")
    model = small_backbone()
    model.graph.node[0].domain = "somebody.else"
    (tmp_path / "foreign.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StationFault, match="plain ONNX"):
        _loaded(tmp_path / "foreign.onnx")
