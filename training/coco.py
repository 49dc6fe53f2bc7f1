# SPDX-License-Identifier: AGPL-3.0-or-later
"""Read COCO files as labelled pictures, with what an inspection set adds: good parts and templates.

A picture is good when its `image_class` is `good` or `free`, or, without an `image_class`, when it has no
annotations. A `template_file` names a defect-free picture of the same board: a good part of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from inspection.pixels import Letterbox
from inspection.types import Box, StationFault

GOOD_CLASSES = frozenset({"good", "free"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One taught defect: its class index (into the set's classes) and its box in picture pixels."""

    class_index: int
    box: Box
    detectability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One labelled picture on disk. `part`: pictures of the same part carry the same name."""

    path: Path
    width_px: int
    height_px: int
    labels: tuple[Label, ...]
    good: bool
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """The pictures of one COCO file and the names of their classes, in class index order."""

    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    templates: tuple[Picture, ...]  # one for each distinct template_file, all good
    source: Path


def read_coco(path: Path) -> PictureSet:
    """Read a COCO detection file and the pictures beside it (same folder, or its `images` folder).

    Raises StationFault naming the file and the field when something is missing or out of place.
    """
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        categories = sorted(raw["categories"], key=lambda c: c["id"])
        entries, annotations = raw["images"], raw["annotations"]
    except FileNotFoundError:
        raise StationFault(f"{path}: no such COCO file; give the path of its JSON") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise StationFault(
            f"{path}: not a COCO detection file ({error}); it needs images, annotations, categories"
        ) from None
    index_of = {category["id"]: index for index, category in enumerate(categories)}
    labels: dict[int, list[Label]] = {}
    for number, entry in enumerate(annotations):
        try:
            x, y, width, height = (float(v) for v in entry["bbox"])
            label = Label(
                class_index=index_of[entry["category_id"]],
                box=Box(x0_px=x, y0_px=y, x1_px=x + width, y1_px=y + height),
                detectability=entry.get("detectability"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StationFault(
                f"{path}: annotations[{number}] is not usable ({error}); needs bbox and category_id"
            ) from None
        labels.setdefault(entry["image_id"], []).append(label)
    pictures, templates = [], {}
    for entry in entries:
        found = tuple(labels.get(entry["id"], ()))
        kind = entry.get("image_class")
        good = kind in GOOD_CLASSES if kind is not None else not found
        location = _locate(path, entry["file_name"])
        size = {"width_px": int(entry["width"]), "height_px": int(entry["height"])}
        part = str(entry.get("part", entry["file_name"]))
        pictures.append(Picture(path=location, labels=found, good=good, part=part, **size))
        template = entry.get("template_file")
        if template is not None and template not in templates:
            templates[template] = Picture(
                path=_locate(path, template), labels=(), good=True, part=f"template:{template}", **size
            )
    return PictureSet(
        classes=tuple(c["name"] for c in categories),
        pictures=tuple(pictures),
        templates=tuple(templates.values()),
        source=path,
    )


def _locate(coco: Path, name: str) -> Path:
    for candidate in (coco.parent / name, coco.parent / "images" / name):
        if candidate.is_file():
            return candidate
    raise StationFault(f"{coco}: picture {name} is neither beside the file nor in its images folder")


def read_picture(path: Path, channels: int) -> np.ndarray:
    """Read one picture as uint8 grey (H, W) or RGB (H, W, 3). Raises StationFault when it is not a picture."""
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    picture = cv2.imread(str(path), flag)
    if picture is None:
        raise StationFault(
            f"{path}: not a picture that can be read; replace it or take it out of the COCO file"
        )
    return picture if channels == 1 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def network_pictures(pictures: tuple[Picture, ...], size_px: int, channels: int) -> list[np.ndarray]:
    """Return pictures as the network sees them: uint8 (size, size[, 3]), letterboxed."""
    shown = []
    for picture in pictures:
        pixels = read_picture(picture.path, channels)
        height_px, width_px = pixels.shape[:2]
        frame = Letterbox(
            source_width_px=width_px, source_height_px=height_px, width_px=size_px, height_px=size_px
        )
        shown.append(frame.apply(pixels))
    return shown
