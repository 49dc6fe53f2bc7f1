# SPDX-License-Identifier: AGPL-3.0-or-later
"""All interchange formats: their names, readers, writers, what each can carry (docs/formats.md).

What a format cannot carry is left out when it is written; `lost` says so beforehand, for people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.formats import coco, cvat, folders, label_studio, labels_csv, voc, yolo
from datasets.hostile import PictureCheck
from datasets.labels import LabelledSet, Picture
from inspection.types import StationFault

FEATURES = {
    "box": "boxes as drawn",
    "polygon": "an outline",
    "polygons": "several outlines as one label",
    "mask": "masks",
    "image_class": "the whole picture's class",
    "part": "part",
    "lot": "lot",
    "sequence": "sequence",
    "facts": "facts",
    "template": "template picture",
    "detectability": "detectability",
    "classes": "order of classes, unused ones",
    "name": "picture names",
}
"""What a format may carry: short name and words for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One interchange format."""

    name: str
    title: str
    read: Callable[[Path, PictureCheck], LabelledSet]
    write: Callable[[LabelledSet, Path], Path]
    carries: frozenset[str]


def _format(name: str, title: str, read: object, write: object, carries: str) -> Format:
    words = frozenset(carries.split())
    assert words <= set(FEATURES)  # noqa: S101 - a slip of this table
    return Format(name=name, title=title, read=read, write=write, carries=words)  # type: ignore[arg-type]


_EVERYTHING = " ".join(FEATURES)
FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        _format("coco", "COCO instances JSON", coco.read, coco.write, _EVERYTHING),
        _format("yolo", "YOLO boxes", yolo.read, yolo.write_detect, "box classes name"),
        _format("yolo-segment", "YOLO outlines", yolo.read, yolo.write_segment, "polygon classes name"),
        _format("voc", "Pascal VOC XML", voc.read, voc.write, "box name"),
        _format(
            "cvat",
            "CVAT for images 1.1",
            cvat.read,
            cvat.write,
            "box polygon polygons mask image_class classes name",
        ),
        _format(
            "label-studio",
            "Label Studio JSON",
            label_studio.read,
            label_studio.write,
            "box polygon mask image_class part lot sequence facts classes name",
        ),
        _format("folders", "MVTec AD folders", folders.read, folders.write, "mask image_class"),
        _format(
            "csv", "CSV of labels", labels_csv.read, labels_csv.write, "box image_class part lot sequence name"
        ),
    )
}
"""By name, in the order of the documentation."""


def format_named(name: str) -> Format:
    """The format of that name; StationFault naming all of them."""
    if name not in FORMATS:
        raise StationFault(f"--format {name}: no such format; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def read_labelled(path: Path, name: str) -> LabelledSet:
    """Read a labelled set in the format called `name`."""
    with PictureCheck() as pictures:
        return format_named(name).read(path, pictures)


def lost(labelled: LabelledSet, name: str) -> list[str]:
    """Words for what this set has and this format cannot carry, each with how many pictures have it."""
    carries = format_named(name).carries
    counts = {key: sum(has(picture) for picture in labelled.pictures) for key, has in _HAS.items()}
    return [f"{FEATURES[key]} ({n} pictures)" for key, n in counts.items() if n and key not in carries]


_HAS: dict[str, Callable[[Picture], bool]] = {
    "box": lambda p: any(not x.polygons and x.mask is None for x in p.labels),
    "polygon": lambda p: any(x.mask is None and x.polygons for x in p.labels),
    "polygons": lambda p: any(x.mask is None and len(x.polygons) > 1 for x in p.labels),
    "mask": lambda p: any(x.mask is not None for x in p.labels),
    "image_class": lambda p: p.image_class is not None,
    "part": lambda p: p.part is not None,
    "lot": lambda p: p.lot is not None,
    "sequence": lambda p: p.sequence is not None,
    "facts": lambda p: bool(p.facts),
    "template": lambda p: p.template is not None,
    "detectability": lambda p: any(x.detectability is not None for x in p.labels),
}
