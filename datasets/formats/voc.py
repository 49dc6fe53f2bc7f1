# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pascal VOC (host.robots.ox.ac.uk/pascal/VOC): Annotations/*.xml beside JPEGImages/, a file a picture.

Corners are taken as they stand, as today's tools write them: pixels from 0, x1 and y1 not inside the box.
(The 2007 development kit counted from 1 with both ends inside; files of that age are half a pixel off.)
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from datasets.formats.out import fit_for_xml, label_file, put_picture
from datasets.formats.place import Place, checked_box, checked_name, find_picture, size_of, text_of
from datasets.formats.safe_xml import Element, child, element, parse, put_xml
from datasets.hostile import PICTURE_SUFFIXES, PictureCheck
from datasets.labels import Label, LabelledSet, Picture

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"
_IMAGE_FOLDERS = (IMAGES, "images", "Images", ".")


def read(path: Path, pictures: PictureCheck) -> LabelledSet:
    """Read a VOC folder, its Annotations folder, or a plain folder of XML files beside their pictures."""
    root, folder = _folders(path)
    files = [path] if path.is_file() else sorted(f for f in folder.rglob("*.xml") if f.is_file())
    if not files:
        raise Place(folder).fault("no XML files in it; a Pascal VOC set has one a picture")
    found: dict[str, Picture] = {}
    for file in files:
        picture = _picture(parse(file), file, root, folder, pictures)
        if picture.name in found:
            raise Place(file).fault(f"picture {picture.name!r} has labels in two files")
        found[picture.name] = picture
    classes = sorted({label.class_name for p in found.values() for label in p.labels})
    return LabelledSet(classes=tuple(classes), pictures=tuple(found[n] for n in sorted(found)), source=path)


def _folders(path: Path) -> tuple[Path, Path]:
    """(the set's folder, the folder of its XML files)."""
    if path.is_file():
        return (path.parent.parent if path.parent.name == ANNOTATIONS else path.parent), path.parent
    if path.name == ANNOTATIONS:
        return path.parent, path
    inner = path / ANNOTATIONS
    return path, inner if inner.is_dir() else path


def _picture(root: Element, file: Path, home: Path, folder: Path, pictures: PictureCheck) -> Picture:
    if root.tag != "annotation":
        raise root.place.fault(f"<{root.tag}> where Pascal VOC has <annotation>")
    filename = root.one("filename")
    said = checked_name(filename.place.field("filename"), filename.text.strip())
    roots = [home / name for name in _IMAGE_FOLDERS]
    inner = PurePosixPath(file.parent.relative_to(folder).as_posix())
    name = said if "/" in said else str(inner / said)
    where = find_picture(filename.place.field("filename"), _with_suffix(name, roots), roots)
    name = next(where.relative_to(r).as_posix() for r in roots if where.is_relative_to(r))
    size = list(root.all("size"))
    if size:
        width_px, height_px = size_of(
            size[0].place.field("size"), size[0].words("width"), size[0].words("height")
        )
    else:
        facts = pictures.examine(where)
        width_px, height_px = facts.width_px, facts.height_px
    labels = tuple(_label(entry, width_px, height_px) for entry in root.all("object"))
    return Picture(name=name, path=where, width_px=width_px, height_px=height_px, labels=labels)


def _with_suffix(name: str, roots: list[Path]) -> str:
    """The name as some tools leave it, without .jpg, with what is there."""
    if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES:
        return name
    return next((name + s for s in sorted(PICTURE_SUFFIXES) for r in roots if (r / (name + s)).is_file()), name)


def _label(entry: Element, width_px: int, height_px: int) -> Label:
    box = entry.one("bndbox")
    corners = [box.words(side) for side in ("xmin", "ymin", "xmax", "ymax")]
    return Label(
        class_name=text_of(entry.place.field("name"), entry.words("name")),
        box=checked_box(box.place.field("bndbox"), corners, width_px, height_px),
    )


def write(labelled: LabelledSet, folder: Path) -> Path:
    """Write Annotations/ and JPEGImages/; returns the folder."""
    fit_for_xml(labelled)
    (folder / ANNOTATIONS).mkdir(parents=True, exist_ok=True)
    for picture in labelled.pictures:
        put_picture(picture.path, folder / IMAGES, picture.name)
        root = element("annotation")
        child(root, "folder", IMAGES)
        child(root, "filename", picture.name)
        size = child(root, "size")
        for tag, value in (("width", picture.width_px), ("height", picture.height_px)):
            child(size, tag, value)
        child(root, "segmented", 0)
        for label in picture.labels:
            entry = child(root, "object")
            for tag, value in (
                ("name", label.class_name),
                ("pose", "Unspecified"),
                ("truncated", 0),
                ("difficult", 0),
            ):
                child(entry, tag, value)
            box = child(entry, "bndbox")
            corners = (label.box.x0_px, label.box.y0_px, label.box.x1_px, label.box.y1_px)
            for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
                child(box, tag, repr(float(value)))
        put_xml(folder / ANNOTATIONS / label_file(picture.name, ".xml"), root)
    return folder
