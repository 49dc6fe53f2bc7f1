# SPDX-License-Identifier: AGPL-3.0-or-later
"""Labels as canonical JSON and back: the same label is the same text on every machine, so it can be hashed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from datasets.labels import Label, Rle
from inspection.types import Box, StationFault

SHAPES = ("box", "polygons", "mask")
"""What a label of one defect can be. Records have three more: `whole`, `nothing`, and `gone`."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and nothing to spare; ValueError for what is not a number."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def shape_of(label: Label) -> str:
    """The most exact shape that somebody drew."""
    if label.mask is not None:
        return "mask"
    return "polygons" if label.polygons else "box"


def label_to_plain(label: Label) -> dict[str, Any]:
    """A label as JSON can hold it; StationFault for a box that is none."""
    box = label.box
    corners = [float(v) for v in (box.x0_px, box.y0_px, box.x1_px, box.y1_px)]
    if not all(map(math.isfinite, corners)) or corners[2] < corners[0] or corners[3] < corners[1]:
        raise StationFault(
            f"The box {corners} of a {label.class_name!r} is none: give x0 <= x1 and y0 <= y1 in pixels."
        )
    plain: dict[str, Any] = {"class": label.class_name, "box": corners}
    if label.polygons:
        plain["polygons"] = [[[float(x), float(y)] for x, y in polygon] for polygon in label.polygons]
    if label.mask is not None:
        mask = label.mask
        plain["mask"] = {"size": [mask.height_px, mask.width_px], "counts": list(mask.counts)}
    if label.detectability is not None:
        plain["detectability"] = float(label.detectability)
    return plain


def label_from_plain(plain: Mapping[str, Any]) -> Label:
    """Undo `label_to_plain`."""
    x0, y0, x1, y1 = plain["box"]
    mask = plain.get("mask")
    return Label(
        class_name=plain["class"],
        box=Box(x0_px=x0, y0_px=y0, x1_px=x1, y1_px=y1),
        polygons=tuple(tuple((x, y) for x, y in polygon) for polygon in plain.get("polygons", ())),
        mask=mask and Rle(height_px=mask["size"][0], width_px=mask["size"][1], counts=tuple(mask["counts"])),
        detectability=plain.get("detectability"),
    )


_BEGINNINGS = (
    ("jpg", b"\xff\xd8\xff"),
    ("png", b"\x89PNG\r\n\x1a\n"),
    ("bmp", b"BM"),
    ("tif", b"II*\x00"),
    ("tif", b"MM\x00*"),
)
PICTURE_KINDS = frozenset({kind for kind, _ in _BEGINNINGS} | {"webp"})


def picture_kind(data: bytes, name: str) -> str:
    """What kind of picture file these bytes are, by how they begin; StationFault for any other."""
    for kind, beginning in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise StationFault(f"{name} is not a JPEG, PNG, BMP, TIFF or WebP picture: convert it to one of these.")
