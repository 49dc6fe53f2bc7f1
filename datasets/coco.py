# SPDX-License-Identifier: AGPL-3.0-or-later
"""Read COCO files as labelled pictures, with what an inspection set adds.

Beyond COCO an `images` entry may have: `image_class` (whole-picture label; `good` and `free` are good),
`template_file` (defect-free picture of the same place), `part`, `lot` (or `group`), `sequence`. Whatever else
it says in one word is kept as a fact. Whoever writes such files: `datasets/formats/coco.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets.formats.place import (
    Place,
    checked_box,
    checked_name,
    checked_polygon,
    checked_runs,
    facts_of,
    find_picture,
    listing,
    mapping,
    name_anywhere,
    number,
    optional_text,
    read_json,
    size_of,
    text_of,
)
from datasets.labels import Label, LabelledSet, Picture, Polygon, Rle

KNOWN = frozenset(
    {"id", "file_name", "width", "height", "image_class", "part", "lot", "sequence", "template_file"}
)
"""Keys of an `images` entry that are more than facts."""


def read_coco(path: Path, *, confined: bool = False) -> LabelledSet:
    """Read a COCO file and find the pictures beside it (same folder, or its `images` folder).

    confined: a picture that lies elsewhere, by an absolute path or one that leads upwards, is refused: for
    files that came from somebody else. Raises StationFault naming the file and the field when something is
    missing or out of place.
    """
    place = Place(path)
    raw = mapping(place, read_json(path))
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(raw.get(key), list)]
    if missing:
        raise place.fault(f"not a COCO file: it needs a list of {' and of '.join(missing)}")
    names = _categories(place, raw["categories"])
    entries: dict[Any, tuple[Place, dict[str, Any], tuple[int, int]]] = {}
    for number_, entry in enumerate(raw["images"]):
        here = place.field(f"images[{number_}]")
        entry = mapping(here, entry)  # noqa: PLW2901 - the same entry, now known to be an object
        key = _key(here, entry, "id")
        if key in entries:
            raise here.field("id").fault(f"{key!r} is there twice; every picture needs its own")
        size = size_of(here, _given(here, entry, "width"), _given(here, entry, "height"))
        entries[key] = (here, entry, size)
    labels: dict[Any, list[Label]] = {key: [] for key in entries}
    for number_, entry in enumerate(raw["annotations"]):
        here = place.field(f"annotations[{number_}]")
        key = _key(here, mapping(here, entry), "image_id")
        if key not in entries:
            raise here.field("image_id").fault(f"{key!r} is not the id of a picture in images")
        labels[key].append(_label(here, entry, names, *entries[key][2]))
    pictures = tuple(
        _picture(here, entry, size, labels[key], confined=confined)
        for key, (here, entry, size) in entries.items()
    )
    _all_different(place, pictures)
    return LabelledSet(classes=tuple(names.values()), pictures=pictures, source=path)


def _given(place: Place, entry: dict[str, Any], key: str) -> Any:
    if key not in entry:
        raise place.fault(f"{key} is missing")
    return entry[key]


def _key(place: Place, entry: dict[str, Any], name: str) -> Any:
    value = _given(place, entry, name)
    if not isinstance(value, (int, str)):
        raise place.field(name).fault(f"{str(value)[:40]!r} is not an id")
    return value


def _categories(place: Place, entries: list[Any]) -> dict[Any, str]:
    """Class name of each category id, in order of id."""
    names: dict[Any, str] = {}
    for number_, entry in enumerate(entries):
        here = place.field(f"categories[{number_}]")
        key = _key(here, mapping(here, entry), "id")
        name = text_of(here.field("name"), str(_given(here, entry, "name")))
        if key in names or name in names.values():
            raise here.fault("repeats an id or a name; every class needs its own")
        names[key] = name
    return dict(sorted(names.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _label(place: Place, entry: dict[str, Any], names: dict[Any, str], width_px: int, height_px: int) -> Label:
    key = _key(place, entry, "category_id")
    if key not in names:
        raise place.field("category_id").fault(f"{key!r} is not in categories")
    at = place.field("bbox")
    corners = listing(at, _given(place, entry, "bbox"))
    if len(corners) != 4:
        raise at.fault(f"{len(corners)} numbers where x, y, width and height are needed")
    x, y, width, height = (number(at, v) for v in corners)
    polygons, mask = _shape(place.field("segmentation"), entry.get("segmentation"), width_px, height_px)
    sure = entry.get("detectability")
    return Label(
        class_name=names[key],
        box=checked_box(at, (x, y, x + width, y + height), width_px, height_px),
        polygons=polygons,
        mask=mask,
        detectability=None if sure is None else number(place.field("detectability"), sure),
    )


def _shape(
    place: Place, segmentation: Any, width_px: int, height_px: int
) -> tuple[tuple[Polygon, ...], Rle | None]:
    """Polygons, or a mask from run lengths (plain, or compressed as pycocotools writes them)."""
    if not segmentation:
        return (), None
    if isinstance(segmentation, dict):
        size = listing(place.field("size"), segmentation.get("size"))
        if size != [height_px, width_px]:
            raise place.field("size").fault(f"{size}, its picture has [{height_px}, {width_px}]")
        counts, at = segmentation.get("counts"), place.field("counts")
        plain = _plain_counts(at, counts) if isinstance(counts, str) else listing(at, counts)
        return (), checked_runs(at, plain, width_px, height_px)
    polygons = []
    for index, flat in enumerate(listing(place, segmentation)):
        at = place.field(f"[{index}]")
        values = listing(at, flat)
        if len(values) % 2:
            raise at.fault(f"{len(values)} numbers; every corner needs x and y")
        corners = list(zip(values[0::2], values[1::2], strict=True))
        polygons.append(checked_polygon(at, corners, width_px, height_px))
    return tuple(polygons), None


def _plain_counts(place: Place, text: str) -> list[int]:
    """Undo COCO's compression: 5 bits a character, signed, each run from the third on as a difference."""
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise place.fault("not compressed run lengths")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise place.fault("its compressed run lengths break off")
    return counts


def _picture(
    place: Place, entry: dict[str, Any], size: tuple[int, int], labels: list[Label], *, confined: bool
) -> Picture:
    width_px, height_px = size
    naming = checked_name if confined else name_anywhere
    name = naming(place.field("file_name"), _given(place, entry, "file_name"))
    template = entry.get("template_file")
    at = place.field("template_file")
    if template is not None:
        naming(at, template)

    def word(key: str) -> str | None:
        return optional_text(place.field(key), entry.get(key))

    return Picture(
        name=name,
        path=locate(place.field("file_name"), name if confined else str(entry["file_name"])),
        width_px=width_px,
        height_px=height_px,
        labels=tuple(labels),
        image_class=word("image_class"),
        part=word("part"),
        lot=word("lot") if entry.get("lot") is not None else word("group"),
        sequence=word("sequence"),
        template=None if template is None else locate(at, str(template)),
        facts=facts_of(place, {key: value for key, value in entry.items() if key not in KNOWN}),
    )


def _all_different(place: Place, pictures: tuple[Picture, ...]) -> None:
    seen: set[str] = set()
    for index, picture in enumerate(pictures):
        if picture.name in seen:
            raise place.field(f"images[{index}].file_name").fault(f"{picture.name!r} is there twice")
        seen.add(picture.name)


def locate(place: Place, name: str) -> Path:
    """Where a picture that a COCO file names lies: beside the file, or in its images folder.

    COCO's own layout has `annotations/instances_train2017.json` and `train2017/` side by side.
    """
    folder = place.file.parent
    roots = [folder, folder / "images"]
    if folder.name == "annotations":
        home = folder.parent
        roots += [home, home / "images", home / place.file.stem.removeprefix("instances_")]
    return find_picture(place, name, roots)
