# SPDX-License-Identifier: AGPL-3.0-or-later
"""Labelled sets to write and read back, and an independent word on what each format must bring back."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from datasets.labels import Label, LabelledSet, Picture, Rle
from inspection.types import Box

WORDS = st.text(
    alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), exclude_characters="/\\"),
    min_size=1,
    max_size=12,
).filter(lambda s: s.strip() == s and s not in {".", ".."} and ":" not in s)
"""Class names, parts, lots: any letters, signs and inner spaces."""
FILE_STEMS = WORDS.filter(lambda s: not s.startswith(".") and not s.endswith("_mask") and len(s.encode()) < 60)
GOOD_OR_BAD = st.one_of(st.none(), st.just("good"), WORDS.filter(lambda s: not s.startswith(".")))


def draw_picture(path: Path, width_px: int, height_px: int, shade: int) -> Path:
    """A real PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width_px, height_px), shade).save(path)
    return path


def box(x0: float, y0: float, x1: float, y1: float) -> Box:
    return Box(x0_px=x0, y0_px=y0, x1_px=x1, y1_px=y1)


def bounding(polygons: tuple[tuple[tuple[float, float], ...], ...]) -> Box:
    xs = [x for polygon in polygons for x, _ in polygon]
    ys = [y for polygon in polygons for _, y in polygon]
    return box(min(xs), min(ys), max(xs), max(ys))


def mask_box(mask: np.ndarray) -> Box:
    ys, xs = np.nonzero(mask)
    return box(float(xs.min()), float(ys.min()), float(xs.max()) + 1, float(ys.max()) + 1)


@st.composite
def polygons(draw: Any, width_px: int, height_px: int) -> tuple[tuple[float, float], ...]:
    """A triangle or more with some area, by corners of a box and points in it."""
    x0 = draw(st.floats(0, width_px - 3))
    y0 = draw(st.floats(0, height_px - 3))
    x1 = draw(st.floats(x0 + 1, width_px))
    y1 = draw(st.floats(y0 + 1, height_px))
    more = draw(st.lists(st.tuples(st.floats(x0, x1), st.floats(y0, y1)), max_size=4))
    return ((x0, y0), (x1, y0), (x1, y1), *more)


@st.composite
def masks(draw: Any, width_px: int, height_px: int) -> np.ndarray:
    """Scattered pixels and blocks."""
    seed = draw(st.integers(0, 2**16))
    share = draw(st.sampled_from((0.02, 0.5, 1.0)))
    mask = np.random.default_rng(seed).random((height_px, width_px)) < share
    mask[draw(st.integers(0, height_px - 1)), draw(st.integers(0, width_px - 1))] = True
    return mask


@st.composite
def labels(draw: Any, classes: list[str], width_px: int, height_px: int) -> Label:
    """A box, an outline or several, or a mask."""
    name = draw(st.sampled_from(classes))
    kind = draw(st.sampled_from(("box", "polygon", "polygons", "mask")))
    if kind == "box":
        (a, b) = draw(polygons(width_px, height_px))[0], draw(st.floats(1, 60))
        x1, y1 = min(a[0] + b, float(width_px)), min(a[1] + b / 2, float(height_px))
        return Label(class_name=name, box=box(*a, x1, y1))
    if kind == "mask":
        mask = draw(masks(width_px, height_px))
        return Label(class_name=name, box=mask_box(mask), mask=Rle.from_mask(mask))
    count = 1 if kind == "polygon" else draw(st.integers(2, 3))
    shapes = tuple(draw(polygons(width_px, height_px)) for _ in range(count))
    return Label(class_name=name, box=bounding(shapes), polygons=shapes)


@st.composite
def pictures(draw: Any, name: str, folder: Path, classes: list[str]) -> Picture:
    width_px, height_px = draw(st.integers(4, 40)), draw(st.integers(4, 40))
    image_class = draw(GOOD_OR_BAD)
    found = draw(st.lists(labels(classes, width_px, height_px), max_size=3)) if classes else []
    if image_class == "good":
        found = []
    optional = st.one_of(st.none(), WORDS)
    path = draw_picture(folder / name, width_px, height_px, draw(st.integers(0, 255)))
    return Picture(
        name=name,
        path=path,
        width_px=width_px,
        height_px=height_px,
        labels=tuple(found),
        image_class=image_class,
        part=draw(optional),
        lot=draw(optional),
        sequence=draw(optional),
        facts=draw(st.dictionaries(WORDS.map("fact {}".format), WORDS, max_size=2)),
    )


@st.composite
def labelled_sets(draw: Any, folder: Path) -> LabelledSet:
    """One to three pictures whose names have folders, spaces and any letters."""
    classes = draw(st.lists(WORDS, min_size=1, max_size=3, unique=True))
    stems = draw(st.lists(FILE_STEMS, min_size=1, max_size=3, unique_by=lambda s: s.casefold()))
    inner = draw(st.sampled_from(("", "images/", "a b/ü/")))
    made = [draw(pictures(f"{inner}{stem}.png", folder, classes)) for stem in stems]
    return LabelledSet(classes=tuple(classes), pictures=tuple(made), source=folder)


def expected(labelled: LabelledSet, carries: frozenset[str]) -> LabelledSet:
    """What a format that carries these must bring back; written down apart from readers and writers."""
    made = tuple(_expected_picture(picture, carries) for picture in labelled.pictures)
    used = {label.class_name for picture in made for label in picture.labels}
    classes = labelled.classes if "classes" in carries else tuple(sorted(used))
    return dataclasses.replace(labelled, classes=classes, pictures=made)


def _expected_picture(picture: Picture, carries: frozenset[str]) -> Picture:
    def kept(key: str, otherwise: Any = None) -> Any:
        return getattr(picture, key) if key in carries else otherwise

    return dataclasses.replace(
        picture,
        labels=tuple(x for label in picture.labels for x in _expected_labels(label, picture, carries)),
        image_class=kept("image_class"),
        part=kept("part"),
        lot=kept("lot"),
        sequence=kept("sequence"),
        facts=kept("facts", {}),
        template=kept("template"),
    )


def _expected_labels(label: Label, picture: Picture, carries: frozenset[str]) -> list[Label]:
    sure = label.detectability if "detectability" in carries else None
    plain = Label(class_name=label.class_name, box=label.box, detectability=sure)
    if label.mask is not None:
        if "mask" in carries:
            return [dataclasses.replace(plain, mask=label.mask)]
        return [plain] if "box" in carries else []
    if label.polygons and "polygons" in carries:
        return [dataclasses.replace(plain, polygons=label.polygons)]
    if label.polygons and "polygon" in carries:
        return [dataclasses.replace(plain, polygons=(p,), box=bounding((p,))) for p in label.polygons]
    if "box" in carries:
        return [plain]
    b = label.box
    corners = ((b.x0_px, b.y0_px), (b.x1_px, b.y0_px), (b.x1_px, b.y1_px), (b.x0_px, b.y1_px))
    return [dataclasses.replace(plain, polygons=(corners,))]


def plain(labelled: LabelledSet, *, masks_too: bool = True) -> dict[str, Any]:
    """A set as values to compare: without paths, numbers to a millionth of a pixel."""
    return {
        "classes": labelled.classes,
        "pictures": {p.name: _plain_picture(p, masks_too) for p in labelled.pictures},
    }


def _plain_picture(picture: Picture, masks_too: bool) -> dict[str, Any]:
    return {
        "size": (picture.width_px, picture.height_px),
        "bytes": hashlib.sha256(picture.path.read_bytes()).hexdigest(),
        "template": picture.template and hashlib.sha256(picture.template.read_bytes()).hexdigest(),
        "said": (picture.image_class, picture.part, picture.lot, picture.sequence, dict(picture.facts)),
        "labels": [_plain_label(x) for x in picture.labels if masks_too or x.mask is None],
    }


def _plain_label(label: Label) -> tuple[Any, ...]:
    b = label.box
    return (
        label.class_name,
        tuple(round(float(v), 5) + 0.0 for v in (b.x0_px, b.y0_px, b.x1_px, b.y1_px)),
        tuple(tuple((round(x, 5) + 0.0, round(y, 5) + 0.0) for x, y in p) for p in label.polygons),
        label.mask,
        label.detectability,
    )


def tree_hash(folder: Path) -> str:
    """Hash over every path below a folder and every byte in it."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(str(path.relative_to(folder)).encode() + b"\0")
        if path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
