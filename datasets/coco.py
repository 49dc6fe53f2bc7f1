# SPDX-License-Identifier: AGPL-3.0-or-later
"""Read COCO files as labelled pictures, with what an inspection set adds.

Beyond COCO an `images` entry may have: `image_class` (whole-picture label; `good` and `free` are good),
`template_file` (defect-free picture of the same place), `part`, `lot`, `sequence`, `mask_file`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from datasets.labels import Label, LabelledSet, Picture, Polygon, Rle
from inspection.types import Box, StationFault

_KNOWN = {"id", "file_name", "width", "height", "image_class", "part", "lot", "sequence", "template_file"}


def read_coco(path: Path) -> LabelledSet:
    """Read a COCO file and find the pictures beside it (same folder, or its `images` folder).

    Raises StationFault naming the file and the field when something is missing or out of place.
    """
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        categories = sorted(raw["categories"], key=lambda c: c["id"])
        names = {category["id"]: str(category["name"]) for category in categories}
        entries, annotations = list(raw["images"]), list(raw["annotations"])
    except FileNotFoundError:
        raise StationFault(f"{path}: no such COCO file; give the path of its JSON") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise StationFault(
            f"{path}: not a COCO file ({error}); it needs images, annotations and categories"
        ) from None
    if len(set(names.values())) != len(categories):
        raise StationFault(f"{path}: categories repeat an id or a name; every class needs its own")
    labels: dict[Any, list[Label]] = {}
    for number, entry in enumerate(annotations):
        try:
            labels.setdefault(entry["image_id"], []).append(_label(entry, names))
        except (KeyError, TypeError, ValueError) as error:
            raise StationFault(
                f"{path}: annotations[{number}] is not usable ({error}); "
                "it needs image_id, category_id and bbox"
            ) from None
    pictures = []
    for number, entry in enumerate(entries):
        try:
            pictures.append(_picture(path, entry, labels.pop(entry["id"], [])))
        except (KeyError, TypeError, ValueError) as error:
            raise StationFault(
                f"{path}: images[{number}] is not usable ({error}); it needs id, file_name, width and height"
            ) from None
    if labels:
        raise StationFault(
            f"{path}: annotations name image_id {next(iter(labels))!r}, which images does not hold"
        )
    return LabelledSet(classes=tuple(names.values()), pictures=tuple(pictures), source=path)


def _label(entry: dict[str, Any], names: dict[Any, str]) -> Label:
    x, y, width, height = (float(v) for v in entry["bbox"])
    if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
        raise ValueError(f"bbox {entry['bbox']}")
    polygons, mask = _shape(entry.get("segmentation"))
    return Label(
        class_name=names[entry["category_id"]],
        box=Box(x0_px=x, y0_px=y, x1_px=x + width, y1_px=y + height),
        polygons=polygons,
        mask=mask,
        detectability=entry.get("detectability"),
    )


def _shape(segmentation: Any) -> tuple[tuple[Polygon, ...], Rle | None]:
    """Polygons, or a mask from run lengths (plain, or compressed as pycocotools writes them)."""
    if not segmentation:
        return (), None
    if isinstance(segmentation, dict):
        height_px, width_px = (int(v) for v in segmentation["size"])
        counts = segmentation["counts"]
        if isinstance(counts, str):
            counts = _plain_counts(counts)
        mask = Rle(height_px=height_px, width_px=width_px, counts=tuple(int(c) for c in counts))
        if min(mask.counts, default=0) < 0 or sum(mask.counts) != height_px * width_px:
            raise ValueError("its run lengths do not fill the picture")
        return (), mask
    polygons = []
    for flat in segmentation:
        if len(flat) < 6 or len(flat) % 2:
            raise ValueError("a polygon needs three corners or more, x and y each")
        values = [float(v) for v in flat]
        polygons.append(tuple(zip(values[0::2], values[1::2], strict=True)))
    return tuple(polygons), None


def _plain_counts(text: str) -> list[int]:
    """Undo COCO's compression: 5 bits a character, signed, each run from the third on as a difference."""
    counts: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[position]) - 48  # IndexError cannot be: checked below
            value |= (code & 0x1F) << shift
            more = bool(code & 0x20)
            position, shift = position + 1, shift + 5
            if more and position >= len(text):
                raise ValueError("its compressed run lengths break off")
            if not more and code & 0x10:
                value |= -1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    return counts


def _picture(coco: Path, entry: dict[str, Any], labels: list[Label]) -> Picture:
    width_px, height_px = int(entry["width"]), int(entry["height"])
    if width_px <= 0 or height_px <= 0:
        raise ValueError(f"size {width_px} x {height_px}")
    template = entry.get("template_file")
    return Picture(
        name=str(entry["file_name"]),
        path=locate(coco, str(entry["file_name"])),
        width_px=width_px,
        height_px=height_px,
        labels=tuple(labels),
        image_class=_text(entry.get("image_class")),
        part=_text(entry.get("part")),
        lot=_text(entry.get("lot", entry.get("group"))),
        sequence=_text(entry.get("sequence")),
        template=None if template is None else locate(coco, str(template)),
        facts={k: str(v) for k, v in entry.items() if k not in _KNOWN and isinstance(v, (str, int, float))},
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def locate(coco: Path, name: str) -> Path:
    """Where a picture that a COCO file names lies; StationFault when it lies nowhere."""
    for candidate in (coco.parent / name, coco.parent / "images" / name):
        if candidate.is_file():
            return candidate
    raise StationFault(f"{coco}: picture {name} is neither beside the file nor in its images folder")
