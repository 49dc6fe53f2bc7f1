# SPDX-License-Identifier: AGPL-3.0-or-later
"""The good pictures a person gives: a folder of any depth, or the good ones of a COCO file."""

from __future__ import annotations

from pathlib import Path

from datasets.coco import read_coco
from datasets.hostile import PICTURE_SUFFIXES
from datasets.labels import Picture
from inspection.types import StationFault
from training.pictures import read_picture

LEAST_GOOD = 8


def good_pictures(source: Path) -> tuple[Picture, ...]:
    """Good pictures of a folder (all of them) or a COCO file, by name. StationFault where there are none.

    In a COCO file the whole-picture label decides; without one a picture without annotations is good, and so is
    every template.
    """
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
        pictures = [_picture(path, source) for path in paths if path.is_file()]
    else:
        labelled = read_coco(source)
        pictures = [picture for picture in (*labelled.pictures, *labelled.templates) if picture.good]
        pictures.sort(key=lambda picture: picture.name)
    if not pictures:
        raise StationFault(f"{source} holds no good pictures: put pictures of good parts there.")
    return tuple(pictures)


def one_picture(path: Path) -> Picture:
    """A single picture that somebody names."""
    return _picture(path, path.parent)


def _picture(path: Path, root: Path) -> Picture:
    height_px, width_px = read_picture(path, 1).shape
    return Picture(
        name=path.relative_to(root).as_posix(),
        path=path,
        width_px=width_px,
        height_px=height_px,
        image_class="good",
    )
