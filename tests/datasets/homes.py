# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small pictures and labelled sets for the tests of dataset homes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datasets.labels import Label, LabelledSet, Picture
from inspection.types import Box

WHO, WHY = "Ann Example", "for the test"


def draw(folder: Path, name: str, seed: int) -> Path:
    """Write one small PNG that is like no other."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8)
    path = folder / name
    done, data = cv2.imencode(".png", pixels)
    assert done
    path.write_bytes(data.tobytes())
    return path


def box(class_name: str = "scratch", x0: float = 1.0, **more: Any) -> Label:
    return Label(class_name=class_name, box=Box(x0_px=x0, y0_px=1.0, x1_px=x0 + 3.0, y1_px=4.5), **more)


def picture(folder: Path, number: int, *labels: Label, **more: Any) -> Picture:
    name = f"p{number:04d}.png"
    return Picture(name=name, path=draw(folder, name, number), width_px=8, height_px=8, labels=labels, **more)


def labelled_set(*pictures: Picture, classes: tuple[str, ...] = ("scratch", "dent")) -> LabelledSet:
    return LabelledSet(classes=classes, pictures=pictures, source=Path("a test"))
