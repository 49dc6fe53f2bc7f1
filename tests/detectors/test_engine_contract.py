# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every clause of the detector protocol, over every engine, the scripted one included."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from inspection.detectors.base import Detector, View, ask
from inspection.detectors.onnx import OnnxDetector
from inspection.detectors.openvino import OpenVinoDetector
from inspection.detectors.scripted import Script, ScriptedDetector, ScriptedFinding, Step
from inspection.types import Reason
from tests.bundles.tiny_models import FAILS_AT, INPUT_PX, SLOW_AT, bright_spot_model, card_dict, moody_model
from weights.bundle import Bundle, load_bundle, write_bundle
from weights.signing import station_key

ENGINES = ["openvino", "openvino-3ch", "onnx", "onnx-3ch", "onnx-fixed", "scripted", "scripted-at-once"]
Make = Callable[..., Detector]


def bundle_in(folder: Path, *, channels: int = 1, free_batch: bool = True, **card: object) -> Bundle:
    name = f"b{channels}{free_batch}{len(card)}"
    if not (folder / name).exists():
        write_bundle(
            folder / name,
            model=bright_spot_model(channels=channels, free_batch=free_batch),
            card=card_dict(channels=channels, **card),
            key=station_key(folder / "keys"),
        )
    return load_bundle(folder / name, [folder / "keys"])


def as_scripted(view: View) -> Step:
    """What bright_spot_model says, in words: two boxes whose scores follow the mean."""
    mean = float(view.pixels.mean()) / 255
    height_px, width_px = view.pixels.shape[:2]
    scale_x, scale_y = width_px / INPUT_PX, height_px / INPUT_PX
    findings = [
        ScriptedFinding(
            **{"class": "bright"}, score=mean, box=(4 * scale_x, 8 * scale_y, 12 * scale_x, 20 * scale_y)
        ),
        ScriptedFinding(**{"class": "dark"}, score=1 - mean, box=(0, 0, width_px, height_px)),
    ]
    kept = [f for f in findings if f.score >= 0.05]
    return Step(findings=tuple(sorted(kept, key=lambda f: -f.score)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def make_engine(name: str, folder: Path) -> Detector:
    if name.startswith("scripted"):
        script = Script(classes=("bright", "dark"), max_batch=4, parallel=2)
        at_once = name == "scripted-at-once"
        return ScriptedDetector(script, answer=as_scripted, immediate=at_once, input_px=(INPUT_PX, INPUT_PX))
    channels = 3 if "3ch" in name else 1
    bundle = bundle_in(folder, channels=channels, free_batch="fixed" not in name)
    if name.startswith("openvino"):
        return OpenVinoDetector(bundle, threads=2)
    return OnnxDetector(bundle, threads=1, max_batch=4)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Detector]:
    made = make_engine(request.param, folder)
    made.warm_up()
    yield made
    made.close()


def grey(level: int, *, width_px: int = INPUT_PX, height_px: int = INPUT_PX, **more: int) -> View:
    return View(camera=more.pop("camera", 0), pixels=np.full((height_px, width_px), level, np.uint8), **more)


@pytest.mark.parametrize("level", [0, 51, 102, 204, 255])
def test_findings_are_what_the_model_says_of_the_pixels(engine: Detector, level: int) -> None:
    result = ask(engine, grey(level))
    assert result.fault is None
    (findings,) = result.findings
    scores = {f.defect_class: f.score for f in findings}
    expected = {"bright": level / 255, "dark": 1 - level / 255}
    expected = {name: score for name, score in expected.items() if score >= 0.05}
    assert scores == pytest.approx(expected, abs=2e-3)
    assert [f.score for f in findings] == sorted((f.score for f in findings), reverse=True)
    for f in findings:
        box = (f.box.x0_px, f.box.y0_px, f.box.x1_px, f.box.y1_px)
        assert box == pytest.approx((4, 8, 12, 20) if f.defect_class == "bright" else (0, 0, 32, 32), abs=1e-3)


def test_boxes_are_in_pixels_of_the_camera_frame(engine: Detector) -> None:
    view = grey(204, width_px=64, height_px=64, x_px=100, y_px=40, camera=1)
    ((bright, _),) = ask(engine, view).findings
    box = (bright.box.x0_px, bright.box.y0_px, bright.box.x1_px, bright.box.y1_px)
    assert box == pytest.approx((108, 56, 124, 80), abs=1e-3)
    assert bright.camera == 1


def test_windows_into_a_larger_picture_need_no_copy_by_the_caller(engine: Detector) -> None:
    frame = np.zeros((80, 90), np.uint8)
    frame[10 : 10 + INPUT_PX, 20 : 20 + INPUT_PX] = 204
    window = frame[10 : 10 + INPUT_PX, 20 : 20 + INPUT_PX]
    assert not window.flags.c_contiguous
    ((bright, _),) = ask(engine, View(camera=0, pixels=window, x_px=20, y_px=10)).findings
    assert bright.score == pytest.approx(0.8, abs=2e-3)


def test_whole_batches_keep_their_order(engine: Detector) -> None:
    levels = [20, 230, 100, 160][: engine.info.max_batch]
    result = ask(engine, *(grey(level, camera=i) for i, level in enumerate(levels)))
    assert len(result.findings) == len(levels)
    for i, (level, findings) in enumerate(zip(levels, result.findings, strict=True)):
        assert {f.camera for f in findings} == {i}
        bright = next((f.score for f in findings if f.defect_class == "bright"), 0)
        assert bright == pytest.approx(level / 255, abs=2e-3)


def test_as_many_batches_as_it_promises_run_side_by_side_and_each_answers_once(engine: Detector) -> None:
    """Many rounds, since a lost answer is a race."""
    levels = [128 + i % 120 for i in range(300)]
    answers: dict[int, list[float]] = {}
    submitted = 0
    give_up_s = time.monotonic() + 20
    with select.epoll() as poll:
        poll.register(engine.fileno(), select.EPOLLIN | select.EPOLLET)
        while len(answers) < len(levels):
            while submitted < len(levels) and submitted - len(answers) < engine.info.parallel:
                engine.submit(submitted, [grey(levels[submitted])])
                submitted += 1
            while (result := engine.collect()) is not None:
                assert result.fault is None
                (findings,) = result.findings
                answers.setdefault(result.number, []).append(max(f.score for f in findings))
            assert time.monotonic() < give_up_s, f"of {submitted} batches {len(answers)} were answered"
            if submitted - len(answers) >= engine.info.parallel:
                assert poll.poll(20), "an answer has raised no event"
    assert engine.collect() is None
    assert answers == {i: [pytest.approx(level / 255, abs=2e-3)] for i, level in enumerate(levels)}


def test_an_info_names_what_runs(engine: Detector) -> None:
    info = engine.info
    assert info.classes == ("bright", "dark")
    assert len(info.bundle_sha256) == 64
    assert info.runtime.split()[0] in {"openvino", "onnxruntime", "scripted"}
    assert info.max_batch >= 1
    assert info.parallel >= 1


@pytest.mark.parametrize("name", ["openvino", "openvino-3ch", "onnx", "onnx-3ch"])
def test_nonsense_of_the_model_is_a_fault_and_never_no_findings(name: str, folder: Path) -> None:
    """The card promises one class; the model speaks of a second one: it is another model's output."""
    channels = 3 if "3ch" in name else 1
    bundle = bundle_in(folder, channels=channels, classes=["bright"])
    made = OpenVinoDetector(bundle, threads=1) if "openvino" in name else OnnxDetector(bundle, threads=1)
    try:
        result = ask(made, grey(51))
        assert result.fault is not None
        assert "class 1 of 1" in str(result.fault)
        assert result.findings == ()
        assert ask(made, grey(250)).fault is None  # only class 0 above the floor: the engine goes on
    finally:
        made.close()


@pytest.mark.parametrize("size", [(INPUT_PX, INPUT_PX), (70, 50), (20, 64)])
def test_two_engines_agree_on_pictures_with_structure(folder: Path, size: tuple[int, int]) -> None:
    bundle = bundle_in(folder, channels=3)
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    view = View(camera=0, pixels=picture)
    answers = []
    for made in (OpenVinoDetector(bundle, threads=1), OnnxDetector(bundle, threads=1)):
        answers.append(ask(made, view).findings[0])
        made.close()
    ours, theirs = answers
    assert [f.defect_class for f in ours] == [f.defect_class for f in theirs]
    assert [f.score for f in ours] == pytest.approx([f.score for f in theirs], abs=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.box.x0_px, a.box.y1_px) == pytest.approx((b.box.x0_px, b.box.y1_px), abs=1e-2)


def test_colour_views_reach_a_three_channel_model_in_all_engines(folder: Path) -> None:
    bundle = bundle_in(folder, channels=3)
    picture = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = 30, 90, 180
    view = View(camera=0, pixels=picture)
    for made in (OpenVinoDetector(bundle, threads=1, grey=False), OnnxDetector(bundle, threads=1)):
        scores = {f.defect_class: f.score for f in ask(made, view).findings[0]}
        made.close()
        assert scores["bright"] == pytest.approx(100 / 255, abs=2e-3)


@pytest.mark.parametrize("name", ["openvino", "onnx"])
@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((INPUT_PX, INPUT_PX), np.float64),
        np.zeros((INPUT_PX * 2, INPUT_PX), np.int64),
        np.zeros((0, INPUT_PX), np.uint8),
        np.zeros(INPUT_PX, np.uint8),
        np.zeros((2, 2, 2, 2), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_a_picture_the_engine_cannot_take_is_a_fault_of_its_batch_only(
    name: str, pixels: np.ndarray, folder: Path
) -> None:
    made = make_engine(name, folder)
    for _ in range(made.info.parallel + 1):  # it costs no request either
        result = ask(made, View(camera=0, pixels=pixels))
        assert result.fault is not None
    assert ask(made, grey(204)).fault is None
    made.close()


def moody_engine(name: str, folder: Path, *, fails: bool = True) -> Detector:
    """An engine with a model that fails, or takes its time, by the picture."""
    write_bundle(
        folder / "b", model=moody_model(fails=fails), card=card_dict(), key=station_key(folder / "keys")
    )
    bundle = load_bundle(folder / "b", [folder / "keys"])
    made = OpenVinoDetector(bundle, threads=2) if name == "openvino" else OnnxDetector(bundle, threads=1)
    made.warm_up()
    return made


@pytest.fixture(params=["openvino", "onnx"])
def moody(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Detector]:
    made = moody_engine(request.param, tmp_path)
    yield made
    made.close()


def test_an_inference_that_fails_is_a_fault_of_its_batch(moody: Detector) -> None:
    """A runtime that says nothing of it must not look like an engine that hangs."""
    for level in FAILS_AT[: 2 * moody.info.parallel]:  # no request is lost by it
        result = ask(moody, grey(level))
        assert result.fault is not None
        assert result.fault.reason is Reason.ENGINE_FAULT
        assert "reshape" in str(result.fault).lower()
        assert result.findings == ()
        (findings,) = ask(moody, grey(0)).findings
        assert [f.defect_class for f in findings] == ["dark"]
        assert moody.collect() is None


def test_a_failure_costs_no_batch_beside_it(moody: Detector) -> None:
    faults: dict[int, bool] = {}
    for first in range(0, 60, moody.info.parallel):
        wanted = range(first, first + moody.info.parallel)
        for number in wanted:
            moody.submit(number, [grey(FAILS_AT[number] if number % 2 else 0)])
        give_up_s = time.monotonic() + 20
        while not faults.keys() >= set(wanted):
            if (result := moody.collect()) is not None:
                assert result.number not in faults
                faults[result.number] = result.fault is not None
            assert time.monotonic() < give_up_s
    assert faults == {number: number % 2 == 1 for number in faults}


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_an_inference_that_hangs_holds_up_nobody_and_is_not_left_behind(name: str, tmp_path: Path) -> None:
    made = moody_engine(name, tmp_path)
    started_s = time.monotonic()
    made.submit(1, [grey(SLOW_AT)])
    for number in range(2, made.info.parallel + 1):
        made.submit(number, [grey(0)])
    answered: list[int] = []
    while len(answered) < made.info.parallel - 1:
        if (result := made.collect()) is not None:
            assert result.fault is None
            answered.append(result.number)
    assert made.collect() is None
    others_s = time.monotonic() - started_s
    made.close()
    whole_s = time.monotonic() - started_s
    assert whole_s > 0.1, "the model is not slow enough on this box for this test to mean anything"
    assert others_s < whole_s / 2
    assert 1 not in answered


def test_rows_that_were_not_written_are_no_rows(tmp_path: Path) -> None:
    """The table of the picture before lies in the same memory: an end without a result must not bring it up."""
    made = moody_engine("openvino", tmp_path, fails=False)
    assert isinstance(made, OpenVinoDetector)
    assert ask(made, grey(0)).fault is None
    made.submit(1, [grey(SLOW_AT)])
    (request,) = made._running
    made._finished.put(request)  # the runtime says that it has ended
    result = made.collect()
    assert result is not None
    assert result.fault is not None
    assert "not finite" in str(result.fault)
    request.infer.wait()
    made.close()


def test_more_batches_than_promised_are_a_fault_and_block_nobody(folder: Path) -> None:
    made = make_engine("openvino", folder)
    promised = made.info.parallel
    for number in range(promised + 1):
        made.submit(number, [grey(204)])
    faults: dict[int, bool] = {}
    while len(faults) <= promised:
        if (result := made.collect()) is not None:
            faults[result.number] = result.fault is not None
    assert faults == {number: number == promised for number in range(promised + 1)}
    made.close()


def test_an_inference_whose_callback_was_left_out_is_answered_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenVinoDetector, "_ended", lambda *_: None)
    made = make_engine("openvino", folder)
    try:
        for _ in range(5):
            result = ask(made, View(camera=0, pixels=np.full((INPUT_PX, INPUT_PX), 99, np.uint8)), patience_s=5)
            assert result.fault is None
            assert result.findings[0]
        assert made.collect() is None
    finally:
        made.close()
