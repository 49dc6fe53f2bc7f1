# SPDX-License-Identifier: AGPL-3.0-or-later
"""YOLO text labels (docs.ultralytics.com, "Object Detection Datasets"): data.yaml, images/, labels/.

A row is `class cx cy w h` (detect) or `class x1 y1 x2 y2 x3 y3 ...` (segment), in shares of the picture.
The length of a row decides: five values are a box, seven or more an outline. (Ultralytics takes a whole file as
outlines when one row is longer, so the writers never mix.) A picture's labels lie at its own path with the last
`images` folder replaced by `labels`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import yaml

from datasets.formats.out import put_picture, put_text
from datasets.formats.place import (
    MAX_NAME,
    Place,
    bounds,
    checked_box,
    checked_name,
    checked_polygon,
    listing,
    number,
    read_text,
    text_of,
)
from datasets.hostile import PictureCheck, picture_files
from datasets.labels import Label, LabelledSet, Picture, Polygon
from inspection.types import Box

DATA_FILE = "data.yaml"
CLASSES_FILE = "classes.txt"  # older tools, Label Studio among them: a class a line, pictures in images/
_MAX_YAML_BYTES = 1 << 20


def read(path: Path, pictures: PictureCheck) -> LabelledSet:
    """Read data.yaml (or the folder it lies in) and every picture in the folders it names."""
    path = _data_file(path)
    settings, place = _settings_of_text(path) if path.suffix == ".txt" else _settings(path), Place(path)
    classes = _classes(place, settings)
    root = path.parent
    seen: dict[str, Picture] = {}
    for folder in _folders(place, settings, root):
        for file in picture_files(folder):
            name = file.relative_to(root).as_posix().removeprefix("images/")
            if name not in seen:
                seen[name] = _picture(file, name, root, classes, pictures)
    if not seen:
        raise place.fault("no pictures in the folders that train, val and test name")
    return LabelledSet(classes=classes, pictures=tuple(seen[n] for n in sorted(seen)), source=path)


def _data_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(p for p in path.glob("*.y*ml") if p.suffix in {".yaml", ".yml"})
    if not found and (path / CLASSES_FILE).is_file():
        return path / CLASSES_FILE
    if len(found) != 1:
        raise Place(path).fault(f"{len(found)} YAML files in it; a YOLO set has one, {DATA_FILE}: name it")
    return found[0]


def _settings_of_text(path: Path) -> dict[str, Any]:
    names = [line.strip() for line in read_text(path).splitlines()]
    return {"train": "images", "names": [name for name in names if name]}


def _settings(path: Path) -> dict[str, Any]:
    """The YAML, without aliases: ten lines of them can stand for a billion values."""
    place, text = Place(path), read_text(path)
    if len(text) > _MAX_YAML_BYTES:
        raise place.fault("larger than 1 MiB; the data.yaml of a YOLO set is a few lines")
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise place.line(event.start_mark.line + 1).fault("an alias; write the value out")
        settings = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise place.line(mark.line + 1 if mark else 1).fault(f"not YAML ({error.problem})") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise place.fault(f"not YAML that can be read ({type(error).__name__})") from None
    if not isinstance(settings, dict):
        raise place.fault("not the settings of a YOLO set; it needs names, train and val")
    return settings


def _classes(place: Place, settings: dict[str, Any]) -> tuple[str, ...]:
    names, at = settings.get("names"), place.field("names")
    if isinstance(names, dict):
        if list(names) != list(range(len(names))):
            raise at.fault("numbers must run from 0 without a gap")
        names = list(names.values())
    if not isinstance(names, list):
        raise at.fault("a list of class names, or number: name, is needed")
    classes = tuple(text_of(at, str(name)) for name in names)
    if len(set(classes)) != len(classes):
        raise at.fault("a class is there twice")
    return classes


def _folders(place: Place, settings: dict[str, Any], root: Path) -> Iterator[Path]:
    """Folders of pictures, below the set's own; `path` of another machine is passed over."""
    named = 0
    for side in ("train", "val", "valid", "test"):
        at, entries = place.field(side), settings.get(side)
        for entry in [entries] if isinstance(entries, str) else listing(at, entries or []):
            below = text_of(at, entry, MAX_NAME).removeprefix("../")  # as Roboflow writes it
            name = checked_name(at, below) if below not in {"", ".", "./"} else "."
            folder = root / name
            if not folder.is_dir():
                raise at.fault(f"no folder {name!r} beside {place.file.name}")
            named += 1
            yield folder
    if not named:
        raise place.fault("names no folder of pictures; it needs train or val")


def _label_path(relative: PurePosixPath) -> PurePosixPath:
    parts = list(relative.parts)
    folders = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return PurePosixPath(*parts).with_suffix(".txt")


def _picture(file: Path, name: str, root: Path, classes: tuple[str, ...], pictures: PictureCheck) -> Picture:
    facts = pictures.examine(file)
    rows = root / _label_path(PurePosixPath(file.relative_to(root).as_posix()))
    labels = []
    if rows.is_file():
        for line, row in enumerate(read_text(rows).splitlines(), 1):
            if row.strip():
                labels.append(
                    _label(Place(rows).line(line), row.split(), classes, facts.width_px, facts.height_px)
                )
    return Picture(
        name=name, path=file, width_px=facts.width_px, height_px=facts.height_px, labels=tuple(labels)
    )


def _label(place: Place, row: list[str], classes: tuple[str, ...], width_px: int, height_px: int) -> Label:
    if not re.fullmatch(r"[0-9]{1,9}", row[0]) or int(row[0]) >= len(classes):
        raise place.fault(f"class {row[0][:40]!r}; data.yaml names 0 to {len(classes) - 1}")
    values = [number(place, v) for v in row[1:]]
    name = classes[int(row[0])]
    if len(values) == 4:
        cx, cy, width, height = values
        corners = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        scaled = [v * (height_px if i % 2 else width_px) for i, v in enumerate(corners)]
        return Label(class_name=name, box=checked_box(place, scaled, width_px, height_px))
    if len(values) < 6 or len(values) % 2:
        raise place.fault(
            f"{len(values)} numbers after the class; a box has 4, an outline 6 or more, x and y each"
        )
    points = [(x * width_px, y * height_px) for x, y in zip(values[0::2], values[1::2], strict=True)]
    polygon = checked_polygon(place, points, width_px, height_px)
    box = checked_box(place, bounds((polygon,)), width_px, height_px)
    return Label(class_name=name, box=box, polygons=(polygon,))


def write_detect(labelled: LabelledSet, folder: Path) -> Path:
    """Write boxes."""
    return _write(labelled, folder, _box_rows)


def write_segment(labelled: LabelledSet, folder: Path) -> Path:
    """Write outlines; a box becomes its four corners, a mask its outlines, a row each."""
    return _write(labelled, folder, _outline_rows)


def _write(labelled: LabelledSet, folder: Path, rows_of: Any) -> Path:
    for picture in labelled.pictures:
        relative = PurePosixPath("images") / picture.name
        put_picture(picture.path, folder, str(relative))
        rows = [
            " ".join((str(labelled.index_of[label.class_name]), *(repr(float(v)) for v in row)))
            for label in picture.labels
            for row in rows_of(label, picture)
        ]
        put_text(folder / _label_path(relative), "".join(row + "\n" for row in rows))
    settings = {"train": "images", "val": "images", "names": dict(enumerate(labelled.classes))}
    return put_text(folder / DATA_FILE, yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))


def _box_rows(label: Label, picture: Picture) -> Iterator[list[float]]:
    box, width_px, height_px = label.box, picture.width_px, picture.height_px
    yield [
        (box.x0_px + box.x1_px) / 2 / width_px,
        (box.y0_px + box.y1_px) / 2 / height_px,
        box.width_px / width_px,
        box.height_px / height_px,
    ]


def _outline_rows(label: Label, picture: Picture) -> Iterator[list[float]]:
    for polygon in outlines(label):
        yield [v / (picture.height_px if i % 2 else picture.width_px) for c in polygon for i, v in enumerate(c)]


def outlines(label: Label) -> Sequence[Polygon]:
    """A label's polygons; of a mask the outlines of its pieces (holes are lost); of a box its corners."""
    if label.mask is not None and label.mask.counts[1:]:
        return _mask_outlines(label.mask.to_mask()) or (_corners(label.box),)
    return label.polygons or (_corners(label.box),)


def _mask_outlines(mask: np.ndarray) -> tuple[Polygon, ...]:
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    thick = []
    for contour in found:
        corners = contour[:, 0, :].astype(float)
        x, y, width, height = cv2.boundingRect(contour)
        if (
            len(corners) < 3 or width == 1 or height == 1
        ):  # a line or a point has no area: its pixels' rectangle
            corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)
        thick.append(tuple((float(cx), float(cy)) for cx, cy in corners))
    return tuple(thick)


def _corners(box: Box) -> Polygon:
    return (
        (box.x0_px, box.y0_px),
        (box.x1_px, box.y0_px),
        (box.x1_px, box.y1_px),
        (box.x0_px, box.y1_px),
    )
