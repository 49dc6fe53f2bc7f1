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
from datasets.formats.place import Place, checked_box, checked_name, find_picture, read_text, text_of
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
}
"""Other names that a column may have."""
_BOX = ("x0", "y0", "x1", "y1")
_ONCE = ("image_class", "part", "lot", "sequence")
_DANGEROUS = "=+-@\t\r\n"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


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
        header = [_column(name) for name in next(reader, [])]
        if "file" not in header or len(set(header) - {""}) != len([h for h in header if h]):
            raise place.line(1).fault(
                f"columns {header}; it needs `file` and each of {', '.join(COLUMNS)} at most once"
            )
        for cells in reader:
            here = place.line(reader.line_num)
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise here.fault(f"{len(cells)} cells, the first row has {len(header)}")
            yield here, {key: _unguarded(cell) for key, cell in zip(header, cells, strict=True) if key}
    except csv.Error as error:
        raise place.line(reader.line_num).fault(f"not CSV ({error})") from None


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: what the first row has most of."""
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _column(name: str) -> str:
    """The documented name of a column; empty for one that is passed over."""
    known = re.sub(r"[ -]+", "_", name.strip().lower())
    known = SYNONYMS.get(known, known)
    return known if known in COLUMNS else ""


def _picture(name: str, rows: _Rows, path: Path, pictures: PictureCheck) -> Picture:
    where = find_picture(rows.place.field("file"), name, (path.parent, path.parent / "images"))
    facts = pictures.examine(where)
    labels = tuple(
        Label(class_name=class_name, box=checked_box(place, box, facts.width_px, facts.height_px))
        for place, class_name, box in rows.boxes
    )
    said = {key: text_of(rows.place.field(key), value) for key, value in rows.said.items()}
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
    """A text cell that no spreadsheet takes for a formula."""
    if not cell:
        return ""
    return "'" + cell if cell[0] in _DANGEROUS + "'" else cell


def _unguarded(cell: str) -> str:
    """Undo `guarded`; a number may begin with a sign."""
    if len(cell) > 1 and cell[0] == "'" and cell[1] in _DANGEROUS + "'":
        return cell[1:]
    return cell.strip() if _NUMBER.fullmatch(cell.strip()) else cell
