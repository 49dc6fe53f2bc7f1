# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which format a file or folder is in, from what is there. Where two would do, the person is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datasets.formats import cvat, folders, safe_xml, voc, yolo
from datasets.formats.place import Place, read_json
from datasets.formats.table import FORMATS, format_named
from datasets.hostile import PICTURE_SUFFIXES, picture_files

_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".yaml": "yolo", ".yml": "yolo"}


def detect(path: Path) -> tuple[str, Path]:
    """(format, the file or folder to read it from); StationFault when none or several would do."""
    place = Place(path)
    if not path.exists():
        raise place.fault("no such file or folder")
    if path.is_file():
        return _of_file(path), path
    home = _only_folder(path)
    found = list(_candidates(home))
    if not found and _has_class_folders(home):
        _nothing_beside(home)
        return "folders", home
    if len(found) > 1:
        shown = ", ".join(sorted({f"{where.relative_to(home.parent)} ({name})" for name, where in found})[:6])
        raise place.fault(f"several would do: {shown}; name the one that is meant")
    if found:
        return found[0]
    raise place.fault(
        "no labels in it; it needs a COCO or Label Studio .json, a .csv, a YOLO data.yaml, Pascal VOC or CVAT "
        ".xml, or folders such as good/ and scratch/"
    )


def _only_folder(path: Path) -> Path:
    """Archives often hold one folder that holds everything."""
    inside = [p for p in path.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    named = {*folders.SIDES, folders.TRUTH, voc.ANNOTATIONS, "images", "good"}
    if len(inside) == 1 and inside[0].is_dir() and inside[0].name not in named:
        within = list(inside[0].iterdir())
        if any(p.is_dir() or p.suffix.lower() not in PICTURE_SUFFIXES for p in within):
            return inside[0]
    return path


def _of_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if path.name == yolo.CLASSES_FILE:
        return "yolo"
    if suffix == ".json":
        return _of_json(path) or _unknown(
            path, "neither COCO (images, annotations, categories) nor Label Studio tasks"
        )
    if suffix == ".xml":
        return _of_xml(path) or _unknown(path, "neither CVAT (<annotations>) nor Pascal VOC (<annotation>)")
    return _unknown(path, f"not a label file by its name; formats: {', '.join(FORMATS)}")


def _unknown(path: Path, why: str) -> str:
    raise Place(path).fault(f"{why}; say which with --format")


def _of_json(path: Path) -> str | None:
    value = read_json(path)
    if isinstance(value, dict) and {"images", "annotations", "categories"} & set(value):
        return "coco"
    if isinstance(value, list) and value and isinstance(value[0], dict) and "data" in value[0]:
        return "label-studio"
    return None


def _of_xml(path: Path) -> str | None:
    return {"annotations": "cvat", "annotation": "voc"}.get(safe_xml.parse(path).tag)


def _candidates(home: Path) -> Iterator[tuple[str, Path]]:
    """What of the label files in a folder, or its `annotations`, reads like one of the formats."""
    if (home / voc.ANNOTATIONS).is_dir() and any((home / voc.ANNOTATIONS).rglob("*.xml")):
        yield "voc", home
    if (home / cvat.LABEL_FILE).is_file():
        yield "cvat", home / cvat.LABEL_FILE
    places = [home, home / "annotations"]
    files = sorted(p for where in places if where.is_dir() for p in where.iterdir() if p.is_file())
    loose = [p for p in files if p.suffix == ".xml" and p.name not in {cvat.LABEL_FILE, "label_config.xml"}]
    if loose and _of_xml(loose[0]) == "voc":
        yield "voc", home
    for path in files:
        suffix = path.suffix.lower()
        if suffix in _BY_SUFFIX:
            yield _BY_SUFFIX[suffix], path
        elif path.name == yolo.CLASSES_FILE and (home / "labels").is_dir() and not any(home.glob("*.y*ml")):
            yield "yolo", path
        elif suffix == ".json" and (kind := _of_json(path)):
            yield kind, path


def _has_class_folders(home: Path) -> bool:
    inner = [p for p in home.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != "images"]
    return any(picture_files(p) for p in inner)


def _nothing_beside(home: Path) -> None:
    """What lies beside folders of classes may be what really says something about the pictures."""
    for path in sorted(p for p in home.iterdir() if p.is_file() and not p.name.startswith(".")):
        suffix = path.suffix.lower()
        if suffix in {".json", ".xml"}:
            raise Place(path).fault(
                "not labels of a known format; mend it, or say --format folders if the folders say what is what"
            )
        if suffix in PICTURE_SUFFIXES:
            raise Place(path).fault(
                "lies beside the folders, and nothing says what it is; move it, or say --format folders to "
                "leave it out"
            )


def label_file_of(path: Path, name: str) -> Path:
    """Where to read `path` from in the format that was said: the one label file of that kind in a folder."""
    form = format_named(name).name.removesuffix("-segment")
    if not path.exists():
        raise Place(path).fault("no such file or folder")
    if path.is_file() or form == "folders":
        return _only_folder(path) if path.is_dir() else path
    home = _only_folder(path)
    found = [where for kind, where in _candidates(home) if kind == form]
    if len(found) > 1:
        raise Place(path).fault(f"{len(found)} {form} files in it; name the one that is meant")
    return found[0] if found else home
