# SPDX-License-Identifier: AGPL-3.0-or-later
"""The golden template: its graph does what it says, in every engine, and good parts set its limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.training.promoting import golden_set, promote
from training import template
from training.engine import Asked
from training.template import Settings, choose_limit, difference, main, template_model
from weights.bundle import load_bundle

SIZE = 24


def _score(planes: np.ndarray, *, tolerance: int, limit: float) -> float:
    model = template_model(Settings(width_px=SIZE, height_px=SIZE, tolerance_px=tolerance, limit=limit))
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = planes.transpose(2, 0, 1)[None].astype(np.float32) / 255
    return float(np.asarray(session.run(None, {"images": images})[0]).max())


@settings(max_examples=25, deadline=None)
@given(arrays.arrays(np.uint8, (SIZE, SIZE)), arrays.arrays(np.uint8, (SIZE, SIZE)), st.integers(0, 2))
def test_the_graph_scores_as_the_plain_arithmetic_does(picture: np.ndarray, reference: np.ndarray, reach: int):
    planes = np.dstack((picture, reference, cv2.absdiff(picture, reference)))
    d = difference(planes, reach)
    assert _score(planes, tolerance=reach, limit=0.1) == pytest.approx(d / (d + 0.1), abs=1e-4)


def test_an_edge_may_lie_a_pixel_elsewhere_and_no_more():
    reference = np.zeros((SIZE, SIZE), np.uint8)
    reference[:, 10:] = 255
    for shift, differs in ((1, False), (2, True)):
        picture = np.roll(reference, shift, axis=1)
        picture[:, :shift] = 0
        planes = np.dstack((picture, reference, cv2.absdiff(picture, reference)))
        assert (difference(planes, 1) > 0) is differs


def test_the_limit_comes_from_good_parts_and_each_is_counted_against_the_others():
    assert choose_limit([0.0, 0.0]) == (0.02, 0)
    limit, rejected = choose_limit([0.1] * 30 + [0.4])
    assert limit == pytest.approx(0.5)
    assert rejected == 1  # the odd one is far above what the others allow


@pytest.fixture
def prints(tmp_path: Path) -> Path:
    """A folder with a golden print, twenty good ones, each a little noisy and shifted, and a spoilt one."""
    rng = np.random.default_rng(5)
    golden = cv2.GaussianBlur((rng.random((90, 122)) > 0.6).astype(np.uint8) * 255, (0, 0), 2.5)
    golden = cv2.normalize(golden, None, 20, 220, cv2.NORM_MINMAX)
    (tmp_path / "good").mkdir()
    cv2.imwrite(str(tmp_path / "golden.png"), golden)
    for n in range(20):
        move = np.array([[1.0, 0, rng.integers(-2, 3)], [0, 1, rng.integers(-2, 3)]])
        good = cv2.warpAffine(golden, move, golden.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        noisy = np.clip(good + rng.normal(0, 3, good.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "good" / f"{n}.png"), noisy)
    spoilt = golden.copy()
    cv2.circle(spoilt, (60, 40), 5, 255 if golden[40, 60] < 128 else 0, -1)
    cv2.imwrite(str(tmp_path / "spoilt.png"), spoilt)
    return tmp_path


def test_a_taught_template_passes_good_prints_and_finds_the_spoilt_one(prints: Path, capsys):
    order = ["--good", str(prints / "good"), "--reference", str(prints / "golden.png"), "--search", "3"]
    assert main([*order, "--out", str(prints / "t"), "--key-dir", str(prints / "keys"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["good"] == 20
    assert said["misses"].startswith("unknown")
    asked = Asked(load_bundle(prints / "t" / "bundle", [prints / "keys"]))
    try:
        for n in range(20):
            found = asked.find(cv2.imread(str(prints / "good" / f"{n}.png"), cv2.IMREAD_GRAYSCALE))
            assert max((f.score for f in found), default=0.0) < 0.5
        (worst, *_) = asked.find(cv2.imread(str(prints / "spoilt.png"), cv2.IMREAD_GRAYSCALE))
    finally:
        asked.close()
    assert worst.score > 0.5
    assert worst.box.x0_px < 60 < worst.box.x1_px
    assert worst.box.y0_px < 40 < worst.box.y1_px


def test_a_template_proves_its_parity_and_may_be_promoted(prints: Path, capsys):
    order = ["--good", str(prints / "good"), "--reference", str(prints / "golden.png"), "--search", "3"]
    assert main([*order, "--out", str(prints / "t"), "--key-dir", str(prints / "keys")]) == 0
    golden = golden_set(
        prints / "golden.json", [prints / "good" / f"{n}.png" for n in range(6)], [prints / "spoilt.png"]
    )
    said = promote(prints / "t", golden, prints / "keys", prints, capsys)
    assert said["ok"], said
    assert said["promoted"]
    parity = next(r for r in said["reasons"] if r["about"] == "parity")
    assert parity["sentence"].startswith("0 verdicts flip")
    assert "on 21 pictures" in parity["sentence"]  # the reference is a good part too


def test_a_graph_that_answers_otherwise_than_plain_arithmetic_makes_no_bundle(
    prints: Path, monkeypatch, capsys
):
    """The seeded bug: the graph that is signed has a limit of its own."""
    right = template.template_model
    monkeypatch.setattr(template, "template_model", lambda s: right(replace(s, limit=s.limit / 2)))
    order = ["--good", str(prints / "good"), "--reference", str(prints / "golden.png"), "--search", "3"]
    assert main([*order, "--out", str(prints / "t"), "--key-dir", str(prints / "keys")]) == 3
    assert "does not answer as" in capsys.readouterr().err
    assert not (prints / "t").exists()


def test_the_same_pictures_make_the_same_bundle(prints: Path, capsys):
    order = [
        "--good",
        str(prints / "good"),
        "--reference",
        str(prints / "golden.png"),
        "--search",
        "3",
        "--json",
    ]
    hashes = []
    for out in ("a", "b"):
        assert main([*order, "--out", str(prints / out), "--key-dir", str(prints / "keys")]) == 0
        hashes.append(json.loads(capsys.readouterr().out)["sha256"])
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (["--good", "{}/good"], "--reference"),
        (["--good", "{}/empty", "--reference", "{}/golden.png"], "no good pictures"),
        (["--good", "{}/mixed", "--reference", "{}/golden.png"], "2 sizes"),
        (["--good", "{}/good", "--reference", "{}/golden.png", "--tolerance", "99"], "--tolerance"),
        (["--good", "{}/good", "--reference", "{}/none.png"], "no such picture"),
        (["--good", "{}/good", "--reference", "{}/golden.png"], "reference|differ|px"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(prints: Path, capsys, order: list[str], says: str):
    (prints / "empty").mkdir()
    (prints / "mixed").mkdir()
    cv2.imwrite(str(prints / "mixed" / "a.png"), np.zeros((90, 122), np.uint8))
    cv2.imwrite(str(prints / "mixed" / "b.png"), np.zeros((40, 40), np.uint8))
    if order[1] == "{}/good" and "--tolerance" not in order and "--reference" in order:
        cv2.imwrite(str(prints / "golden.png"), np.zeros((40, 40), np.uint8))  # of another size than its prints
    words = [word.format(prints) for word in order]
    more = ["--out", str(prints / "out"), "--key-dir", str(prints / "keys"), "--json"]
    assert main([*words, *more]) == 3
    told = capsys.readouterr()
    said = told.err
    assert json.loads(told.out) == {
        "ok": False,
        "error": said.removeprefix("gatesight template: ").rstrip("\n"),
    }
    assert len(said.strip().splitlines()) == 1
    import re

    assert re.search(says, said)
    assert not (prints / "out").exists()
