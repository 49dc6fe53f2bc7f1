# SPDX-License-Identifier: AGPL-3.0-or-later
"""Lay labelled pictures out the way ultralytics reads them, letterboxed by the station's own code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datasets.labels import LabelledSet, Picture
from inspection.pixels import Letterbox
from training.pictures import read_picture

MIN_SIDE_PX = 1.0  # a label thinner than this in the input carries nothing to learn


def write_split(
    pictures: Sequence[Picture], classes: Sequence[str], folder: Path, *, input_px: int, channels: int
) -> None:
    """Write pictures (PNG, input_px square) and labels (class, centre and size in 0..1) below `folder`."""
    number_of = {name: index for index, name in enumerate(classes)}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        pixels = read_picture(picture.path, channels)
        frame = Letterbox(
            source_width_px=pixels.shape[1],
            source_height_px=pixels.shape[0],
            width_px=input_px,
            height_px=input_px,
        )
        name = f"{number:06d}"
        shown = frame.apply(pixels)
        if channels == 3:
            shown = cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), shown, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        lines = []
        for label in picture.labels:
            box = label.box
            corners = frame.to_input(np.array([[box.x0_px, box.y0_px, box.x1_px, box.y1_px]]))[0]
            x0, y0, x1, y1 = np.clip(corners, 0, input_px)
            if min(x1 - x0, y1 - y0) >= MIN_SIDE_PX:
                middle_x, middle_y = (x0 + x1) / 2 / input_px, (y0 + y1) / 2 / input_px
                extent = (x1 - x0) / input_px, (y1 - y0) / input_px
                number_of_class = number_of[label.class_name]
                lines.append(f"{number_of_class} {middle_x:.6f} {middle_y:.6f} {extent[0]:.6f} {extent[1]:.6f}")
        (folder / "labels" / f"{name}.txt").write_text("\n".join(lines))


def write_folder(
    train: LabelledSet, val: LabelledSet, folder: Path, *, input_px: int, channels: int, template_share: float
) -> Path:
    """Write both splits and return the data file (JSON is YAML). Complete already: nothing is written.

    `template_share` of the training templates join as good pictures; the sets must agree in their classes.
    """
    if train.classes != val.classes:
        raise ValueError(f"classes differ: {train.source} has {train.classes}, {val.source} has {val.classes}")
    data = folder / "data.yaml"
    if data.is_file():
        return data
    step = round(1 / template_share) if template_share > 0 else 0
    good = train.templates[::step] if step else ()
    write_split((*train.pictures, *good), train.classes, folder / "train", input_px=input_px, channels=channels)
    write_split(val.pictures, train.classes, folder / "val", input_px=input_px, channels=channels)
    document = {
        "path": str(folder.resolve()),
        "train": "train/images",
        "val": "val/images",
        "channels": channels,
        "names": dict(enumerate(train.classes)),
    }
    data.write_text(json.dumps(document))
    return data
