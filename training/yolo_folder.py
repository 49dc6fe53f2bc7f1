# SPDX-License-Identifier: AGPL-3.0-or-later
"""Lay labelled pictures out the way ultralytics reads them, letterboxed by the station's own code.

    FOLDER/data.yaml                      what it holds (JSON is YAML)
    FOLDER/{train,val}/images/NNNNNN.png  input_px square
    FOLDER/{train,val}/labels/NNNNNN.txt  boxes or outlines, each of 0..1 (methods boxes, instances)
    FOLDER/{train,val}/masks/NNNNNN.png   class a pixel, 0 is background (method pixels)
    FOLDER/{train,val}/classes.json       class a picture (method whole)
    FOLDER/train.txt                      what an epoch shows, where the recipe wants defects more often

The folder appears by one rename when it is complete: a half-written one is never taken for whole.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datasets.labels import GOOD_CLASSES, Label, LabelledSet, Picture
from inspection.pixels import Letterbox
from inspection.prepare import SAME
from inspection.storage.files import sync_folder
from inspection.types import StationFault
from training.pictures import prepared_picture
from training.recipe import TrainingRecipe

MIN_SIDE_PX = 1.0  # a label thinner than this in the input carries nothing to learn
SHOWN_NAME = "train.txt"
GOOD = "good"
"""Class of a good picture where whole pictures are told apart; always the last one."""


def taught_classes(recipe: TrainingRecipe, train: LabelledSet) -> tuple[str, ...]:
    """Classes of the candidate's card, without good and background."""
    if recipe.method != "whole":
        return train.classes
    seen = {defect_class(picture) for picture in train.pictures} - {GOOD}
    known = [name for name in train.classes if name in seen]
    return (*known, *sorted(seen - set(known)))


def defect_class(picture: Picture) -> str:
    """The class of a whole picture: what it is called, else what covers most of it, else good."""
    called = picture.image_class
    largest = max(picture.labels, key=lambda label: label.box.width_px * label.box.height_px, default=None)
    if called is None:
        return GOOD if largest is None else largest.class_name
    if called in GOOD_CLASSES:
        return GOOD
    # "defective" and the like say less than a label does
    return largest.class_name if largest is not None and called not in _names(picture) else called


def _names(picture: Picture) -> set[str]:
    return {label.class_name for label in picture.labels}


def unmarked(recipe: TrainingRecipe, pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures that are called defective and show no label: nobody knows where, so they teach nothing."""
    if recipe.method == "whole":
        return []
    return [picture for picture in pictures if not picture.good and not picture.labels]


def write_folder(recipe: TrainingRecipe, train: LabelledSet, val: LabelledSet, folder: Path) -> Path:
    """Write both splits and return the data file. Complete already: nothing is written.

    A share of the training templates joins as good pictures (recipe.template_share).
    """
    data = folder / "data.yaml"
    if data.is_file():
        return data
    classes = taught_classes(recipe, train)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    step = round(1 / recipe.template_share) if recipe.template_share > 0 else 0
    good = train.templates[::step] if step else ()
    for split, pictures in (("train", (*train.pictures, *good)), ("val", val.pictures)):
        left_out = {picture.name for picture in unmarked(recipe, pictures)}
        taught = [picture for picture in pictures if picture.name not in left_out]
        marked = _write_split(recipe, taught, classes, partial / split)
        if split == "train" and recipe.defective_share:
            shown = _shown_again(len(taught), marked, recipe.defective_share)
            lines = [f"./train/images/{number:06d}.png" for number in shown]
            (partial / SHOWN_NAME).write_text("\n".join(lines))
    (partial / "data.yaml").write_text(json.dumps(_described(recipe, classes, folder)))
    os.sync()  # thousands of small files: one sync instead of one for each
    partial.rename(folder)
    sync_folder(folder.parent)
    return data


def _shown_again(pictures: int, marked: Sequence[int], share: float) -> list[int]:
    """Numbers of the pictures of an epoch: marked ones so often that they are at least `share` of it."""
    good = pictures - len(marked)
    if not marked or not good:
        return list(range(pictures))
    times = max(1, math.ceil(share * good / ((1 - share) * len(marked)) - 1e-9))
    return sorted([*range(pictures), *list(marked) * (times - 1)])


def _described(recipe: TrainingRecipe, classes: tuple[str, ...], folder: Path) -> dict[str, object]:
    names = {"pixels": ("background", *classes), "whole": (*classes, GOOD)}.get(recipe.method, classes)
    described: dict[str, object] = {
        "path": str(folder.resolve()),
        "train": SHOWN_NAME if recipe.defective_share else "train/images",
        "val": "val/images",
        "channels": recipe.channels,
        "nc": len(names),
        "names": dict(enumerate(names)),
    }
    if recipe.method == "pixels":
        described["masks_dir"] = "masks"
    return described


def _write_split(
    recipe: TrainingRecipe, pictures: Sequence[Picture], classes: tuple[str, ...], folder: Path
) -> list[int]:
    """Write the pictures; returns the numbers of those on which something is left to learn of a defect.

    Not of all that have a label: a box may become too thin to be written, and its picture is background then.
    """
    marked: list[int] = []
    numbers = {name: number for number, name in enumerate(classes)}
    kinds: dict[str, int] = {}
    for part in ("images", "labels" if recipe.method in ("boxes", "instances") else "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        name = f"{number:06d}"
        prepared = prepared_picture(picture, recipe.channels, recipe.steps)
        if not np.array_equal(prepared.back, SAME):
            raise StationFault(
                f"recipe {recipe.name}: labels cannot follow a step of `prepare` that moves pixels"
            )
        pixels = prepared.pixels
        frame = Letterbox(
            source_width_px=pixels.shape[1],
            source_height_px=pixels.shape[0],
            width_px=recipe.input_px,
            height_px=recipe.input_px,
        )
        shown = frame.apply(pixels)
        if recipe.channels == 3:
            shown = cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)
        _write_png(folder / "images" / f"{name}.png", shown)
        if recipe.method == "whole":
            kind = defect_class(picture)
            kinds[name] = {**numbers, GOOD: len(classes)}[kind]
            shows = kind != GOOD
        elif recipe.method == "pixels":
            size = pixels.shape[0], pixels.shape[1]
            classes_shown = _class_map(picture.labels, numbers, frame, size)
            _write_png(folder / "masks" / f"{name}.png", classes_shown)
            shows = bool(classes_shown.any())
        else:
            of = _box_line if recipe.method == "boxes" else _outline_lines
            lines = [line for label in picture.labels for line in of(label, numbers[label.class_name], frame)]
            (folder / "labels" / f"{name}.txt").write_text("\n".join(lines))
            shows = bool(lines)
        if shows:
            marked.append(number)
    if recipe.method == "whole":
        (folder / "classes.json").write_text(json.dumps(kinds))
    return marked


def _write_png(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise StationFault(f"cannot write {path}: free space on the disk, or correct the folder's rights")


def _box_line(label: Label, number: int, frame: Letterbox) -> list[str]:
    """Class, centre and size in 0..1; nothing for a box that has become too thin."""
    box = label.box
    corners = frame.to_input(np.array([[box.x0_px, box.y0_px, box.x1_px, box.y1_px]]))[0]
    x0, x1 = np.clip(corners[0::2], 0, frame.width_px) / frame.width_px
    y0, y1 = np.clip(corners[1::2], 0, frame.height_px) / frame.height_px
    if min((x1 - x0) * frame.width_px, (y1 - y0) * frame.height_px) < MIN_SIDE_PX:
        return []
    return [f"{number} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}"]


def _outline_lines(label: Label, number: int, frame: Letterbox) -> list[str]:
    """Class and the corners of each outline in 0..1: drawn ones as they are, masks by their contours."""
    polygons = [np.asarray(polygon, np.float64) for polygon in label.polygons]
    if label.mask is not None:
        shape = label.mask.to_mask().astype(np.uint8)
        contours, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        polygons = [contour[:, 0].astype(np.float64) + 0.5 for contour in contours]
    elif not polygons:
        box = label.box
        x0, y0, x1, y1 = box.x0_px, box.y0_px, box.x1_px, box.y1_px
        polygons = [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]
    lines = []
    for polygon in polygons:
        if len(polygon) < 3:  # a mask of one or two pixels: its outline has no inside
            polygon = _around(polygon)  # noqa: PLW2901 - the same outline, made fit to be drawn
        corners = frame.to_input(np.hstack([polygon, polygon]))[:, :2]
        corners = np.clip(corners / (frame.width_px, frame.height_px), 0, 1)
        lines.append(f"{number} " + " ".join(f"{value:.6f}" for value in corners.ravel()))
    return lines


def _around(points: np.ndarray) -> np.ndarray:
    (x0, y0), (x1, y1) = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _class_map(
    labels: Sequence[Label], numbers: dict[str, int], frame: Letterbox, size: tuple[int, int]
) -> np.ndarray:
    """uint8 map of the input: 0 background, class number + 1 where a label lies; the smaller label wins."""
    inner_width, inner_height = frame.inner_px
    left, top = frame.offset_px
    canvas = np.zeros((frame.height_px, frame.width_px), np.uint8)
    window = canvas[top : top + inner_height, left : left + inner_width]
    how = cv2.INTER_AREA if frame.scale <= 0.8 else cv2.INTER_LINEAR
    masks = sorted(((label.pixels(*size), label) for label in labels), key=lambda pair: -int(pair[0].sum()))
    for mask, label in masks:
        shown = cv2.resize(mask.astype(np.float32), (inner_width, inner_height), interpolation=how)
        # half covered is covered; a line thinner than a pixel of the input is kept where it covers most
        window[shown >= min(0.5, float(shown.max()) * 0.99)] = numbers[label.class_name] + 1
    return canvas
