# SPDX-License-Identifier: AGPL-3.0-or-later
"""Folders that say what their pictures are: MVTec AD's layout, or one folder a class.

    train/good/*.png  test/good/*.png  test/<defect>/*.png  ground_truth/<defect>/<name>_mask.png   (MVTec)
    good/*.png  <defect>/*.png                       (a folder a class)

The folder's name is the picture's class; what is bright in its mask is one label of that class. A picture's
name is its path below the root, because MVTec AD numbers the pictures of every folder from 000.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from datasets.formats.out import put_picture
from datasets.formats.place import Place, checked_box, checked_name, mask_bounds, text_of
from datasets.hostile import PictureCheck, picture_files
from datasets.labels import GOOD_CLASSES, Label, LabelledSet, Picture, Rle
from inspection.types import StationFault

SIDES = ("train", "test", "val", "valid", "validation")
TRUTH = "ground_truth"
GOOD, MIXED = "good", "combined"  # MVTec AD's own words
_MASK_ENDINGS = ("_mask", "")


def read(path: Path, pictures: PictureCheck) -> LabelledSet:
    """Read a folder of folders."""
    place = Place(path)
    masks_used: set[Path] = set()
    found = [
        _picture(file, folder, pictures, masks_used)
        for folder in _class_folders(path)
        for file in picture_files(folder.path)
    ]
    if not found:
        raise place.fault("no folders of pictures; it needs train/good, test/<defect>, or one folder a class")
    _no_mask_left(path, masks_used)
    classes = sorted({p.image_class for p in found if p.image_class is not None} - GOOD_CLASSES)
    return LabelledSet(classes=tuple(classes), pictures=tuple(found), source=path)


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    root: Path
    path: Path
    image_class: str


def _class_folders(path: Path) -> Iterator[_ClassFolder]:
    sides = [path / side for side in SIDES if (path / side).is_dir()]
    for home in sides or [path]:
        for folder in sorted(p for p in home.iterdir() if p.is_dir()):
            if not folder.name.startswith(".") and not (home == path and folder.name == TRUTH):
                yield _ClassFolder(path, folder, text_of(Place(folder), folder.name))


def _picture(file: Path, folder: _ClassFolder, pictures: PictureCheck, masks_used: set[Path]) -> Picture:
    facts = pictures.examine(file)
    labels: tuple[Label, ...] = ()
    mask_file = _mask_file(folder.root / TRUTH / folder.path.name, file.relative_to(folder.path))
    if mask_file is not None:
        masks_used.add(mask_file)
        mask = pictures.mask(mask_file)
        if (mask.width_px, mask.height_px) != (facts.width_px, facts.height_px):
            raise Place(mask_file).fault(
                f"{mask.width_px} x {mask.height_px} pixels, "
                f"its picture has {facts.width_px} x {facts.height_px}"
            )
        if mask.counts[1:]:  # an empty mask marks nothing
            labels = (_label(mask_file, mask, folder.image_class),)
    return Picture(
        name=checked_name(Place(file), file.relative_to(folder.root).as_posix()),
        path=file,
        width_px=facts.width_px,
        height_px=facts.height_px,
        labels=labels,
        image_class=folder.image_class,
    )


def _mask_file(folder: Path, relative: Path) -> Path | None:
    for ending in _MASK_ENDINGS:
        for suffix in (".png", relative.suffix, ".bmp", ".tif", ".tiff"):
            candidate = folder / relative.parent / f"{relative.stem}{ending}{suffix}"
            if candidate.is_file():
                return candidate
    return None


def _label(file: Path, mask: Rle, image_class: str) -> Label:
    if image_class in GOOD_CLASSES:
        raise Place(file).fault("marks a defect on a picture that lies among the good ones")
    box = checked_box(Place(file), mask_bounds(mask), mask.width_px, mask.height_px)
    return Label(class_name=image_class, box=box, mask=mask)


def _no_mask_left(path: Path, used: set[Path]) -> None:
    for file in picture_files(path / TRUTH):
        if file not in used:
            raise Place(file).fault("a mask without a picture; add the picture or remove the mask")


def write(labelled: LabelledSet, folder: Path) -> Path:
    """Write train/good, test/<defect> and ground_truth/<defect>; returns the folder.

    A good picture goes to train unless its name says test; names stay as they are below the class's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for picture in labelled.pictures:
        image_class = class_of(picture)
        side, inner = _side_and_name(picture.name, image_class)
        put_picture(picture.path, folder, f"{side}/{image_class}/{inner}")
        if image_class != GOOD and picture.labels:
            mask = np.logical_or.reduce(
                [label.pixels(picture.height_px, picture.width_px) for label in picture.labels]
            )
            relative = PurePosixPath(inner)
            _put_mask(mask, folder / TRUTH / image_class / relative.parent / f"{relative.stem}_mask.png")
    return folder


def class_of(picture: Picture) -> str:
    """The folder a picture belongs into."""
    if picture.good:
        return GOOD
    if picture.image_class is not None:
        return _folder_name(picture.image_class)
    classes = {label.class_name for label in picture.labels}
    return _folder_name(classes.pop()) if len(classes) == 1 else MIXED


def _folder_name(name: str) -> str:
    if "/" in name or name in {".", ".."} or name.startswith("."):
        raise StationFault(f"export: the class {name!r} cannot be the name of a folder; rename it")
    return name


def _side_and_name(name: str, image_class: str) -> tuple[str, str]:
    """Which side, and the name below the class's folder; what came from such a folder goes back there."""
    parts = PurePosixPath(name).parts
    default = "train" if image_class == GOOD else "test"
    if len(parts) > 2 and parts[0] in SIDES and parts[1] == image_class:
        return parts[0], str(PurePosixPath(*parts[2:]))
    return default, name


def _put_mask(mask: np.ndarray, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise StationFault(f"export: two masks would be {target.name!r} in this format; rename a picture")
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    target.write_bytes(buffer.getvalue())
