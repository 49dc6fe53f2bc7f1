# SPDX-License-Identifier: AGPL-3.0-or-later
"""From maps and whole-picture scores to findings, and the way back from a prepared picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.detectors.base import EngineFault, View, ask
from inspection.detectors.decode import MapDecoder, ScoreDecoder
from inspection.detectors.onnx import OnnxDetector
from inspection.detectors.openvino import OpenVinoDetector
from inspection.pixels import Letterbox
from inspection.prepare import Gain, Placement, Reference, prepare
from inspection.types import Reason, StationFault
from tests.bundles.tiny_models import card_dict, difference_model, score_model
from weights.bundle import Bundle, load_bundle, write_bundle
from weights.signing import station_key

MAPS = MapDecoder(classes=("a", "b"), floor_score=0.2)
SAME = Letterbox(source_width_px=64, source_height_px=64, width_px=64, height_px=64)
VIEW = View(camera=1, pixels=np.zeros((64, 64), np.uint8), x_px=100, y_px=10)


def test_each_region_is_a_finding_with_its_peak_and_the_box_of_its_half():
    maps = np.zeros((2, 16, 16), np.float32)
    maps[0, 2:4, 3:6] = 0.9
    maps[0, 1, 3] = 0.3  # joined, but less than half as high
    maps[1, 10, 12] = 0.4
    found = MAPS.decode(maps, SAME, VIEW)
    assert [(f.defect_class, round(f.score, 3), f.camera) for f in found] == [("a", 0.9, 1), ("b", 0.4, 1)]
    box = found[0].box  # cells of 4 px, and the view's corner
    assert (box.x0_px, box.y0_px, box.x1_px, box.y1_px) == (112, 18, 124, 26)


def test_what_lies_in_the_padding_is_dropped():
    wide = Letterbox(source_width_px=128, source_height_px=64, width_px=64, height_px=64)
    maps = np.zeros((2, 16, 16), np.float32)
    maps[0, 0:3] = 1.0  # the upper 16 px are padding: 4 cells
    assert MAPS.decode(maps, wide, VIEW) == ()
    maps[0, 3:6, 2] = 1.0, 0.5, 0.5  # reaches from the padding into the picture: only the picture counts
    maps[1, 10, 5] = 0.2  # just at the floor
    found = MAPS.decode(maps, wide, VIEW)
    assert [(f.defect_class, round(f.score, 3)) for f in found] == [("a", 0.5), ("b", 0.2)]
    tall = Letterbox(source_width_px=64, source_height_px=128, width_px=64, height_px=64)
    found = MAPS.decode(maps.transpose(0, 2, 1).copy(), tall, VIEW)
    assert [(f.defect_class, round(f.score, 3)) for f in found] == [("a", 0.5), ("b", 0.2)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.2, -0.2])
def test_nonsense_in_a_map_or_a_score_is_a_fault(value: float):
    maps = np.zeros((2, 4, 4), np.float32)
    maps[1, 2, 2] = value
    with pytest.raises(EngineFault) as fault:
        MAPS.decode(maps, SAME, VIEW)
    assert fault.value.reason is Reason.ENGINE_FAULT
    with pytest.raises(EngineFault):
        ScoreDecoder(classes=("a", "b"), floor_score=0.2).decode(np.array([0.5, value]), SAME, VIEW)


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 4), (2, 0, 4)])
def test_maps_of_another_shape_are_a_fault(shape: tuple[int, ...]):
    with pytest.raises(EngineFault, match="maps"):
        MAPS.decode(np.zeros(shape, np.float32), SAME, VIEW)


@given(st.lists(st.floats(0, 1, width=32), min_size=256, max_size=256))
def test_a_map_passes_nothing_that_reaches_the_floor(values: list[float]):
    """Oracle: a class is found exactly when its highest cell reaches the floor, and with that score."""
    maps = np.zeros((2, 16, 16), np.float32)
    maps[0] = np.array(values, np.float32).reshape(16, 16)
    found = MAPS.decode(maps, SAME, VIEW)
    best = float(maps[0].max())
    assert max((f.score for f in found), default=None) == (best if best >= np.float32(0.2) else None)


def test_a_score_just_at_the_floor_counts_although_float32_is_coarser():
    high = np.full((1, 2, 2), 0.7, np.float32)  # a hair below 0.7
    assert len(MapDecoder(classes=("a",), floor_score=0.7).decode(high, SAME, VIEW)) == 1
    assert len(ScoreDecoder(classes=("a",), floor_score=0.7).decode(high[0, 0, :1], SAME, VIEW)) == 1


def test_a_score_is_a_finding_over_the_whole_picture():
    decoder = ScoreDecoder(classes=("a", "b", "c"), floor_score=0.2)
    found = decoder.decode(np.array([0.3, 0.1, 0.8], np.float32), SAME, VIEW)
    assert [f.defect_class for f in found] == ["c", "a"]
    assert (found[0].box.x0_px, found[0].box.y1_px) == (100, 74)


def test_gain_brings_pictures_of_another_exposure_to_one_level():
    rng = np.random.default_rng(0)
    picture = rng.integers(80, 100, (40, 40), dtype=np.uint8)
    brighter = cv2.convertScaleAbs(picture, alpha=1.5)
    one, two = (prepare(p, (Gain(target=120.0),)).pixels for p in (picture, brighter))
    assert abs(int(np.median(one)) - 120) <= 1
    assert np.abs(one.astype(int) - two.astype(int)).max() <= 2
    with pytest.raises(ValueError, match="black"):
        prepare(np.zeros((4, 4), np.uint8), (Gain(target=120.0),))


def test_a_reference_is_shifted_to_fit_but_not_further_than_allowed():
    rng = np.random.default_rng(1)
    reference = cv2.GaussianBlur(rng.integers(0, 255, (80, 80), dtype=np.uint8), (0, 0), 2)
    moved = cv2.warpAffine(
        reference, np.array([[1.0, 0, 3], [0, 1, -2]]), (80, 80), borderMode=cv2.BORDER_REPLICATE
    )
    planes = prepare(moved, (Reference(search_px=4),), reference).pixels
    assert planes.shape == (80, 80, 3)
    assert planes[8:-8, 8:-8, 2].max() == 0
    with pytest.raises(ValueError, match="further"):
        prepare(moved, (Reference(search_px=2),), reference)
    with pytest.raises(ValueError, match="none was given"):
        prepare(moved, (Reference(),))
    with pytest.raises(ValueError, match="px"):
        prepare(moved, (Reference(),), reference[:40])


def test_boxes_find_their_way_back_through_a_turn():
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 100.0]])  # prepared (x, y) -> source (y, 100 - x)
    box = Letterbox(source_width_px=100, source_height_px=50, width_px=100, height_px=50)
    place = Placement(box=box, back=quarter, source_px=(50, 100))
    assert place.to_source((10, 20, 30, 25)) == (20, 70, 25, 90)


@pytest.fixture(scope="module")
def compare(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that compares with a reference of its own: 32 px, black but for one square."""
    folder = tmp_path_factory.mktemp("compare")
    reference = np.zeros((32, 32), np.uint8)
    reference[4:8, 4:8] = 200
    card = card_dict(channels=3) | {
        "task": "anomaly",
        "classes": ["difference"],
        "output": {"kind": "maps_nchw"},
        "prepare": [{"kind": "reference"}],
    }
    write_bundle(
        folder / "b",
        model=difference_model(),
        card=card,
        key=station_key(folder / "keys"),
        reference=cv2.imencode(".png", reference)[1].tobytes(),
    )
    return load_bundle(folder / "b", [folder / "keys"])


@pytest.mark.parametrize("engine", [OpenVinoDetector, OnnxDetector])
def test_engines_compare_with_the_bundles_reference_or_the_views_own(engine, compare: Bundle):
    picture = cv2.imdecode(np.frombuffer(compare.reference or b"", np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    spoilt = picture.copy()
    spoilt[20:24, 16:28] = 255
    detector = engine(compare, threads=1)
    try:
        detector.warm_up()
        assert ask(detector, View(camera=0, pixels=picture)).findings == ((),)
        ((finding,),) = ask(detector, View(camera=0, pixels=spoilt)).findings
        box = finding.box
        assert (box.x0_px, box.y0_px, box.x1_px, box.y1_px) == (16, 20, 28, 24)
        assert ask(detector, View(camera=0, pixels=spoilt, reference=spoilt)).findings == ((),)
        wrong = ask(detector, View(camera=0, pixels=spoilt[:16]))
        assert wrong.fault is not None
        assert wrong.fault.reason is Reason.ENGINE_FAULT  # never an empty list: the part is not inspected
    finally:
        detector.close()


@pytest.mark.parametrize("engine", [OpenVinoDetector, OnnxDetector])
def test_engines_answer_with_whole_picture_scores(engine, tmp_path: Path):
    card = card_dict(channels=1) | {"task": "classify", "output": {"kind": "scores_nc"}}
    write_bundle(tmp_path / "b", model=score_model(), card=card, key=station_key(tmp_path / "keys"))
    detector = engine(load_bundle(tmp_path / "b", [tmp_path / "keys"]), threads=1)
    try:
        detector.warm_up()
        ((first, second),) = ask(detector, View(camera=0, pixels=np.full((32, 32), 204, np.uint8))).findings
        assert (first.defect_class, second.defect_class) == ("bright", "dark")
        assert first.score == pytest.approx(0.8, abs=0.01)
    finally:
        detector.close()


def test_a_card_and_a_model_of_another_kind_do_not_belong_together(tmp_path: Path):
    card = card_dict(channels=1) | {"task": "segment", "output": {"kind": "maps_nchw"}}
    with pytest.raises(StationFault, match="one map a class"):
        write_bundle(tmp_path / "b", model=score_model(), card=card, key=station_key(tmp_path / "keys"))
    planes = card_dict(channels=1) | {"prepare": [{"kind": "reference"}]}
    with pytest.raises(StationFault, match="three planes"):
        write_bundle(tmp_path / "c", model=score_model(), card=planes, key=station_key(tmp_path / "keys"))
