# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a network is shown: folders for each task, policies that never change, states that outlive a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datasets.coco import read_coco
from datasets.labels import Label, LabelledSet, Picture
from inspection.types import Box, StationFault
from tests.training import drawn
from training.augmentations import policy, policy_names
from training.preview import preview
from training.recipe import TrainingRecipe, load_training_recipe, recipe_names
from training.sets import check_sets, described, read_sets, refuse_twins
from training.train import main as train
from training.yolo_folder import GOOD, defect_class, taught_classes, unmarked, write_folder

HASHES = {
    "binary_board@1": "15863619989325671ce33c67a60953edf6f7d7168176f9848a1055d3f3716611",
    "fixed_camera@1": "cab86706ea8018c682383f0500c0b9a8493d0c6ad156e8d34c9cdf8b5868d0c3",
    "fixed_pose@1": "fd0dad7499dcc3235f924f2a5460ad4e2c8b0ba74c96709d8ceebbdb8c9496a9",
    "none@1": "06450d67f72d63ebbea81a73a7f4e77615d94ce740729a491647e7ac7a9d5711",
    "surface@1": "f5efe6d0f2bc655c966ab2d7cc829ac031284635b10e9fdc77fa1792ceb3e15d",
}
"""A policy that did something else under the same name would make every card that names it untrue."""


def test_a_policy_never_changes():
    pytest.importorskip("albumentations", reason="training extras are not installed")
    assert {name: policy(name).sha256 for name in policy_names()} == HASHES


def test_every_recipe_that_ships_is_sound():
    pytest.importorskip("albumentations", reason="training extras are not installed")
    for name in recipe_names():
        assert policy(load_training_recipe(name).policy).name == load_training_recipe(name).policy


def _recipe(network: str, task: str) -> TrainingRecipe:
    return TrainingRecipe(name="t", network=network, task=task, input_px=64, channels=1, policy="none@1")


@pytest.fixture
def taught(tmp_path: Path) -> LabelledSet:
    return read_coco(drawn.draw(tmp_path / "set", 9, 4))


def test_pixels_are_taught_where_the_mask_lies(taught: LabelledSet, tmp_path: Path):
    write_folder(_recipe("defect_sem", "segment"), taught, taught, tmp_path / "data")
    names = json.loads((tmp_path / "data/data.yaml").read_text())["names"]
    assert list(names.values()) == ["background", "spot", "bar"]
    scale = 64 / drawn.WIDTH_PX
    top = (64 - round(drawn.HEIGHT_PX * scale)) // 2
    for number, picture in enumerate(taught.pictures):
        shown = cv2.imread(str(tmp_path / f"data/train/masks/{number:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(shown)) == {
            0,
            *(taught.index_of[label.class_name] + 1 for label in picture.labels),
        }
        for label in picture.labels:
            whole = label.pixels(drawn.HEIGHT_PX, drawn.WIDTH_PX).sum() * scale**2
            assert (shown > 0).sum() == pytest.approx(whole, rel=0.2)  # half a pixel all round
            down, across = np.nonzero(shown)
            box = label.box
            assert across.mean() == pytest.approx((box.x0_px + box.x1_px) / 2 * scale, abs=1.0)
            assert down.mean() == pytest.approx((box.y0_px + box.y1_px) / 2 * scale + top, abs=1.0)


def test_a_scratch_thinner_than_a_pixel_of_the_input_is_still_taught(tmp_path: Path):
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), np.full((640, 640), 100, np.uint8))
    line = tuple((x, y) for x, y in ((100.0, 320.0), (500.0, 320.0), (500.0, 321.0), (100.0, 321.0)))
    label = Label(class_name="scratch", box=Box(x0_px=100, y0_px=320, x1_px=501, y1_px=322), polygons=(line,))
    picture = Picture(name="wide.png", path=path, width_px=640, height_px=640, labels=(label,))
    wide = LabelledSet(classes=("scratch",), pictures=(picture,), source=tmp_path)
    write_folder(_recipe("defect_sem", "segment"), wide, wide, tmp_path / "data")
    shown = cv2.imread(str(tmp_path / "data/train/masks/000000.png"), cv2.IMREAD_UNCHANGED)
    assert 30 <= (shown > 0).sum() <= 90  # 40 px long, a pixel or two thick


def test_outlines_of_masks_enclose_what_the_mask_covers(taught: LabelledSet, tmp_path: Path):
    write_folder(_recipe("yolo26n-seg", "segment"), taught, taught, tmp_path / "data")
    for number, picture in enumerate(taught.pictures):
        lines = (tmp_path / f"data/train/labels/{number:06d}.txt").read_text().splitlines()
        assert len(lines) == len(picture.labels)
        for line, label in zip(lines, picture.labels, strict=True):
            kind, *values = line.split()
            assert int(kind) == taught.index_of[label.class_name]
            corners = (np.array(values, float).reshape(-1, 2) * 64).astype(np.int32)
            canvas = np.zeros((64, 64), np.uint8)
            cv2.fillPoly(canvas, [corners], 1)
            whole = label.pixels(drawn.HEIGHT_PX, drawn.WIDTH_PX).sum() * (64 / drawn.WIDTH_PX) ** 2
            assert canvas.sum() == pytest.approx(whole, rel=0.25)


def test_whole_pictures_are_told_apart_with_good_last(taught: LabelledSet, tmp_path: Path):
    recipe = _recipe("yolo26n-cls", "classify")
    write_folder(recipe, taught, taught, tmp_path / "data")
    kinds = json.loads((tmp_path / "data/train/classes.json").read_text())
    assert list(kinds.values()) == [2, 0, 1] * 3
    assert taught_classes(recipe, taught) == ("spot", "bar")


@pytest.mark.parametrize(
    ("image_class", "marks", "says"),
    [
        (None, [], GOOD),
        ("free", [], GOOD),
        (None, [("spot", 2), ("bar", 5)], "bar"),
        ("defective", [("spot", 2)], "spot"),
        ("bar", [("spot", 9), ("bar", 2)], "bar"),
        ("uneven", [], "uneven"),
    ],
)
def test_the_class_of_a_whole_picture(image_class: str | None, marks: list[tuple[str, int]], says: str):
    labels = tuple(
        Label(class_name=name, box=Box(x0_px=0, y0_px=0, x1_px=side, y1_px=side)) for name, side in marks
    )
    picture = Picture(name="p", path=Path("p"), width_px=9, height_px=9, image_class=image_class, labels=labels)
    assert defect_class(picture) == says


def test_a_picture_called_defective_without_a_mark_teaches_nothing(taught: LabelledSet):
    odd = replace(taught.pictures[1], labels=(), image_class="defective")
    spoilt = replace(taught, pictures=(odd, *taught.pictures[2:]))
    assert unmarked(_recipe("defect_p2", "detect"), spoilt.pictures) == [odd]
    given = read_sets(_recipe("defect_p2", "detect"), taught.source, taught.source, None)
    notes = check_sets(_recipe("defect_p2", "detect"), replace(given, train=spoilt))
    assert any("1 training pictures are called defective" in note for note in notes)


def test_a_picture_on_both_sides_is_refused_and_named(taught: LabelledSet, tmp_path: Path):
    other = read_coco(drawn.draw(tmp_path / "other", 6, 5))
    given = read_sets(_recipe("defect_p2", "detect"), taught.source, other.source, None)
    refuse_twins(given)
    (tmp_path / "other/images/5-2.png").write_bytes((tmp_path / "set/images/4-7.png").read_bytes())
    with pytest.raises(StationFault, match=r"5-2\.png of val is the same picture as 4-7\.png of train"):
        refuse_twins(given)


def test_the_hash_of_a_set_follows_labels_and_pixels(taught: LabelledSet, tmp_path: Path):
    first = described(taught)["sha256"]
    moved = replace(taught.pictures[1].labels[0], class_name="bar")
    pictures = (taught.pictures[0], replace(taught.pictures[1], labels=(moved,)), *taught.pictures[2:])
    assert described(replace(taught, pictures=pictures))["sha256"] != first
    path = tmp_path / "set/images/4-0.png"
    kept = path.read_bytes()
    path.write_bytes(kept + b"\0")
    assert described(taught)["sha256"] != first
    path.write_bytes(kept)
    assert described(taught)["sha256"] == first


def test_a_half_written_folder_is_not_taken_for_a_whole_one(taught: LabelledSet, tmp_path: Path):
    partial = tmp_path / "data.partial"
    (partial / "train" / "images").mkdir(parents=True)
    (partial / "train" / "images" / "999999.png").write_bytes(b"torn")
    write_folder(_recipe("defect_p2", "detect"), taught, taught, tmp_path / "data")
    assert not partial.exists()
    assert not (tmp_path / "data/train/images/999999.png").exists()


def test_a_preview_sheet_shows_pictures_and_what_becomes_of_them(tmp_path: Path):
    pytest.importorskip("albumentations", reason="training extras are not installed")
    coco = drawn.draw(tmp_path / "set", 6, 4)
    sheet = cv2.imread(str(preview("surface@1", coco, tmp_path / "sheet.png", 0)))
    assert sheet.shape[1] == 6 * (224 + 4)
    assert sheet.shape[0] == 22 + 4 * (224 + 4)  # four of six pictures have labels
    red = (sheet[..., 2] > 200) & (sheet[..., 0] < 80)
    assert red.sum() > 500  # labels are drawn
    again = cv2.imread(str(preview("surface@1", coco, tmp_path / "again.png", 0)))
    assert (sheet == again).all()
    with pytest.raises(StationFault, match="choose one of"):
        preview("surface@2", coco, tmp_path / "no.png", 0)
    with pytest.raises(StationFault, match="choose another --out"):
        preview("surface@1", coco, tmp_path / "again.png" / "no.png", 0)


def test_a_preview_speaks_to_programs_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("albumentations", reason="training extras are not installed")
    coco = drawn.draw(tmp_path / "set", 6, 4)
    sheet = tmp_path / "sheet.png"
    order = ["--preview-policy", "surface@1", "--train", str(coco), "--json", "--out"]
    assert train([*order, str(sheet)]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "sheet": str(sheet)}
    assert train([*order, str(tmp_path / "sheet.jpg")]) == 3
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize("spoil", ["cut", "garbled", "gone", "empty"])
def test_a_torn_state_costs_one_epoch_and_no_more(tmp_path: Path, spoil: str):
    torch: Any = pytest.importorskip("torch", reason="training extras are not installed")
    from training.checkpoint import STATE_NAME, read_state, write_state

    for epoch in range(2):
        write_state(tmp_path, {"model/a": torch.full((3, 3), float(epoch))}, {"epoch": epoch})
    newest = tmp_path / STATE_NAME
    held = read_state(tmp_path)
    assert held is not None
    assert held[1] == {"epoch": 1}
    if spoil == "gone":
        newest.unlink()
    else:
        whole = newest.read_bytes()
        newest.write_bytes({"cut": whole[: len(whole) // 2], "garbled": b"\x80\x04.", "empty": b""}[spoil])
    held = read_state(tmp_path)
    assert held is not None
    assert held[1] == {"epoch": 0}
    assert held[0]["model/a"].tolist() == [[0.0] * 3] * 3


def test_weights_of_another_network_are_refused(tmp_path: Path):
    torch: Any = pytest.importorskip("torch", reason="training extras are not installed")
    from training.checkpoint import load_matching

    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 4, 3))
    other = {"0.weight": torch.zeros(4, 1, 3, 3), "9.weight": torch.zeros(2)}
    with pytest.raises(StationFault, match="1 of the 4 tensors"):
        load_matching(network, other, "w.safetensors")
    assert load_matching(network, network.state_dict(), "w.safetensors") == 4


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path: Path):
    torch: Any = pytest.importorskip("torch", reason="training extras are not installed")
    from training.unpickle import plain_weights

    torch.save({"a": torch.ones(2)}, tmp_path / "tensors.pt")
    assert list(plain_weights(tmp_path / "tensors.pt", runs_code=False)) == ["a"]
    torch.save({"model": torch.nn.Conv2d(1, 1, 1)}, tmp_path / "module.pt")
    with pytest.raises(StationFault, match="--runs-code"):
        plain_weights(tmp_path / "module.pt", runs_code=False)
