# SPDX-License-Identifier: AGPL-3.0-or-later
"""Photographs as parts: what counts as good, letterboxing, order, and sentences for what is no picture."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspection.twin.source import (
    BORDER_GREY,
    PhotographSource,
    check_pictures,
    is_colour,
    make_source,
    read_photographs,
)
from inspection.twin.stamp import decode_strip
from inspection.types import StationFault


def write_picture(path: Path, width: int, height: int, value: int = 200) -> None:
    Image.fromarray(np.full((height, width), value, np.uint8)).save(path)


def write_coco(
    folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]] | None = None
) -> Path:
    path = folder / "parts.json"
    sizes = [_size(folder / image["file_name"]) for image in images]
    content = {
        "images": [{**image, "width": w, "height": h} for image, (w, h) in zip(images, sizes, strict=True)],
        "annotations": annotations or [],
        "categories": [{"id": 1, "name": "pit"}, {"id": 2, "name": "scratch"}],
    }
    path.write_text(json.dumps(content))
    return path


def _size(path: Path) -> tuple[int, int]:
    if not path.is_file():
        return 240, 40
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    sizes = {"a": (256, 100), "b": (300, 200), "c": (256, 100), "d": (256, 100), "t": (300, 200)}
    for name, (width, height) in sizes.items():
        write_picture(tmp_path / f"{name}.png", width, height)
    images: list[dict[str, Any]] = [
        {"id": 1, "file_name": "a.png", "image_class": "good"},
        {"id": 2, "file_name": "b.png", "template_file": "t.png"},
        {"id": 3, "file_name": "c.png"},
        {"id": 4, "file_name": "d.png", "image_class": "uneven"},
    ]
    marks = [
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [10, 20, 5, 9]},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [50, 60, 30, 4]},
    ]
    return write_coco(tmp_path, images, marks)


def test_what_is_good_and_what_is_defective(coco: Path) -> None:
    parts = {p.path.stem: p for p in read_photographs(coco)}
    assert {name: p.defective for name, p in parts.items()} == {
        "a": False, "b": True, "c": False, "d": True, "t": False,
    }  # fmt: skip
    assert [m[0] for m in parts["b"].marks] == ["pit", "scratch"]


def test_a_template_shared_by_two_pictures_is_one_part(tmp_path: Path) -> None:
    for name in ("a", "b", "t"):
        write_picture(tmp_path / f"{name}.png", 240, 40)
    images = [{"id": i, "file_name": f"{n}.png", "template_file": "t.png"} for i, n in enumerate("ab")]
    assert len(read_photographs(write_coco(tmp_path, images))) == 3


def test_frames_have_the_largest_size_with_a_grey_border_and_a_stamp(coco: Path) -> None:
    source = PhotographSource(read_photographs(coco), seed=3)
    assert (source.width_px, source.height_px) == (304, 200 + 16)
    numbers = {source.photograph(k).path.stem: k for k in range(5)}
    frame = source.render(numbers["a"], 1)
    assert frame.shape == (216, 304)
    assert decode_strip(frame[-16:]) == (numbers["a"], 1)
    view = frame[:-16]
    assert (view[50:150, 24:280] == 200).all()
    assert set(np.unique(view[:50])) == {BORDER_GREY}
    assert set(np.unique(view[:, :24])) == {BORDER_GREY}
    box = source.truth(numbers["b"]).defects[1].box
    assert (box.x0_px, box.y0_px, box.width_px, box.height_px) == (52, 60, 30, 4)


def test_each_cycle_shows_every_part_once_in_another_seeded_order(coco: Path) -> None:
    source = PhotographSource(read_photographs(coco), seed=3)
    order = [source.photograph(k).path.stem for k in range(20)]
    assert all(sorted(order[i : i + 5]) == ["a", "b", "c", "d", "t"] for i in (0, 5, 10, 15))
    assert len({tuple(order[i : i + 5]) for i in (0, 5, 10, 15)}) > 1
    assert all(a != b for a, b in pairwise([source.photograph(k).path for k in range(500)]))
    again = make_source(coco=coco, seed=3, views=1)
    assert isinstance(again, PhotographSource)
    assert [again.photograph(k).path.stem for k in range(20)] == order
    other = PhotographSource(read_photographs(coco), seed=4)
    assert [other.photograph(k).path.stem for k in range(20)] != order


def test_colour_is_carried_only_where_there_is_colour(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 255, (40, 240), np.uint8)
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "grey.png")
    Image.fromarray(rng.integers(0, 255, (40, 240, 3), np.uint8)).save(tmp_path / "colour.png")
    images = [{"id": i, "file_name": f"{n}.png"} for i, n in enumerate(("grey", "colour"))]
    parts = read_photographs(write_coco(tmp_path, images))
    assert not is_colour(parts[:1])
    assert is_colour(parts[1:])
    source = PhotographSource(parts, seed=1, colour=True)
    frame = source.render(0, 0)
    assert frame.shape == (56, 240, 3)
    assert decode_strip(np.ascontiguousarray(frame[-16:, :, 0])) == (0, 0)


def test_a_file_that_is_no_picture_is_named(coco: Path) -> None:
    (coco.parent / "c.png").write_bytes(b"this is not a picture")
    with pytest.raises(StationFault, match=r"c\.png is not a picture"):
        check_pictures(read_photographs(coco))


def test_a_picture_that_ends_too_early_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 255, (200, 300), np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StationFault, match=r"a\.png is not a picture"):
        check_pictures(read_photographs(write_coco(tmp_path, [{"id": 1, "file_name": "a.png"}])))


def test_a_missing_picture_is_named(coco: Path) -> None:
    (coco.parent / "t.png").unlink()
    with pytest.raises(StationFault, match=r"picture 't\.png' is not in"):
        check_pictures(read_photographs(coco))


@pytest.mark.parametrize("content", ["{", "[]", '{"images": [{"id": 1}]}', '{"images": []}', '{"images": 3}'])
def test_a_file_that_is_no_coco_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(StationFault, match=r"x\.json"):
        read_photographs(path)


def test_defective_without_annotations_is_defective_where_classes_are_given(tmp_path: Path) -> None:
    """Some sets mark a picture as bad and draw nothing on it; others leave out the class and draw."""
    for name in "abcd":
        write_picture(tmp_path / f"{name}.png", 240, 40)
    images: list[dict[str, Any]] = [
        {"id": 1, "file_name": "a.png", "image_class": "free"},
        {"id": 2, "file_name": "b.png", "image_class": "blowhole"},
        {"id": 3, "file_name": "c.png", "image_class": None},
        {"id": 4, "file_name": "d.png", "image_class": "good"},
    ]
    marks = [{"id": 1, "image_id": 4, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    parts = {p.path.stem: p for p in read_photographs(write_coco(tmp_path, images, marks))}
    assert {name: p.defective for name, p in parts.items()} == {"a": False, "b": True, "c": False, "d": False}
    source = PhotographSource(list(parts.values()), seed=1)
    truths = {source.photograph(k).path.stem: source.truth(k) for k in range(4)}
    assert truths["b"].defective
    assert truths["b"].above_limit
    assert truths["b"].defects == ()
    assert truths["d"].defects == ()


@pytest.mark.parametrize(
    ("images", "marked", "sentence"),
    [
        ([1, 2], "1", r"annotations\[0\].image_id: '1' is not the id of a picture"),
        ([1, 2], 3, r"annotations\[0\].image_id: 3 is not the id of a picture"),
        ([1, 1], 1, "1 is there twice"),
    ],
)
def test_an_annotation_that_would_be_lost_is_refused(
    tmp_path: Path, images: list[int], marked: object, sentence: str
) -> None:
    """Lost, it would make a good part of a defective one, and every figure of the run wrong."""
    rows = [{"id": n, "file_name": f"{i}.png"} for i, n in enumerate(images)]
    marks = [{"id": 7, "image_id": marked, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    with pytest.raises(StationFault, match=sentence):
        read_photographs(write_coco(tmp_path, rows, marks))
