# SPDX-License-Identifier: AGPL-3.0-or-later
"""Read the pixels of labelled pictures, as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datasets.labels import Picture
from inspection.pixels import Letterbox
from inspection.types import StationFault


def read_picture(path: Path, channels: int) -> np.ndarray:
    """Read one picture as uint8 grey (H, W) or RGB (H, W, 3). Raises StationFault when it is not a picture."""
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    picture = cv2.imread(str(path), flag)
    if picture is None:
        raise StationFault(f"{path}: not a picture that can be read; replace it or take it out of the set")
    return picture if channels == 1 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def network_pictures(pictures: Sequence[Picture], size_px: int, channels: int) -> list[np.ndarray]:
    """Return pictures as the network sees them: uint8 (size, size[, 3]), letterboxed."""
    shown = []
    for picture in pictures:
        pixels = read_picture(picture.path, channels)
        height_px, width_px = pixels.shape[:2]
        frame = Letterbox(
            source_width_px=width_px, source_height_px=height_px, width_px=size_px, height_px=size_px
        )
        shown.append(frame.apply(pixels))
    return shown
