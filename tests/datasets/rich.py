# SPDX-License-Identifier: AGPL-3.0-or-later
"""A labelled set that has everything a set can have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.labels import Label, LabelledSet, Picture, Rle
from tests.datasets.labelled_sets import box, draw_picture, mask_box


def rich_set(folder: Path, count: int = 4) -> LabelledSet:
    """Pictures with every kind of label and everything a picture can say of itself."""
    mask = np.zeros((24, 32), bool)
    mask[3:9, 4:20] = True
    mask[5, 6] = False
    triangle, other = ((1.0, 1.0), (9.5, 1.0), (9.5, 9.25)), ((2.0, 10.0), (8.0, 10.0), (8.0, 14.0))
    marks = (
        Label(class_name="Kratzer ß", box=box(1, 2, 7.5, 9)),
        Label(class_name="dent", box=box(1, 1, 9.5, 14), polygons=(triangle, other)),
        Label(class_name="dent", box=mask_box(mask), mask=Rle.from_mask(mask)),
    )
    template = draw_picture(folder / "golden one.png", 32, 24, 200)
    pictures = [
        Picture(
            name=f"Straße 1/テスト {i}.png",
            path=draw_picture(folder / f"{i}.png", 32, 24, i % 250),
            width_px=32,
            height_px=24,
            labels=marks[: i % 4],
            image_class="good" if i % 4 == 0 else "broken",
            part=f"P {i // 2}",
            lot="L=1",
            sequence="S-1",
            template=template,
            facts={"shift": "late", "exposure": "12"},
        )
        for i in range(count)
    ]
    return LabelledSet(classes=("Kratzer ß", "dent", "never seen"), pictures=tuple(pictures), source=folder)
