# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole pictures and their classes for torch: what the station will show, changed by the policy and no more."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.pictures import read_picture


def described(data: Path) -> dict[str, Any]:
    """What ultralytics' trainer wants to know of a folder of training/yolo_folder.py."""
    raw = json.loads(data.read_text())
    names = {int(number): name for number, name in raw["names"].items()}
    return {
        "path": data.parent,
        "train": str(data.parent / "train"),
        "val": str(data.parent / "val"),
        "test": None,
        "nc": len(names),
        "names": names,
        "channels": raw["channels"],
    }


class WholePictures(torch.utils.data.Dataset):
    """Float pictures (channels, size, size) in 0..1, and their class; `settings` None changes nothing."""

    def __init__(self, folder: Path, settings: Any) -> None:
        kinds: dict[str, int] = json.loads((folder / "classes.json").read_text())
        channels = json.loads((folder.parent / "data.yaml").read_text())["channels"]
        self._pictures = [read_picture(folder / "images" / f"{name}.png", channels) for name in kinds]
        self._kinds = list(kinds.values())
        self._settings = settings
        self._policy: Any = None
        if settings is not None:
            import albumentations as A  # noqa: N812

            transforms: list[Any] = [
                A.from_dict(one) if isinstance(one, dict) else one for one in settings.augmentations
            ]
            self._policy = A.Compose(transforms)
        self._drawn_from = -1

    def __len__(self) -> int:
        return len(self._kinds)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One picture as a batch of ultralytics' classification wants it."""
        pixels = self._pictures[number]
        if self._policy is not None:
            pixels = self._changed(pixels)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return {
            "img": torch.from_numpy(np.ascontiguousarray(planes)).float() / 255,
            "cls": self._kinds[number],
        }

    def _changed(self, pixels: np.ndarray) -> np.ndarray:
        if self._drawn_from != torch.initial_seed():  # the epoch's seed, see training/trainers.py
            self._drawn_from = torch.initial_seed()
            self._policy.set_random_seed(self._drawn_from)
        shown = pixels if pixels.ndim == 3 else pixels[..., None]
        shown = self._policy(image=shown)["image"].reshape(pixels.shape)
        if random.random() < self._settings.fliplr:  # noqa: S311
            shown = shown[:, ::-1]
        if random.random() < self._settings.flipud:  # noqa: S311
            shown = shown[::-1]
        return shown
