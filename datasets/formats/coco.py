# SPDX-License-Identifier: AGPL-3.0-or-later
"""COCO instances JSON (cocodataset.org, "Data format"), read and written with what an inspection set adds.

A label has one segmentation: the mask where it has one (uncompressed run lengths, column by column), else its
polygons. Pictures lie beside `annotations.json` under their own names, templates in a folder of their own.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from datasets.coco import KNOWN, read_coco
from datasets.formats.out import put_json, put_picture
from datasets.formats.place import mask_bounds
from datasets.hostile import PictureCheck
from datasets.labels import Label, LabelledSet, Picture

LABEL_FILE = "annotations.json"


def read(path: Path, pictures: PictureCheck) -> LabelledSet:  # noqa: ARG001 - COCO says the sizes itself
    """Read a COCO file."""
    return read_coco(path, confined=True)


def write(labelled: LabelledSet, folder: Path) -> Path:
    """Write `annotations.json` and the pictures; returns the file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    templates = _templates(labelled, folder)
    for number, picture in enumerate(labelled.pictures, 1):
        put_picture(picture.path, folder, picture.name)
        images.append(_image(number, picture, templates))
        for label in picture.labels:
            entry = {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0}
            annotations.append(entry | _annotation(label, labelled.index_of[label.class_name] + 1))
    categories = [{"id": index, "name": name} for index, name in enumerate(labelled.classes, 1)]
    return put_json(
        folder / LABEL_FILE, {"images": images, "annotations": annotations, "categories": categories}
    )


def _templates(labelled: LabelledSet, folder: Path) -> dict[Path, str]:
    """Copy each template once; name of each within the folder."""
    taken = {PurePosixPath(p.name).parts[0] for p in labelled.pictures} | {LABEL_FILE}
    room = next(n for n in ("templates", *(f"templates_{i}" for i in range(2, 1000))) if n not in taken)
    names: dict[Path, str] = {}
    for picture in labelled.pictures:
        source = picture.template
        if source is not None and source not in names:
            names[source] = f"{room}/{len(names):05d}{source.suffix}"
            put_picture(source, folder, names[source])
    return names


def _image(number: int, picture: Picture, templates: dict[Path, str]) -> dict[str, Any]:
    said = {
        "image_class": picture.image_class,
        "template_file": None if picture.template is None else templates[picture.template],
        "part": picture.part,
        "lot": picture.lot,
        "sequence": picture.sequence,
    }
    return {
        "id": number,
        "file_name": picture.name,
        "width": picture.width_px,
        "height": picture.height_px,
        **{key: value for key, value in said.items() if value is not None},
        **{key: value for key, value in picture.facts.items() if key not in KNOWN},
    }


def _annotation(label: Label, category_id: int) -> dict[str, Any]:
    box = label.box
    entry: dict[str, Any] = {
        "category_id": category_id,
        "bbox": [box.x0_px, box.y0_px, box.width_px, box.height_px],
        "area": box.width_px * box.height_px,
    }
    if label.mask is not None and mask_bounds(label.mask)[2]:  # an empty mask is no shape
        size = [label.mask.height_px, label.mask.width_px]
        entry["segmentation"] = {"size": size, "counts": list(label.mask.counts)}
        entry["area"] = sum(label.mask.counts[1::2])
    elif label.polygons:
        entry["segmentation"] = [[v for corner in polygon for v in corner] for polygon in label.polygons]
        entry["area"] = sum(_area(polygon) for polygon in label.polygons)
    if label.detectability is not None:
        entry["detectability"] = label.detectability
    return entry


def _area(polygon: tuple[tuple[float, float], ...]) -> float:
    """Shoelace formula."""
    following = (*polygon[1:], polygon[0])
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(polygon, following, strict=True))) / 2
