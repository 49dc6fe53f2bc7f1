# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder of pictures nobody has looked at yet (`data import --unlabelled`): neither good nor bad."""

from __future__ import annotations

from pathlib import Path

from datasets.formats.place import Place, checked_name
from datasets.hostile import PictureCheck, picture_files
from datasets.labels import LabelledSet, Picture


def read(path: Path, pictures: PictureCheck) -> LabelledSet:
    """Every picture below a folder, or one picture, by its path."""
    root = path if path.is_dir() else path.parent
    found = []
    for file in picture_files(path) if path.is_dir() else [path]:
        facts = pictures.examine(file)
        name = checked_name(Place(file), file.relative_to(root).as_posix())
        found.append(Picture(name=name, path=file, width_px=facts.width_px, height_px=facts.height_px))
    return LabelledSet(classes=(), pictures=tuple(found), source=path)
