# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every writer of a format does: put pictures and texts below a folder, never outside, never twice."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.formats.place import Place, checked_name
from datasets.labels import LabelledSet
from inspection.types import StationFault

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def put_picture(source: Path, folder: Path, name: str) -> Path:
    """Copy a picture to `folder/name`; refuses a second one of that name, and a name that leaves the folder."""
    target = folder / checked_name(Place(Path("export")), name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise StationFault(f"export: two pictures would be {name!r} in this format; rename one of them")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise StationFault(f"export: picture {name!r} cannot be copied ({error.strerror})") from None
    return target


def put_text(path: Path, text: str) -> Path:
    """Write a text file that is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise StationFault(f"export: {path.name!r} would be written twice in this format; rename a picture")
    path.write_text(text, encoding="utf-8", newline="")
    return path


def put_json(path: Path, value: Any) -> Path:
    """Write a JSON file for people to read and programs to compare: same content, same bytes."""
    return put_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def label_file(name: str, suffix: str) -> PurePosixPath:
    """The label file that goes with a picture in formats that have one each: same stem, other suffix."""
    return PurePosixPath(name).with_suffix(suffix)


def fit_for_xml(labelled: LabelledSet) -> None:
    """Refuse names that XML cannot hold, before anything is written."""
    for text in (*labelled.classes, *(p.name for p in labelled.pictures)):
        if _NOT_IN_XML.search(text):
            raise StationFault(f"export: the name {text!r} has characters that XML cannot hold; rename it")
