# SPDX-License-Identifier: AGPL-3.0-or-later
"""A readiness report names what is wrong, says the remedy, and forbids training where figures would lie."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.cli import main
from datasets.labels import Label, LabelledSet, Picture
from datasets.ranks import auroc
from datasets.readiness import Report, claim_remarks, examine
from datasets.readiness_page import _figure
from datasets.readiness_remarks import Weight
from inspection.types import Box
from tests.datasets.drawn import as_coco, kept, some, surface


def the_set(pictures: list[Picture]) -> LabelledSet:
    return LabelledSet(classes=("spot",), pictures=tuple(pictures), source=Path("drawn.json"))


def said(report: Report, topic: str) -> list[str]:
    return [r.text for r in report.remarks if r.topic == topic]


def with_box(picture: Picture, x0: float, y0: float, x1: float, y1: float) -> Picture:
    label = Label(class_name="spot", box=Box(x0_px=x0, y0_px=y0, x1_px=x1, y1_px=y1))
    return replace(picture, labels=(label,), image_class="spot")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    return some(tmp_path_factory.mktemp("ready"), range(24))


def test_good_data_is_ready_and_says_what_it_can_claim(drawn: list[Picture]) -> None:
    report = examine({"data": the_set(drawn)}, quick=True)
    assert report.ready
    assert any("6 defective parts and 0 escapes" in text and "39 %" in text for text in said(report, "claims"))
    assert all(remark.remedy for remark in report.remarks)
    assert report.parts["data"].classes == {"spot": 6}


@pytest.mark.parametrize(
    ("fault", "topic"),
    [
        (lambda p: with_box(p, 200, 200, 220, 220), "boxes"),
        (lambda p: with_box(p, 20, 20, 20, 40), "boxes"),
        (lambda p: replace(with_box(p, 20, 20, 40, 40), image_class="good"), "contradictions"),
        (lambda p: replace(p, width_px=50), "sizes"),
        (lambda p: replace(p, path=p.path.with_name("gone.png")), "pictures"),
    ],
)
def test_what_would_make_figures_wrong_forbids_training(drawn: list[Picture], fault, topic: str) -> None:
    pictures = [*drawn[:-1], fault(drawn[-1])]
    report = examine({"data": the_set(pictures)}, quick=True)
    forbidding = [r for r in report.remarks if r.weight is Weight.FORBIDS]
    assert [r.topic for r in forbidding] == [topic]
    assert drawn[-1].name in forbidding[0].names[0]
    assert not report.ready


def test_what_is_poor_is_warned_of_and_forbids_nothing(drawn: list[Picture], tmp_path: Path) -> None:
    blurred = cv2.GaussianBlur(surface(90), (0, 0), 6)
    white = np.clip(surface(91).astype(int) + 110, 0, 255).astype(np.uint8)
    copy = tmp_path / "copy.png"
    shutil.copy(drawn[1].path, copy)
    pictures = [
        *drawn,
        kept(tmp_path, "blurred.png", blurred, image_class="good", part="b"),
        kept(tmp_path, "white.png", white, image_class="good", part="w"),
        replace(drawn[1], name="copy.png", path=copy),
        replace(drawn[2], name="unmarked.png", image_class="spot", part=None),
        with_box(replace(drawn[3], name="tiny.png"), 10, 10, 12, 30),
        with_box(replace(drawn[5], name="out.png"), 70, 70, 120, 120),
    ]
    report = examine({"data": the_set(pictures)})
    assert report.ready
    names = {(r.topic, n) for r in report.remarks for n in r.names}
    assert ("blur", "blurred.png") in names
    assert ("exposure", "white.png") in names
    assert ("unmarked defects", "unmarked.png") in names
    assert ("links", "unmarked.png") in names
    assert ("boxes", "tiny.png box 0 (spot)") in names
    assert ("boxes", "out.png box 0 (spot)") in names
    assert any(topic == "duplicates" and "copy.png" in name for topic, name in names)


def test_claims_follow_the_exact_bound(drawn: list[Picture]) -> None:
    bad = next(p for p in drawn if not p.good)
    parts = [replace(bad, name=f"x{i}", part=f"x{i}") for i in range(299)]
    weights = {count: claim_remarks("test", parts[:count])[0] for count in (37, 298, 299)}
    assert "at most 7.8 %" in weights[37].text
    assert weights[37].weight is Weight.WARNS
    assert weights[298].weight is Weight.WARNS
    assert weights[299].weight is Weight.TELLS
    assert "nothing can be said of overkill" in claim_remarks("test", parts)[1].text
    # ten pictures of one part are one part
    one = claim_remarks("test", [replace(bad, name=f"y{i}", part="y") for i in range(10)])[0]
    assert "With 1 defective parts" in one.text


def test_a_trivial_statistic_that_tells_good_from_bad_is_named(tmp_path: Path) -> None:
    pictures = some(tmp_path, range(20))
    brighter = [
        kept(
            tmp_path,
            f"b{n}.png",
            np.clip(surface(n).astype(int) + 40, 0, 255).astype(np.uint8),
            image_class="spot",
        )
        for n in range(40, 52)
    ]
    report = examine({"data": the_set([p for p in pictures if p.good] + brighter)}, quick=True)
    assert any("mean grey" in text for text in said(report, "trivial statistic"))
    assert auroc(good=[1.0, 0.0], bad=[1.0]) == pytest.approx(0.75)


def test_the_command_names_a_leak_fails_and_writes_a_page(
    drawn: list[Picture], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = some(tmp_path / "test", range(60, 70), prefix="t")
    copy = tmp_path / "leaked <b>.png"
    shutil.copy(drawn[4].path, copy)
    train_file = as_coco(tmp_path / "train.json", drawn)
    clean_file = as_coco(tmp_path / "clean.json", test)
    leaky_file = as_coco(
        tmp_path / "leaky.json", [*test, replace(drawn[4], name=copy.name, path=copy, part="z")]
    )
    words = ["check", "--json", "--backbone", "plain", "--train", str(train_file), "--test"]
    assert main([*words, str(clean_file), "--quick"]) == 0
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert main([*words, str(leaky_file), "--html", str(page)]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    pairs = answer["leaks"]["train/test"]["pairs"]
    named = [str(path).lstrip("/") for path in (drawn[4].path, copy)]  # within a set there is no root
    assert [([p["first"], p["second"]], p["exact"]) for p in pairs] == [(named, True)]
    text = page.read_text()
    pair = text.split("<figure>")[1].split("</figure>")[0]
    assert pair.count("data:image/jpeg;base64") == 2, "each picture of the pair, once"
    assert text.count("<li><a href=") == text.count("<section id=") == len(answer["remarks"])
    assert "leaked &lt;b&gt;.png" in text
    assert "leaked <b>.png" not in text
    assert main([*words, str(leaky_file), "--quick", "--accept-leaks"]) == 0


def pictures_in(figure: str) -> list[np.ndarray]:
    """The pictures that a piece of a page shows."""
    shown = []
    for data in figure.split("base64,")[1:]:
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(data.split('"')[0]), np.uint8), 1)
        assert pixels is not None
        shown.append(pixels)
    return shown


def test_of_a_pair_across_a_split_each_side_shows_its_own_picture(tmp_path: Path) -> None:
    """Names are unique within a side only: both parts of this split have an `a.png`."""
    sides = {}
    for number, side in enumerate(("train", "test")):
        dark = np.full((40, 40), 30 + 150 * number, np.uint8)
        sides[side] = {"a.png": kept(tmp_path / side, "a.png", dark)}
    figure = _figure("a.png | a.png", list(sides.values()))
    shades = [pixels.mean() for pixels in pictures_in(figure)]
    assert shades == pytest.approx([30, 180], abs=3)


def test_of_several_boxes_the_one_that_is_meant_stands_out(tmp_path: Path) -> None:
    plain = kept(tmp_path, "a.png", np.full((80, 80), 90, np.uint8))
    boxes = [Box(x0_px=x, y0_px=20, x1_px=x + 10, y1_px=30) for x in (10, 60)]
    marked = replace(plain, labels=tuple(Label(class_name="spot", box=box) for box in boxes))
    yellow = []
    for number in range(2):
        (pixels,) = pictures_in(_figure(f"a.png box {number}: spot, likelier dent", [{"a.png": marked}]))
        shown = pixels.astype(int)
        yellow.append(np.argwhere((shown[..., 1] > 180) & (shown[..., 0] < 80))[:, 1].mean())
    assert yellow == pytest.approx([30, 130], abs=4)  # the middle of each box at twice the size


def test_the_command_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 3
    assert main(["check", "--test", str(tmp_path / "no.json")]) == 3
    assert main(["check", str(tmp_path / "no.json")]) == 3
    empty = as_coco(tmp_path / "empty.json", [])
    assert main(["check", str(empty), "--backbone", str(tmp_path / "no.onnx")]) == 3
    sentences = capsys.readouterr().err.strip().splitlines()
    assert len(sentences) == 4
    assert main(["check", str(empty), "--backbone", "plain"]) == 1  # no pictures forbid training
