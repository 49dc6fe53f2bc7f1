# SPDX-License-Identifier: AGPL-3.0-or-later
"""A table of labels beside the pictures it names (CSV, the first row names the columns: docs/formats.md).

A row without a box says what the whole picture is; a row with one marks a defect; a picture may have several
rows. Cells that a spreadsheet would run as a formula are written with a quote before them (OWASP, "CSV
Injection"), and read without it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets.formats.out import put_picture, put_text
from datasets.formats.place import Place, checked_box, checked_name, find_picture, read_text, size_of, text_of
from datasets.hostile import PictureCheck
from datasets.labels import Label, LabelledSet, Picture

LABEL_FILE = "labels.csv"
COLUMNS = ("file", "class", "image_class", "x0", "y0", "x1", "y1", "part", "lot", "sequence")
SYNONYMS = {
    "file_name": "file",
    "filename": "file",
    "image": "file",
    "picture": "file",
    "path": "file",
    "label": "class",
    "category": "class",
    "defect": "class",
    "image_label": "image_class",
    "xmin": "x0",
    "ymin": "y0",
    "xmax": "x1",
    "ymax": "y1",
    "x_min": "x0",
    "y_min": "y0",
    "x_max": "x1",
    "y_max": "y1",
    "left": "x0",
    "top": "y0",
    "right": "x1",
    "bottom": "y1",
}
"""Other names that a column may have."""
_FROM_ONE = {"x1": "x0", "y1": "y0", "x2": "x1", "y2": "y1"}  # where the corners are numbered from 1
_BOX = ("x0", "y0", "x1", "y1")
_SIZE = ("width", "height")  # of the picture that the labels were drawn on: read and compared, not written
_BOXED = r"(?:(?:bounding|bound|bnd|b)?box|roi|rect(?:angle)?)"
_SIDE = r"(?:c|min|max|cent(?:er|re)|mid(?:dle)?|tl|br|tr|bl|left|right|top|bottom|start|end)"
_NOT_READ = re.compile(
    rf"{_BOXED}?(?:[xy](?:{_SIDE}|\d)?|{_SIDE}[xy]|[wh])(?:px|pixels?)?|{_BOXED}(?:es)?(?:coord(?:inate)?s|xyxy|xywh)?"
    rf"|{_BOXED}(?:left|top|right|bottom|width|height|\d)|polygons?|segmentation|rle|encodedpixels|mask"
)
"""Columns of other tools that say where a mark is, letters and digits only. To pass one over would make a whole
picture of a marked spot."""
_ONCE = ("image_class", "part", "lot", "sequence", *_SIZE)
_DANGEROUS = "=+-@\t\r\n"


@dataclass(slots=True)
class _Rows:
    """What the rows of one picture have said so far."""

    place: Place
    said: dict[str, str] = field(default_factory=dict)
    boxes: list[tuple[Place, str, list[str]]] = field(default_factory=list)


def read(path: Path, pictures: PictureCheck) -> LabelledSet:
    """Read a CSV of labels; the pictures lie beside it, or in its images folder."""
    rows: dict[str, _Rows] = {}
    classes: dict[str, None] = {}
    for place, row in _rows(path):
        name = checked_name(place.field("file"), row.get("file", ""))
        here = rows.setdefault(name, _Rows(place))
        box = [row.get(side, "") for side in _BOX]
        named = row.get("class", "")
        if any(box):
            if not all(box):
                raise place.fault("a box needs x0, y0, x1 and y1")
            name_of_class = text_of(place.field("class"), named)
            classes.setdefault(name_of_class)
            here.boxes.append((place, name_of_class, box))
        elif named and row.get("image_class", "") not in {"", named}:
            raise place.fault(f"class {named!r} and image_class {row['image_class']!r} for the whole picture")
        elif named:
            row["image_class"] = named
        for key in _ONCE:
            if row.get(key) and here.said.setdefault(key, row[key]) != row[key]:
                raise place.field(key).fault(f"{row[key]!r}, an earlier row of {name} says {here.said[key]!r}")
    if not rows:
        raise Place(path).fault("no rows below its first; it needs one a picture")
    found = tuple(_picture(name, said, path, pictures) for name, said in rows.items())
    return LabelledSet(classes=tuple(classes), pictures=found, source=path)


def _rows(path: Path) -> Iterator[tuple[Place, dict[str, str]]]:
    text = read_text(path)
    place = Place(path)
    if "\0" in text:
        raise place.line(text.count("\n", 0, text.index("\0")) + 1).fault(
            "a NUL character; save it as plain text"
        )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = _header(place.line(1), next(reader, []))
        for cells in reader:
            here = place.line(reader.line_num)
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise here.fault(f"{len(cells)} cells, the first row has {len(header)}")
            row = {key: _unguarded(cell) for key, cell in zip(header, cells, strict=True) if key}
            if reader.dialect.delimiter != ",":
                row |= {side: _with_point(row[side]) for side in _BOX if side in row}
            yield here, row
    except csv.Error as error:
        raise place.line(reader.line_num).fault(f"not CSV ({error})") from None


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: what the first row has most of."""
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _header(place: Place, names: list[str]) -> list[str]:
    """The documented name of each column; empty for one that is passed over."""
    spelt = [re.sub(r"[ _-]+", "_", name.strip().lower()) for name in names]
    if {"x", "y"} <= set(spelt) and not {*_BOX} & set(spelt):
        raise place.fault(
            "columns x and y may be a corner or the middle of a box; give its corners in pixels: x0, y0, x1, y1"
        )
    corners = _FROM_ONE if {"x2", "y2"} <= set(spelt) and "x0" not in spelt else {}
    known = [corners.get(name, SYNONYMS.get(name, name)) for name in spelt]
    header = [name if name in (*COLUMNS, *_SIZE) else "" for name in known]
    named = [name for name in header if name]
    if "file" not in named or len(set(named)) != len(named):
        shown = ", ".join(names)[:200] or "none"
        raise place.fault(f"columns {shown}; it needs `file` and each of {', '.join(COLUMNS)} at most once")
    lost = [
        name for name, key in zip(names, header, strict=True) if not key and _NOT_READ.fullmatch(_bare(name))
    ]
    if lost and not {*_BOX} <= set(named):
        raise place.fault(
            f"columns {', '.join(lost)[:200]} say where a mark is, in a way that is not read; give the corners"
            " of its box in pixels as x0, y0, x1, y1, or leave these columns out"
        )
    return header


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _with_point(number: str) -> str:
    """A number as a spreadsheet of a country with a decimal comma writes it."""
    return number.replace(",", ".") if re.fullmatch(r"[+-]?\d+,\d+", number) else number


def _picture(name: str, rows: _Rows, path: Path, pictures: PictureCheck) -> Picture:
    where = find_picture(rows.place.field("file"), name, (path.parent, path.parent / "images"))
    facts = pictures.examine(where)
    if all(rows.said.get(side) for side in _SIZE):
        said_px = size_of(rows.place.field("width, height"), *(rows.said[side] for side in _SIZE))
        if said_px != (facts.width_px, facts.height_px):
            raise rows.place.field("width, height").fault(
                f"{said_px[0]} x {said_px[1]}, its picture has {facts.width_px} x {facts.height_px} pixels; the"
                " labels belong to another picture"
            )
    labels = tuple(
        Label(class_name=class_name, box=checked_box(place, box, facts.width_px, facts.height_px))
        for place, class_name, box in rows.boxes
    )
    said = {key: text_of(rows.place.field(key), value) for key, value in rows.said.items() if key not in _SIZE}
    return Picture(
        name=name,
        path=where,
        width_px=facts.width_px,
        height_px=facts.height_px,
        labels=labels,
        image_class=said.get("image_class"),
        part=said.get("part"),
        lot=said.get("lot"),
        sequence=said.get("sequence"),
    )


def write(labelled: LabelledSet, folder: Path) -> Path:
    """Write labels.csv and the pictures under their own names; returns the file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for picture in labelled.pictures:
        put_picture(picture.path, folder, picture.name)
        end = [picture.part, picture.lot, picture.sequence]
        whole = [picture.image_class]
        boxes = [(label.class_name, label.box) for label in picture.labels]
        if not boxes:
            writer.writerow(map(guarded, [picture.name, None, *whole, *[None] * 4, *end]))
        for class_name, box in boxes:
            corners = [box.x0_px, box.y0_px, box.x1_px, box.y1_px]
            writer.writerow(
                [
                    *map(guarded, [picture.name, class_name, *whole]),
                    *map(repr, map(float, corners)),
                    *map(guarded, end),
                ]
            )
    return put_text(folder / LABEL_FILE, out.getvalue())


def guarded(cell: str | None) -> str:
    """A text cell that no spreadsheet takes for a formula, and of which no space is lost on the way back."""
    if not cell:
        return ""
    return "'" + cell if _needs_guard(cell) else cell


def _needs_guard(cell: str) -> bool:
    return cell[0] in _DANGEROUS + "'" or cell != cell.strip()


def _unguarded(cell: str) -> str:
    """Undo `guarded`; spaces that a person left around a cell are no part of it."""
    if len(cell) > 1 and cell[0] == "'" and _needs_guard(cell[1:]):
        return cell[1:]
    return cell.strip()
