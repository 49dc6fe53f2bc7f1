# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where in a file a value stands, and the checks every reader makes there.

A check that fails raises StationFault: file, line or field, what is wrong, what to do.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.labels import Polygon, Rle
from inspection.types import Box, StationFault

MAX_LABEL_BYTES = 256 << 20
MAX_CORNERS = 100_000
MAX_TEXT, MAX_NAME, MAX_FACT = 200, 450, 2000  # what a dataset home has room for, a prefix left over
_MAX_PART_BYTES = 255  # of a path, on every file system that matters
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Place:
    """A file, and the line or field in it."""

    file: Path
    at: str = ""

    def field(self, name: str) -> Place:
        """A field within this place."""
        return Place(self.file, f"{self.at}{'.' if self.at and not name.startswith('[') else ''}{name}")

    def line(self, number: int) -> Place:
        """A line of this file."""
        return Place(self.file, f"line {number}")

    def fault(self, what: str) -> StationFault:
        """The sentence."""
        return StationFault(f"{self.file}{', ' if self.at else ''}{self.at}: {what}")


def read_text(path: Path) -> str:
    """A label file as text; refuses what is missing, too large or not UTF-8 (with the line)."""
    place = Place(path)
    try:
        if not path.is_file():
            raise place.fault("no such file; give the path of the label file or of its folder")
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise place.fault(f"larger than {MAX_LABEL_BYTES >> 20} MiB; split it")
        data = path.read_bytes()
    except OSError as error:
        raise place.fault(f"cannot be read ({error.strerror})") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise place.line(line).fault("not UTF-8 text; save the file as UTF-8") from None


def read_json(path: Path) -> Any:
    """A JSON file; refuses broken JSON (with the line), NaN and Infinity."""
    text = read_text(path)

    def constant(name: str) -> Any:
        line = text.count("\n", 0, max(0, text.find(name))) + 1
        raise Place(path).line(line).fault(f"{name} is not a number that a label can have")

    try:
        return json.loads(text, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise Place(path, f"line {error.lineno}, column {error.colno}").fault(
            f"not JSON ({error.msg})"
        ) from None
    except (RecursionError, ValueError) as error:
        raise Place(path).fault(f"not JSON that can be read ({type(error).__name__})") from None


def mapping(place: Place, value: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise place.fault(f"{type(value).__name__} where an object is needed")
    return value


def listing(place: Place, value: Any) -> list[Any]:
    """A JSON list."""
    if not isinstance(value, list):
        raise place.fault(f"{type(value).__name__} where a list is needed")
    return value


def text_of(place: Place, value: Any, longest: int = MAX_TEXT) -> str:
    """Text that is not empty, not too long, and holds no control characters and no halves of characters."""
    if not isinstance(value, str) or not value.strip():
        raise place.fault("empty where a text is needed")
    if len(value) > longest:
        raise place.fault(f"{len(value)} characters, at most {longest} are taken: {value[:40]!r}")
    if _CONTROL.search(value):
        raise place.fault(f"control or broken characters in {value[:60]!r}")
    return value


def optional_text(place: Place, value: Any) -> str | None:
    """Text, a number as text, or None for what is not said."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise place.fault(f"{type(value).__name__} where a text is needed")
    return text_of(place, str(value))


def number(place: Place, value: Any) -> float:
    """A finite number, from a number or its text."""
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        raise place.fault(f"{str(value)[:40]!r} is not a number") from None
    if not math.isfinite(found):
        raise place.fault(f"{str(value)[:40]!r} is not a finite number")
    return found


def size_of(place: Place, width: Any, height: Any) -> tuple[int, int]:
    """Width and height of a picture, whole and positive."""
    found = number(place, width), number(place, height)
    if any(v != int(v) or not 1 <= v <= 1_000_000 for v in found):
        raise place.fault(f"{width} x {height} is not the size of a picture")
    return int(found[0]), int(found[1])


def checked_box(place: Place, corners: Sequence[Any], width_px: int, height_px: int) -> Box:
    """A box (x0, y0, x1, y1) in picture pixels that has an area and touches its picture."""
    x0, y0, x1, y1 = (number(place, v) for v in corners)
    if x1 <= x0 or y1 <= y0:
        raise place.fault(f"a box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) has no area; mend it or delete it")
    _touches(place, "box", (x0, y0, x1, y1), (width_px, height_px))
    return Box(x0_px=x0, y0_px=y0, x1_px=x1, y1_px=y1)


def checked_polygon(place: Place, corners: Sequence[Sequence[Any]], width_px: int, height_px: int) -> Polygon:
    """An outline of three corners or more that touches its picture."""
    if len(corners) < 3:
        raise place.fault(f"a polygon with {len(corners)} corners; it needs three or more")
    if len(corners) > MAX_CORNERS:
        raise place.fault(f"a polygon with {len(corners)} corners; at most {MAX_CORNERS} are taken")
    if any(len(corner) != 2 for corner in corners):
        raise place.fault("a corner needs x and y")
    found = tuple((number(place, x), number(place, y)) for x, y in corners)
    xs, ys = [x for x, _ in found], [y for _, y in found]
    _touches(place, "polygon", (min(xs), min(ys), max(xs), max(ys)), (width_px, height_px))
    return found


def _touches(place: Place, what: str, corners: tuple[float, ...], size: tuple[int, int]) -> None:
    """Refuse what lies beside its picture, or sticks out by more than its size: another picture was meant."""
    (x0, y0, x1, y1), (width_px, height_px) = corners, size
    shown = f"a {what} from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})"
    if x1 <= 0 or y1 <= 0 or x0 >= width_px or y0 >= height_px:
        raise place.fault(f"{shown} lies outside its {width_px} x {height_px} picture")
    if x0 < -width_px or y0 < -height_px or x1 > 2 * width_px or y1 > 2 * height_px:
        raise place.fault(
            f"{shown} sticks out of its {width_px} x {height_px} picture by more than the picture's size"
        )


def checked_runs(place: Place, counts: Iterable[Any], width_px: int, height_px: int) -> Rle:
    """A mask from run lengths, column by column, that fill the picture exactly and hold a pixel."""
    runs: list[int] = []
    for value in counts:
        run = number(place, value)
        if run != int(run) or run < 0:
            raise place.fault(f"{str(value)[:40]!r} is not a run length")
        runs.append(int(run))
    if sum(runs) != width_px * height_px:
        raise place.fault(
            f"its run lengths cover {sum(runs)} pixels, its {width_px} x {height_px} picture has "
            f"{width_px * height_px}"
        )
    if not sum(runs[1::2]):
        raise place.fault("a mask without a single pixel; delete the label")
    return Rle(height_px=height_px, width_px=width_px, counts=tuple(runs))


def checked_name(place: Place, value: Any) -> str:
    """A picture's name: a relative POSIX path that stays below its folder."""
    text = text_of(place, value, MAX_NAME).replace("\\", "/")
    path = PurePosixPath(text)
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0][1:2]:
        raise place.fault(f"{text!r} lies outside the set's folder; use a name relative to the label file")
    if any(len(part.encode()) > _MAX_PART_BYTES for part in path.parts):
        raise place.fault(f"{text[:40]!r} is too long a name")
    return str(path)


def name_anywhere(place: Place, value: Any) -> str:
    """A picture's name within its set where the file may name pictures that lie elsewhere on this machine.

    It stays a relative path below nothing in particular: the root and steps upwards are left out.
    """
    parts = PurePosixPath(text_of(place, value, MAX_NAME).replace("\\", "/")).parts
    return checked_name(place, "/".join(part for part in parts if part not in ("/", "..", ".")))


def facts_of(place: Place, entry: Mapping[str, Any]) -> dict[str, str]:
    """What else an entry says in one word, as texts."""
    return {
        text_of(place, key): text_of(place.field(key), str(value), MAX_FACT)
        for key, value in entry.items()
        if isinstance(value, (str, int, float)) and str(value).strip()
    }


def find_picture(place: Place, name: str, roots: Sequence[Path]) -> Path:
    """Where the picture called `name` lies, in the first of `roots` that has it."""
    for spelling in dict.fromkeys(
        (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    ):
        for root in roots:
            if (root / spelling).is_file():
                return root / spelling
    shown = " or ".join(str(root) for root in roots[:3])
    raise place.fault(f"picture {name!r} is not in {shown}; put it there, or mend its name")


def bounds(polygons: Sequence[Polygon]) -> tuple[float, float, float, float]:
    """Smallest box around all corners: x0, y0, x1, y1."""
    xs = [x for polygon in polygons for x, _ in polygon]
    ys = [y for polygon in polygons for _, y in polygon]
    return min(xs), min(ys), max(xs), max(ys)


def mask_bounds(mask: Rle) -> tuple[int, int, int, int]:
    """Smallest box around the pixels of a mask: x0, y0, x1, y1, half-open."""
    position, x0, x1, y0, y1 = 0, mask.width_px, 0, mask.height_px, 0
    for index, run in enumerate(mask.counts):
        if index % 2 and run:
            first, last = position, position + run - 1
            x0, x1 = min(x0, first // mask.height_px), max(x1, last // mask.height_px + 1)
            if first // mask.height_px == last // mask.height_px:
                y0, y1 = min(y0, first % mask.height_px), max(y1, last % mask.height_px + 1)
            else:
                y0, y1 = 0, mask.height_px
        position += run
    return x0, y0, x1, y1
