# SPDX-License-Identifier: AGPL-3.0-or-later
"""A sheet that shows what an augmentation policy does: each row a picture, then changed ones, labels drawn."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datasets.coco import read_coco
from datasets.labels import Picture
from inspection.pixels import Letterbox
from inspection.storage.files import write_durably
from inspection.types import StationFault
from training.augmentations import Policy, policy
from training.pictures import read_picture

ROWS, CHANGED = 6, 5
CELL_PX, GAP_PX, TITLE_PX = 224, 4, 22
_INK = (40, 60, 235)


def preview(name: str, train: Path | None, out: Path, seed: int) -> Path:
    """Write the sheet as PNG. Raises StationFault for an unknown policy or a spoilt set."""
    chosen = policy(name)
    if train is None:
        raise StationFault("a preview needs pictures: give --train COCO")
    if out.suffix.lower() != ".png":
        raise StationFault(f"{out}: a preview is a .png file")
    pictures = read_coco(train).pictures
    labelled = [picture for picture in pictures if picture.labels] or list(pictures)
    if not labelled:
        raise StationFault(f"{train} holds no pictures")
    shown = random.Random(seed).sample(labelled, min(ROWS, len(labelled)))  # noqa: S311 - which to look at
    rows = [_row(picture, chosen, seed + number) for number, picture in enumerate(shown)]
    sheet = np.vstack([_title(chosen, rows[0].shape[1]), *rows])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_durably(out, cv2.imencode(".png", sheet)[1].tobytes())
    except OSError as error:
        raise StationFault(
            f"cannot write {out} ({error.strerror}): free space on the disk, or choose another --out"
        ) from None
    return out


def _title(chosen: Policy, width_px: int) -> np.ndarray:
    band = np.full((TITLE_PX, width_px, 3), 255, np.uint8)
    text = f"{chosen.name}  sha256 {chosen.sha256[:12]}   first column: as taken"
    cv2.putText(band, text, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return band


def _row(picture: Picture, chosen: Policy, seed: int) -> np.ndarray:
    import albumentations as A  # noqa: N812

    pixels = read_picture(picture.path, 3)
    height_px, width_px = pixels.shape[:2]
    frame = Letterbox(source_width_px=width_px, source_height_px=height_px, width_px=CELL_PX, height_px=CELL_PX)
    cell = frame.apply(pixels)
    boxes = [[b.x0_px, b.y0_px, b.x1_px, b.y1_px] for b in (label.box for label in picture.labels)]
    placed = np.clip(frame.to_input(np.array(boxes).reshape(-1, 4)), 0, CELL_PX)
    placed = placed[(placed[:, 2] > placed[:, 0] + 1) & (placed[:, 3] > placed[:, 1] + 1)]
    steps = [
        *chosen.transforms,
        A.VerticalFlip(p=chosen.flip_ud),
        A.HorizontalFlip(p=chosen.flip_lr),
    ]
    changing: Any = A.Compose(
        steps, bbox_params=A.BboxParams(format="pascal_voc", label_fields=["numbers"]), seed=seed
    )
    cells = [_drawn(cell, placed)]
    for _ in range(CHANGED):
        changed = changing(image=cell, bboxes=placed, numbers=list(range(len(placed))))
        cells.append(_drawn(changed["image"], np.asarray(changed["bboxes"], np.float64).reshape(-1, 4)))
    gap = np.full((CELL_PX, GAP_PX, 3), 255, np.uint8)
    row = np.hstack([part for one in cells for part in (one, gap)])
    return np.vstack([row, np.full((GAP_PX, row.shape[1], 3), 255, np.uint8)])


def _drawn(pixels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    canvas = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    for x0, y0, x1, y1 in np.round(boxes).astype(int).tolist():
        cv2.rectangle(canvas, (x0, y0), (x1, y1), _INK, 1)
    return canvas
