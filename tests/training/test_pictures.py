# SPDX-License-Identifier: AGPL-3.0-or-later
"""Labelled sets in, ultralytics folders out: what is good, where boxes land, and bad files in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datasets.coco import read_coco
from inspection.types import StationFault
from training.recipe import TrainingRecipe, load_training_recipe
from training.rendered import TEACHABLE, write_rendered
from training.train import main as train
from training.yolo_folder import write_folder


def _recipe(network: str, task: str = "detect", **more: Any) -> TrainingRecipe:
    return TrainingRecipe(
        name="t", network=network, task=task, input_px=64, channels=1, policy="none@1", **more
    )


def _set(folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in [i["file_name"] for i in images] + [i["template_file"] for i in images if "template_file" in i]:
        cv2.imwrite(str(folder / "images" / Path(name).name), np.full((50, 100), 90, np.uint8))
    document = {
        "images": [{"width": 100, "height": 50, **image} for image in images],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "hole"}, {"id": 3, "name": "crack"}],
    }
    path = folder / "set.json"
    path.write_text(json.dumps(document))
    return path


def test_good_is_what_is_called_good_or_what_has_no_marks(tmp_path: Path):
    images = [
        {"id": 1, "file_name": "a.png", "image_class": "good"},
        {"id": 2, "file_name": "b.png", "image_class": "free"},
        {"id": 3, "file_name": "c.png", "image_class": "blowhole"},  # defective, even without a box
        {"id": 4, "file_name": "images/d.png", "template_file": "images/t.png"},
        {"id": 5, "file_name": "e.png", "template_file": "images/t.png"},
    ]
    marks = [{"id": 1, "image_id": 4, "category_id": 7, "bbox": [10, 20, 30, 8]}]
    pictures = read_coco(_set(tmp_path, images, marks))
    assert [p.good for p in pictures.pictures] == [True, True, False, False, True]
    assert [t.good for t in pictures.templates] == [True]
    assert pictures.classes == ("crack", "hole")  # by category id
    label = pictures.pictures[3].labels[0]
    assert (label.class_name, label.box.x1_px, label.box.y1_px) == ("hole", 40, 28)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d.pop("images"), "not a COCO file"),
        (lambda d: d["annotations"][0].pop("bbox"), r"annotations\[0\]"),
        (lambda d: d["annotations"][0].update(category_id=99), r"annotations\[0\]"),
        (lambda d: d["images"][0].update(file_name="gone.png"), "gone.png"),
    ],
)
def test_a_spoilt_set_is_refused_in_one_sentence(tmp_path: Path, spoil: Any, says: str):
    path = _set(
        tmp_path,
        [{"id": 1, "file_name": "a.png"}],
        [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}],
    )
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    with pytest.raises(StationFault, match=says) as caught:
        read_coco(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_follow_the_letterbox_into_the_folder(tmp_path: Path):
    marks = [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [50, 10, 20, 10]}]
    images = [{"id": 1, "file_name": "a.png", "template_file": "images/t.png"}]
    pictures = read_coco(_set(tmp_path / "in", images, marks))
    data = write_folder(_recipe("defect_p2", template_share=1.0), pictures, pictures, tmp_path / "out")
    assert json.loads(data.read_text())["names"] == {"0": "crack", "1": "hole"}
    kind, x, y, width, height = (tmp_path / "out/train/labels/000000.txt").read_text().split()
    # 100x50 into 64x64: scale 0.64, 16 px of padding above
    assert kind == "0"
    assert float(x) * 64 == pytest.approx(60 * 0.64, abs=1e-3)
    assert float(y) * 64 == pytest.approx(15 * 0.64 + 16, abs=1e-3)
    assert (float(width) * 64, float(height) * 64) == pytest.approx((12.8, 6.4), abs=1e-3)
    assert (tmp_path / "out/train/labels/000001.txt").read_text() == ""  # the template: good
    assert cv2.imread(str(tmp_path / "out/train/images/000001.png"), 0).shape == (64, 64)


def test_rendered_sets_are_reproducible_and_teach_only_what_can_be_seen(tmp_path: Path):
    one = write_rendered(tmp_path / "a", first_seed=1_990_000, pictures=12, dense=True)
    two = write_rendered(tmp_path / "b", first_seed=1_990_000, pictures=12, dense=True)
    assert one.read_bytes() == two.read_bytes()
    names = [image["file_name"] for image in json.loads(one.read_text())["images"]]
    assert all(
        (tmp_path / "a/images" / n).read_bytes() == (tmp_path / "b/images" / n).read_bytes() for n in names
    )
    marks = [label for picture in read_coco(one).pictures for label in picture.labels]
    assert len(marks) > 24
    assert all(label.detectability is not None and label.detectability >= TEACHABLE for label in marks)
    assert write_rendered(tmp_path / "a", first_seed=1, pictures=12, dense=True) == one  # complete: left alone


def test_training_says_in_one_sentence_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, says in (
        (["--recipe", "no-such", "--rendered"], "default"),
        (["--recipe", "default"], "--rendered"),
        (["--recipe", "deeppcb", "--rendered"], "--train"),
        (["--recipe", "deeppcb", "--train", "gone.json", "--val", "gone.json"], "gone.json"),
    ):
        assert train([*arguments, "--out", str(tmp_path / "job")]) == 3
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1


def test_a_recipe_with_an_unknown_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "odd.toml").write_text('network = "defect_p2"\nimputpx = 3\n')
    monkeypatch.setattr("training.recipe.RECIPES", tmp_path)
    with pytest.raises(StationFault, match="imputpx"):
        load_training_recipe("odd")


def test_a_coco_file_may_name_pictures_that_lie_elsewhere_on_this_machine(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "far.png"), np.zeros((50, 100), np.uint8))
    (tmp_path / "set").mkdir()
    images = [
        {"id": 1, "file_name": str(tmp_path / "far.png"), "width": 100, "height": 50},
        {"id": 2, "file_name": "../far.png", "width": 100, "height": 50, "template_file": "../far.png"},
    ]
    file = tmp_path / "set" / "coco.json"
    file.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    first, second = read_coco(file).pictures
    assert first.path.samefile(second.path)
    assert second.template is not None
    assert first.name.endswith("far.png")
    assert not first.name.startswith(("/", ".."))
    assert second.name == "far.png"
    with pytest.raises(StationFault, match="outside the set's folder"):
        read_coco(file, confined=True)


def test_a_picture_of_another_size_than_its_labels_teaches_nothing(tmp_path: Path):
    marks = [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 8]}]
    pictures = read_coco(_set(tmp_path, [{"id": 1, "file_name": "a.png", "width": 200}], marks))
    with pytest.raises(StationFault, match=r"a\.png: 100 x 50 pixels, its labels were drawn on 200 x 50"):
        write_folder(_recipe("yolo11n"), pictures, pictures, tmp_path / "out")
