# SPDX-License-Identifier: AGPL-3.0-or-later
"""Read the pixels of labelled pictures, as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datasets.labels import Picture
from inspection.pixels import PICTURE_ERRORS, Letterbox, with_channels
from inspection.prepare import Prepared, Step, prepare, takes_reference
from inspection.types import StationFault


def read_picture(path: Path, channels: int) -> np.ndarray:
    """Read one picture as uint8 grey (H, W) or RGB (H, W, 3). Raises StationFault when it is not a picture."""
    if not path.is_file():  # OpenCV would add a warning of its own on standard error
        raise StationFault(f"{path}: no such picture; put it back or take it out of the set")
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    picture = cv2.imread(str(path), flag)
    if picture is None:
        raise StationFault(f"{path}: not a picture that can be read; replace it or take it out of the set")
    return picture if channels == 1 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def labelled_picture(picture: Picture, channels: int) -> np.ndarray:
    """Read a picture that has the size its labels were drawn on; StationFault when it has another one."""
    pixels = read_picture(picture.path, channels)
    height_px, width_px = pixels.shape[:2]
    if (width_px, height_px) != (picture.width_px, picture.height_px):
        raise StationFault(
            f"{picture.path}: {width_px} x {height_px} pixels, its labels were drawn on {picture.width_px} x "
            f"{picture.height_px}; they belong to another picture, or its width and height are wrong"
        )
    return pixels


def prepared_picture(picture: Picture, channels: int, steps: Sequence[Step] = ()) -> Prepared:
    """Read a picture, and its template where the steps compare, and prepare it as the station does.

    channels: of the network's input. Raises StationFault naming the picture when a step cannot do its work.
    """
    compares = takes_reference(steps)
    pixels = labelled_picture(picture, 1 if compares else channels)
    reference = read_picture(picture.template, 1) if compares and picture.template is not None else None
    try:
        prepared = prepare(pixels, steps, reference)
        return Prepared(pixels=with_channels(prepared.pixels, channels), back=prepared.back)
    except PICTURE_ERRORS as error:
        raise StationFault(f"{picture.path}: {error}; take the picture out of the set, or mend it") from None


def network_pictures(
    pictures: Sequence[Picture], size_px: int, channels: int, steps: Sequence[Step] = ()
) -> list[np.ndarray]:
    """Return pictures as the network sees them: uint8 (size, size[, 3]), prepared and letterboxed."""
    shown = []
    for picture in pictures:
        pixels = prepared_picture(picture, channels, steps).pixels
        height_px, width_px = pixels.shape[:2]
        frame = Letterbox(
            source_width_px=width_px, source_height_px=height_px, width_px=size_px, height_px=size_px
        )
        shown.append(frame.apply(pixels))
    return shown
