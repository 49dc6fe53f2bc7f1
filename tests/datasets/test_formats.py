# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every interchange format brings back what it says it carries, alone and one after another."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.formats.detect import detect
from datasets.formats.table import FEATURES, FORMATS, lost
from datasets.hostile import PictureCheck
from datasets.labels import GOOD_CLASSES, Label, LabelledSet, Picture, Rle
from tests.datasets.labelled_sets import box, draw_picture, expected, labelled_sets, mask_box, plain

NAMED = [name for name, f in FORMATS.items() if "name" in f.carries]
QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture
def check() -> Iterator[PictureCheck]:
    with PictureCheck() as pictures:
        yield pictures


def round_trip(labelled: LabelledSet, name: str, folder: Path, check: PictureCheck) -> LabelledSet:
    """Write, find out the format from what is there, read."""
    written = FORMATS[name].write(labelled, folder / name)
    found, where = detect(folder / name)
    assert found == name.removesuffix("-segment") or not labelled.pictures
    assert where in {written, folder / name}
    return FORMATS[name].read(where, check)


@pytest.mark.parametrize("name", NAMED)
@settings(QUIET, max_examples=25)
@given(data=st.data())
def test_a_format_brings_back_what_it_carries(name: str, check: PictureCheck, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        labelled = data.draw(labelled_sets(folder / "in"))
        came = round_trip(labelled, name, folder / "out", check)
        wanted = expected(labelled, FORMATS[name].carries)
        if "classes" not in FORMATS[name].carries:
            came = dataclasses.replace(came, classes=tuple(sorted(came.classes)))
        outlines_of_masks = name == "yolo-segment"  # other corners, same pixels: tested on its own below
        if outlines_of_masks:
            labelled = dataclasses.replace(
                labelled,
                pictures=tuple(
                    dataclasses.replace(p, labels=tuple(x for x in p.labels if x.mask is None))
                    for p in labelled.pictures
                ),
            )
            came = round_trip(labelled, name, folder / "again", check)
            wanted = expected(labelled, FORMATS[name].carries)
        assert plain(came) == plain(wanted)


@pytest.mark.parametrize(("one", "two"), list(itertools.permutations(NAMED, 2)))
@settings(QUIET, max_examples=3)
@given(data=st.data())
def test_two_formats_in_a_row_keep_what_both_carry(
    one: str, two: str, check: PictureCheck, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        labelled = data.draw(labelled_sets(folder / "in"))
        if "yolo-segment" in {one, two}:
            labelled = dataclasses.replace(
                labelled,
                pictures=tuple(
                    dataclasses.replace(p, labels=tuple(x for x in p.labels if x.mask is None))
                    for p in labelled.pictures
                ),
            )
        came = round_trip(round_trip(labelled, one, folder / "1", check), two, folder / "2", check)
        wanted = expected(expected(labelled, FORMATS[one].carries), FORMATS[two].carries)
        both = [dataclasses.replace(s, classes=tuple(sorted(s.classes))) for s in (came, wanted)]
        if "classes" not in FORMATS[one].carries:  # unused classes are gone after the first
            both = [dataclasses.replace(s, classes=()) for s in both]
        assert plain(both[0]) == plain(both[1])


@settings(QUIET, max_examples=25)
@given(data=st.data())
def test_folders_bring_back_the_class_and_the_marked_pixels(check: PictureCheck, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        labelled = data.draw(labelled_sets(folder / "in"))
        came = round_trip(labelled, "folders", folder / "out", check)
        again = round_trip(came, "folders", folder / "again", check)
        assert plain(again) == plain(came)  # a second time changes nothing, names included
        found = {p.name: p for p in came.pictures}
        assert len(found) == len(labelled.pictures)
        for picture in labelled.pictures:
            place = found[next(n for n in found if n.endswith("/" + picture.name))]
            assert place.good == picture.good
            assert place.path.read_bytes() == picture.path.read_bytes()
            if picture.image_class is not None and picture.image_class not in GOOD_CLASSES:
                assert place.image_class == picture.image_class
            if place.image_class not in GOOD_CLASSES and picture.labels:
                size = picture.height_px, picture.width_px
                union = np.logical_or.reduce([x.pixels(*size) for x in picture.labels])
                assert np.array_equal(place.labels[0].pixels(*size), union)


def _one_of_each(feature: str, folder: Path) -> LabelledSet:
    """A set that has this feature and nothing else that could be lost."""
    picture = Picture(name="p.png", path=draw_picture(folder / "p.png", 20, 16, 9), width_px=20, height_px=16)
    triangle, other = ((1.0, 1.0), (9.0, 1.0), (9.0, 9.0)), ((2.0, 10.0), (8.0, 10.0), (8.0, 14.0))
    mask = np.zeros((16, 20), bool)
    mask[3:6, 4:9] = True
    mask[4, 5] = False
    marks = {
        "box": Label(class_name="scratch", box=box(1, 2, 7, 9)),
        "polygon": Label(class_name="scratch", box=box(1, 1, 9, 9), polygons=(triangle,)),
        "polygons": Label(class_name="scratch", box=box(1, 1, 9, 14), polygons=(triangle, other)),
        "mask": Label(class_name="scratch", box=mask_box(mask), mask=Rle.from_mask(mask)),
        "detectability": Label(class_name="scratch", box=box(1, 2, 7, 9), detectability=0.5),
    }
    said = {"image_class": "broken", "part": "P 1", "lot": "L1", "sequence": "S1", "facts": {"shift": "late"}}
    if feature == "template":
        picture = dataclasses.replace(picture, template=draw_picture(folder / "t.png", 20, 16, 200))
    elif feature in said:
        picture = dataclasses.replace(picture, **{feature: said[feature]})
    elif feature in marks:
        picture = dataclasses.replace(picture, labels=(marks[feature],))
    elif feature == "classes":
        picture = dataclasses.replace(picture, labels=(marks["box"],))
    classes = ("zebra", "scratch", "ant") if feature == "classes" else ("scratch",)
    return LabelledSet(classes=classes, pictures=(picture,), source=folder)


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("name", FORMATS)
def test_the_table_of_what_a_format_carries_is_true(
    name: str, feature: str, tmp_path: Path, check: PictureCheck
) -> None:
    labelled = _one_of_each(feature, tmp_path / "in")
    came = round_trip(labelled, name, tmp_path, check)
    before, after = plain(labelled), plain(came)
    kept = {
        "classes": before["classes"] == after["classes"],
        "name": set(before["pictures"]) == set(after["pictures"]),
    }.get(feature)
    if kept is None:
        (old,), (new,) = before["pictures"].values(), after["pictures"].values()
        part = {"template": "template", "box": "labels", "polygon": "labels", "polygons": "labels"} | {
            "mask": "labels",
            "detectability": "labels",
        }
        key = part.get(feature, "said")
        kept = old[key] == new[key]
    assert kept == (feature in FORMATS[name].carries)
    if feature not in {"classes", "name"}:
        assert kept or any(FEATURES[feature] in said for said in lost(labelled, name))


def test_the_documented_table_is_the_one_of_the_code(repository: Path) -> None:
    text = (repository / "docs/formats.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    head = next(row for row in rows if row[0] == "format")
    assert head[1:] == [FEATURES[key] for key in FEATURES]
    for name, form in FORMATS.items():
        row = next(row for row in rows if row[0] == f"`{name}`")
        assert row[1:] == ["yes" if key in form.carries else "" for key in FEATURES], name


def test_outlines_of_a_mask_cover_its_pixels(tmp_path: Path, check: PictureCheck) -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:20, 10:30] = True
    mask[8:25, 25:40] = True
    mask[30, 50] = True  # a lone pixel
    label = Label(class_name="stain", box=mask_box(mask), mask=Rle.from_mask(mask))
    picture = Picture(
        name="a.png",
        path=draw_picture(tmp_path / "a.png", 60, 40, 1),
        width_px=60,
        height_px=40,
        labels=(label,),
    )
    labelled = LabelledSet(classes=("stain",), pictures=(picture,), source=tmp_path)
    came = round_trip(labelled, "yolo-segment", tmp_path, check).pictures[0].labels
    assert len(came) == 2  # a row each piece
    union = np.logical_or.reduce([x.pixels(40, 60) for x in came])
    assert (union & mask).sum() == mask.sum()
    assert (union & ~mask).sum() <= 4
