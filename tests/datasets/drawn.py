# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small drawn sets: surfaces of one camera and one fixture, so that all pictures are a little alike."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from datasets.labels import Label, Picture
from inspection.types import Box


def surface(number: int, *, alike: float = 0.6, side_px: int = 96) -> np.ndarray:
    """A picture of its own texture under a fixture's layout, which all share. uint8 (side, side)."""
    rng = np.random.default_rng((7, number))
    layout = np.tile(np.linspace(60, 190, side_px), (side_px, 1))
    cv2.circle(layout, (side_px // 2, side_px // 2), side_px // 3, 150, 5)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (side_px, side_px)), (0, 0), 1.5)
    texture *= 40 * (1 - alike) / texture.std()
    return np.clip(layout + texture, 0, 255).astype(np.uint8)


def defective(picture: np.ndarray, number: int) -> tuple[np.ndarray, Box]:
    """The picture with a dark spot on it, and where."""
    rng = np.random.default_rng((8, number))
    height, width = picture.shape
    x, y = (int(v) for v in rng.integers(20, min(height, width) - 20, 2))
    spotted = picture.copy()
    cv2.circle(spotted, (x, y), 6, 10, -1)
    return spotted, Box(x0_px=x - 7, y0_px=y - 7, x1_px=x + 7, y1_px=y + 7)


def kept(folder: Path, name: str, pixels: np.ndarray, **facts: object) -> Picture:
    """Write a picture and describe it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return Picture(name=name, path=path, width_px=pixels.shape[1], height_px=pixels.shape[0], **facts)  # type: ignore[arg-type]


def some(folder: Path, numbers: range, *, bad_every: int = 4, prefix: str = "p") -> list[Picture]:
    """Pictures of distinct surfaces; every so many has a spot, labelled."""
    out = []
    for number in numbers:
        pixels = surface(number)
        if number % bad_every == 0:
            pixels, box = defective(pixels, number)
            labels = (Label(class_name="spot", box=box),)
            out.append(
                kept(
                    folder,
                    f"{prefix}{number:03}.png",
                    pixels,
                    labels=labels,
                    image_class="spot",
                    part=f"{number}",
                )
            )
        else:
            out.append(kept(folder, f"{prefix}{number:03}.png", pixels, image_class="good", part=f"{number}"))
    return out


def as_coco(path: Path, pictures: list[Picture]) -> Path:
    """Write the set as a COCO file beside its pictures."""
    names = sorted({label.class_name for p in pictures for label in p.labels} | {"spot"})
    images, annotations = [], []
    for number, picture in enumerate(pictures, 1):
        entry = {
            "id": number,
            "file_name": str(picture.path),
            "width": picture.width_px,
            "height": picture.height_px,
        }
        for field in ("image_class", "part", "lot", "sequence"):
            if getattr(picture, field) is not None:
                entry[field] = getattr(picture, field)
        images.append(entry)
        for label in picture.labels:
            box = label.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": names.index(label.class_name) + 1,
                    "bbox": [box.x0_px, box.y0_px, box.width_px, box.height_px],
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
