# SPDX-License-Identifier: AGPL-3.0-or-later
"""CVAT for images 1.1 (docs.cvat.ai, "XML annotation format"): annotations.xml beside images/.

Boxes, polygons, masks (run lengths row by row within the mask's own box), a tag as the whole picture's class.
Polygons of one label that share a group are one label, as CVAT's own COCO export has it. What Gatesight has no
word for (ellipse, skeleton, polyline, points, cuboid, a turned box) is refused, not dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element as Out

import numpy as np

from datasets.formats.out import fit_for_xml, put_picture
from datasets.formats.place import (
    bounds,
    checked_box,
    checked_name,
    checked_polygon,
    find_picture,
    mask_bounds,
    number,
    size_of,
    text_of,
)
from datasets.formats.safe_xml import Element, child, element, parse, put_xml
from datasets.hostile import PictureCheck
from datasets.labels import Label, LabelledSet, Picture, Polygon, Rle

LABEL_FILE = "annotations.xml"


def read(path: Path, pictures: PictureCheck) -> LabelledSet:  # noqa: ARG001 - CVAT says the sizes itself
    """Read annotations.xml, or the folder it lies in."""
    file = path / LABEL_FILE if path.is_dir() else path
    root = parse(file)
    if root.tag != "annotations":
        raise root.place.fault(f"<{root.tag}> where CVAT has <annotations>")
    if any(root.all("track")):
        raise next(root.all("track")).place.fault(
            "a <track> of a video; export the task as 'CVAT for images 1.1'"
        )
    found: dict[str, Picture] = {}
    for entry in root.all("image"):
        picture = _picture(entry, file)
        if picture.name in found:
            raise entry.place.fault(f"picture {picture.name!r} is there twice")
        found[picture.name] = picture
    classes = list(_label_names(root))
    for picture in found.values():
        classes += [label.class_name for label in picture.labels]
    return LabelledSet(classes=tuple(dict.fromkeys(classes)), pictures=tuple(found.values()), source=path)


def _label_names(root: Element) -> Iterator[str]:
    """Names in <labels> of a task or project, without those that are for tags alone."""
    for meta in root.all("meta"):
        for owner in meta.children:
            for labels in owner.all("labels"):
                for label in labels.all("label"):
                    kind = next((t.text.strip() for t in label.all("type")), "any")
                    name = label.words("name")
                    if kind != "tag":
                        yield text_of(label.place.field("name"), name)


def _picture(entry: Element, file: Path) -> Picture:
    name = checked_name(entry.place.field("name"), entry.get("name"))
    width_px, height_px = size_of(entry.place.field("width, height"), entry.get("width"), entry.get("height"))
    tags = [text_of(tag.place.field("label"), tag.get("label")) for tag in entry.all("tag")]
    if len(tags) > 1:
        raise entry.place.fault(f"{len(tags)} tags; a picture has one class of its own")
    return Picture(
        name=name,
        path=find_picture(entry.place.field("name"), name, (file.parent / "images", file.parent)),
        width_px=width_px,
        height_px=height_px,
        labels=tuple(_labels(entry, width_px, height_px)),
        image_class=tags[0] if tags else None,
    )


def _labels(entry: Element, width_px: int, height_px: int) -> Iterator[Label]:
    grouped: dict[tuple[str, str], list[Polygon]] = {}
    order: list[Label | tuple[str, str]] = []
    for shape in entry.children:
        if shape.tag == "tag":
            continue
        name = text_of(shape.place.field("label"), shape.get("label"))
        if shape.tag == "polygon":
            key = (name, shape.attributes.get("group_id") or f"alone {len(order)}")
            if key not in grouped:
                order.append(key)
            grouped.setdefault(key, []).append(_polygon(shape, width_px, height_px))
        elif shape.tag == "box":
            order.append(_box(shape, name, width_px, height_px))
        elif shape.tag == "mask":
            order.append(_mask(shape, name, width_px, height_px))
        else:
            raise shape.place.fault(f"<{shape.tag}> is no box, polygon or mask; turn it into one in CVAT")
    for item in order:
        if isinstance(item, Label):
            yield item
        else:
            polygons = tuple(grouped[item])
            box = checked_box(entry.place, bounds(polygons), width_px, height_px)
            yield Label(class_name=item[0], box=box, polygons=polygons)


def _box(shape: Element, name: str, width_px: int, height_px: int) -> Label:
    if number(shape.place.field("rotation"), shape.attributes.get("rotation") or 0):
        raise shape.place.field("rotation").fault("a turned box; turn it into a polygon in CVAT")
    corners = [shape.get(side) for side in ("xtl", "ytl", "xbr", "ybr")]
    return Label(class_name=name, box=checked_box(shape.place, corners, width_px, height_px))


def _polygon(shape: Element, width_px: int, height_px: int) -> Polygon:
    at = shape.place.field("points")
    corners = [corner.split(",") for corner in shape.get("points").split(";") if corner.strip()]
    return checked_polygon(at, corners, width_px, height_px)


def _mask(shape: Element, name: str, width_px: int, height_px: int) -> Label:
    at = shape.place
    left, top = (int(number(at.field(side), shape.get(side))) for side in ("left", "top"))
    wide, high = size_of(at.field("width, height"), shape.get("width"), shape.get("height"))
    if left < 0 or top < 0 or left + wide > width_px or top + high > height_px:
        raise at.fault(f"a {wide} x {high} mask at ({left}, {top}) leaves its {width_px} x {height_px} picture")
    counts = [number(at.field("rle"), v) for v in shape.get("rle").split(",") if v.strip()]
    if any(v < 0 or v != int(v) for v in counts) or sum(counts) != wide * high:
        raise at.field("rle").fault(f"its run lengths cover {sum(counts):g} pixels, its box has {wide * high}")
    values = np.arange(len(counts)) % 2 == 1
    mask = np.zeros((height_px, width_px), bool)
    mask[top : top + high, left : left + wide] = np.repeat(values, [int(v) for v in counts]).reshape(high, wide)
    if not mask.any():
        raise at.field("rle").fault("a mask without a single pixel; delete it")
    rle = Rle.from_mask(mask)
    return Label(class_name=name, box=checked_box(at, mask_bounds(rle), width_px, height_px), mask=rle)


def write(labelled: LabelledSet, folder: Path) -> Path:
    """Write annotations.xml and images/; returns the file."""
    fit_for_xml(labelled)
    root = element("annotations")
    child(root, "version", "1.1")
    labels = child(child(child(root, "meta"), "task"), "labels")
    for name in labelled.classes:
        _put_class(labels, name, "any")
    tags = {p.image_class for p in labelled.pictures if p.image_class is not None} - set(labelled.classes)
    for name in sorted(tags):
        _put_class(labels, name, "tag")
    for index, picture in enumerate(labelled.pictures):
        put_picture(picture.path, folder / "images", picture.name)
        size = {"width": picture.width_px, "height": picture.height_px}
        entry = child(root, "image", id=index, name=picture.name, **size)
        if picture.image_class is not None:
            child(entry, "tag", label=picture.image_class, source="manual")
        for group, label in enumerate(picture.labels, 1):
            _put_label(entry, label, group)
    return put_xml(folder / LABEL_FILE, root)


def _put_class(labels: Out, name: str, kind: str) -> None:
    entry = child(labels, "label")
    child(entry, "name", name)
    child(entry, "type", kind)
    child(entry, "attributes")


def _put_label(entry: Out, label: Label, group: int) -> None:
    common = {"label": label.class_name, "source": "manual", "occluded": 0, "z_order": 0}
    x0, y0, x1, y1 = mask_bounds(label.mask) if label.mask is not None else (0, 0, 0, 0)
    if label.mask is not None and x1 > x0:
        inside = Rle.from_mask(label.mask.to_mask()[y0:y1, x0:x1].T)  # row by row: the columns of the transpose
        runs = ", ".join(str(count) for count in inside.counts)
        child(entry, "mask", rle=runs, left=x0, top=y0, width=x1 - x0, height=y1 - y0, **common)
    elif label.polygons:
        grouping = {"group_id": group} if len(label.polygons) > 1 else {}
        for polygon in label.polygons:
            points = ";".join(f"{float(x)!r},{float(y)!r}" for x, y in polygon)
            child(entry, "polygon", points=points, **common, **grouping)
    else:
        box = label.box
        sides = {"xtl": box.x0_px, "ytl": box.y0_px, "xbr": box.x1_px, "ybr": box.y1_px}
        child(entry, "box", **{k: repr(float(v)) for k, v in sides.items()}, **common)
