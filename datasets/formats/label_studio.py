# SPDX-License-Identifier: AGPL-3.0-or-later
"""Label Studio tasks in JSON (labelstud.io, "Export annotations", raw JSON), and label_config.xml beside it.

Rectangles, polygons and brush masks, and choices as the whole picture's class. A turned rectangle is read as
the polygon it is. Part, lot, sequence and facts travel as task data. Pictures are written as
`/data/local-files/?d=images/NAME`: start Label Studio with this folder as its local files' root.
"""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from datasets.formats.brush import pack_mask, unpack_mask
from datasets.formats.out import fit_for_xml, put_json, put_picture
from datasets.formats.place import (
    Place,
    bounds,
    checked_box,
    checked_name,
    checked_polygon,
    facts_of,
    find_picture,
    listing,
    mapping,
    mask_bounds,
    number,
    optional_text,
    read_json,
    text_of,
)
from datasets.formats.safe_xml import child, element, parse, put_xml
from datasets.hostile import PictureCheck
from datasets.labels import Label, LabelledSet, Picture, Rle
from inspection.types import StationFault

LABEL_FILE, CONFIG_FILE = "tasks.json", "label_config.xml"
_SHAPES = {"rectanglelabels", "polygonlabels", "brushlabels"}
_GROUPING = ("part", "lot", "sequence")
_LOCAL = "/data/local-files/"


def read(path: Path, pictures: PictureCheck) -> LabelledSet:
    """Read a JSON list of tasks and find the pictures beside it."""
    place = Place(path)
    found: dict[str, Picture] = {}
    for index, task in enumerate(listing(place, read_json(path))):
        here = place.field(f"[{index}]")
        picture = _picture(here, mapping(here, task), pictures)
        if picture.name in found:
            raise here.fault(f"picture {picture.name!r} is there twice")
        found[picture.name] = picture
    classes = _configured(path.parent / CONFIG_FILE)
    used = sorted({label.class_name for p in found.values() for label in p.labels})
    return LabelledSet(
        classes=tuple(dict.fromkeys((*classes, *used))), pictures=tuple(found.values()), source=path
    )


def _configured(path: Path) -> list[str]:
    """Classes in the order of the labelling interface, where it lies beside the tasks."""
    if not path.is_file():
        return []
    names: list[str] = []
    waiting = [parse(path)]
    while waiting:
        item = waiting.pop(0)
        waiting += item.children
        if item.tag == "Label":
            names.append(text_of(item.place.field("value"), item.get("value")))
    return names


def _picture(place: Place, task: dict[str, Any], pictures: PictureCheck) -> Picture:
    at = place.field("data")
    data = mapping(at, task.get("data"))
    name, path = _locate(at.field("image"), data.get("image"))
    facts = pictures.examine(path)
    size = facts.width_px, facts.height_px
    part, lot, sequence = (optional_text(at.field(key), data.get(key)) for key in _GROUPING)
    notes = mapping(place.field("meta"), task.get("meta") or {})
    labels: list[Label] = []
    image_class: str | None = None
    for where, result in _results(place, task):
        kind = result.get("type")
        if kind == "choices":
            chosen = listing(where, mapping(where, result.get("value")).get("choices"))
            if len(chosen) != 1 or image_class is not None:
                raise where.fault("more than one choice; a picture has one class of its own")
            image_class = text_of(where, chosen[0])
        elif kind in _SHAPES:
            labels.append(_label(where, str(kind), result, size))
        else:
            raise where.field("type").fault(f"{kind!r} is no rectangle, polygon, brush or choice")
    return Picture(
        name=name,
        path=path,
        width_px=size[0],
        height_px=size[1],
        labels=tuple(labels),
        image_class=image_class,
        facts=facts_of(place.field("meta"), notes),
        part=part,
        lot=lot,
        sequence=sequence,
    )


def _locate(place: Place, value: Any) -> tuple[str, Path]:
    """Name and path of a picture: as written here, as uploaded (`1a2b3c4d-NAME`), or by its last name."""
    text = text_of(place, value)
    split = urlsplit(text)
    if split.path == _LOCAL:
        given = parse_qs(split.query).get("d", [""])[0]
    else:
        given = unquote(split.path).lstrip("/") if "://" in text or text.startswith("/") else text
    name = checked_name(place, given).removeprefix("images/")
    folder = place.file.parent
    roots = (folder / "images", folder)
    bare = PurePosixPath(name).name
    for candidate in dict.fromkeys((name, bare, re.sub(r"^[0-9a-f]{8}-", "", bare))):
        try:
            return candidate, find_picture(place, candidate, roots)
        except StationFault:
            continue
    raise place.fault(
        f"picture {text!r} is not in {folder} or its images folder; put it there under its own name"
    )


def _results(place: Place, task: dict[str, Any]) -> list[tuple[Place, dict[str, Any]]]:
    """The results of the one annotation that counts: the ground truth, or the only one."""
    at = place.field("annotations")
    given = [
        (at.field(f"[{i}]"), mapping(at.field(f"[{i}]"), a))
        for i, a in enumerate(listing(at, task.get("annotations") or []))
    ]
    standing = [(where, a) for where, a in given if not a.get("was_cancelled")]
    if not standing:
        raise at.fault("nobody has labelled it yet; label it, or leave it out of the export")
    truths = [(where, a) for where, a in standing if a.get("ground_truth") is True]
    chosen = truths if len(standing) > 1 else standing
    if len(standing) > 1 and len(truths) != 1:
        raise at.fault(
            f"{len(standing)} people labelled it; mark one annotation as ground truth in Label Studio"
        )
    out = []
    for where, annotation in chosen:
        results = listing(where.field("result"), annotation.get("result"))
        for i, result in enumerate(results):
            here = where.field(f"result[{i}]")
            out.append((here, mapping(here, result)))
    return out


def _label(place: Place, kind: str, result: dict[str, Any], size: tuple[int, int]) -> Label:
    width_px, height_px = size
    value = mapping(place.field("value"), result.get("value"))
    names = listing(place.field(f"value.{kind}"), value.get(kind))
    if len(names) != 1:
        raise place.field(f"value.{kind}").fault(f"{len(names)} classes; a label has one")
    name = text_of(place.field(f"value.{kind}"), names[0])
    if result.get("image_rotation") not in {None, 0}:
        raise place.field("image_rotation").fault("labels of a turned picture; turn it back in Label Studio")
    original = (result.get("original_width"), result.get("original_height"))
    if original not in {(None, None), size}:
        raise place.fault(
            f"drawn on a picture of {original[0]} x {original[1]}, the file has {width_px} x {height_px}"
        )
    if kind == "brushlabels":
        mask = unpack_mask(place.field("value.rle"), value.get("rle"), width_px, height_px)
        if not mask.any():
            raise place.field("value.rle").fault("a mask without a single pixel; delete it")
        rle = Rle.from_mask(mask)
        return Label(class_name=name, box=checked_box(place, mask_bounds(rle), width_px, height_px), mask=rle)
    if kind == "polygonlabels":
        points = listing(place.field("value.points"), value.get("points"))
        corners = [_scaled(place.field("value.points"), listing(place, p), size) for p in points]
    else:
        x, y, wide, high = (
            number(place.field(f"value.{k}"), value.get(k)) for k in ("x", "y", "width", "height")
        )
        low, top = _scaled(place, [x, y], size), _scaled(place, [x + wide, y + high], size)
        turned = number(place.field("value.rotation"), value.get("rotation") or 0)
        if not turned:
            return Label(class_name=name, box=checked_box(place, (*low, *top), width_px, height_px))
        corners = _turned(low, (top[0] - low[0], top[1] - low[1]), math.radians(turned))
    polygon = checked_polygon(place.field("value"), corners, width_px, height_px)
    return Label(
        class_name=name, box=checked_box(place, bounds((polygon,)), width_px, height_px), polygons=(polygon,)
    )


def _scaled(place: Place, point: list[Any], size: tuple[int, int]) -> tuple[float, float]:
    """Per cent of the picture to pixels."""
    if len(point) != 2:
        raise place.fault("a corner needs x and y")
    return number(place, point[0]) * size[0] / 100, number(place, point[1]) * size[1] / 100


def _turned(corner: tuple[float, float], size: tuple[float, float], angle: float) -> list[tuple[float, float]]:
    """Corners of a rectangle turned clockwise around its upper left one, which is how Label Studio turns."""
    (x, y), (wide, high) = corner, size
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        (x + u * cos - v * sin, y + u * sin + v * cos) for u, v in ((0, 0), (wide, 0), (wide, high), (0, high))
    ]


def write(labelled: LabelledSet, folder: Path) -> Path:
    """Write tasks.json, label_config.xml and images/; returns tasks.json."""
    fit_for_xml(labelled)
    tasks = []
    for number_, picture in enumerate(labelled.pictures, 1):
        put_picture(picture.path, folder / "images", picture.name)
        data: dict[str, Any] = {"image": f"{_LOCAL}?d={quote('images/' + picture.name)}"}
        said = {"part": picture.part, "lot": picture.lot, "sequence": picture.sequence}
        data |= {key: value for key, value in said.items() if value is not None}
        results = [r for label in picture.labels for r in _label_results(label, picture)]
        if picture.image_class is not None:
            results.append(
                {"type": "choices", "from_name": "choice", "value": {"choices": [picture.image_class]}}
            )
        named = [r | {"id": f"{number_}-{i}", "to_name": "image"} for i, r in enumerate(results)]
        task = {"id": number_, "data": data, "annotations": [{"result": named, "was_cancelled": False}]}
        tasks.append(task | ({"meta": dict(picture.facts)} if picture.facts else {}))
    _put_config(labelled, folder)
    return put_json(folder / LABEL_FILE, tasks)


def _label_results(label: Label, picture: Picture) -> list[dict[str, Any]]:
    width_px, height_px = picture.width_px, picture.height_px

    def result(kind: str, from_name: str, value: dict[str, Any]) -> dict[str, Any]:
        size = {"original_width": width_px, "original_height": height_px, "image_rotation": 0}
        return {"type": kind, "from_name": from_name, "value": value | {kind: [label.class_name]}} | size

    if label.mask is not None and mask_bounds(label.mask)[2]:
        return [result("brushlabels", "brush", {"format": "rle", "rle": pack_mask(label.mask.to_mask())})]
    if label.polygons:
        outlines = [[[x * 100 / width_px, y * 100 / height_px] for x, y in p] for p in label.polygons]
        return [result("polygonlabels", "polygon", {"points": points}) for points in outlines]
    box = label.box
    corner = {"x": box.x0_px * 100 / width_px, "y": box.y0_px * 100 / height_px, "rotation": 0}
    size = {"width": box.width_px * 100 / width_px, "height": box.height_px * 100 / height_px}
    return [result("rectanglelabels", "box", corner | size)]


def _put_config(labelled: LabelledSet, folder: Path) -> None:
    view = element("View")
    child(view, "Image", name="image", value="$image")
    for tag, name in (("RectangleLabels", "box"), ("PolygonLabels", "polygon"), ("BrushLabels", "brush")):
        control = child(view, tag, name=name, toName="image")
        for class_name in labelled.classes:
            child(control, "Label", value=class_name)
    chosen = {p.image_class for p in labelled.pictures if p.image_class is not None} | {"good"}
    control = child(view, "Choices", name="choice", toName="image", choice="single")
    for class_name in sorted(chosen):
        child(control, "Choice", value=class_name)
    put_xml(folder / CONFIG_FILE, view)
