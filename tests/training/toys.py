# SPDX-License-Identifier: AGPL-3.0-or-later
"""Toy bundles and sets whose answers are known by eye: a network that sees brightness, and bright squares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from onnx import helper, numpy_helper

from tests.bundles.tiny_models import saved_model, score_model
from weights.bundle import write_bundle
from weights.signing import station_key

SIDE = 64
CELL = 2


def brightness_map(*, gain: float = 1.0, bias: float = 0.0, order: Sequence[int] = (0,)) -> bytes:
    """maps_nchw of one class: mean brightness of each 2 x 2 cell of one plane, times gain, plus bias, clipped.

    `order`: planes are put in this order first, then the first one is looked at; as many as it takes.
    """
    cells = SIDE // CELL
    nodes = [
        helper.make_node("Gather", ["images", "order"], ["planes"], axis=1),
        helper.make_node("Slice", ["planes", "from", "to", "axis"], ["first"]),
        helper.make_node("AveragePool", ["first"], ["pooled"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Mul", ["pooled", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["moved"]),
        helper.make_node("Clip", ["moved", "low", "high"], ["output0"]),
    ]
    weights = [
        numpy_helper.from_array(np.array(order, np.int64), "order"),
        numpy_helper.from_array(np.array([0], np.int64), "from"),
        numpy_helper.from_array(np.array([1], np.int64), "to"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.array(gain, np.float32), "gain"),
        numpy_helper.from_array(np.array(bias, np.float32), "bias"),
        numpy_helper.from_array(np.array(0, np.float32), "low"),
        numpy_helper.from_array(np.array(1, np.float32), "high"),
    ]
    shape = ["batch", len(order), SIDE, SIDE]
    return saved_model(nodes, weights, picture=shape, out=["batch", 1, cells, cells])


def brightest_score() -> bytes:
    """scores_nc of the classes spot and good: the brightest pixel, and one less that."""
    return score_model("ReduceMax", input_px=SIDE)


def card(**changes: Any) -> dict[str, Any]:
    """A card for `brightness_map`."""
    base: dict[str, Any] = {
        "name": "toy",
        "licence": "AGPL-3.0-or-later",
        "task": "anomaly",
        "input": {"name": "images", "width_px": SIDE, "height_px": SIDE, "channels": 1},
        "output": {"name": "output0", "kind": "maps_nchw"},
        "classes": ["anomaly"],
        "floor_score": 0.05,
        "data": {"author": "Ada Wong", "snapshot": "f" * 64},
    }
    return base | changes


def recipe(limits: dict[str, float], views: int = 1) -> dict[str, Any]:
    """A recipe with these score limits."""
    return {
        "name": "toy",
        "version": 1,
        "id": 1,
        "views": [{"name": f"view {i}"} for i in range(views)],
        "classes": {
            name: {"min_score": value} if value < 1 else {"ignore": True} for name, value in limits.items()
        },
    }


def toy_bundle(
    folder: Path, model: bytes, about: dict[str, Any], limits: dict[str, float], views: int = 1
) -> Path:
    """Sign a bundle at folder/job/bundle with the key in folder/keys; the bundle's path."""
    path = folder / "job" / "bundle"
    write_bundle(path, model=model, card=about, key=station_key(folder / "keys"), recipe=recipe(limits, views))
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """One picture: grey background with one square of a level, marked where `marked`. side 0: nothing on it."""

    name: str
    level: int = 0
    side: int = 8
    at: tuple[int, int] = (20, 24)  # x, y
    image_class: str | None = None
    marked: bool = True
    part: str | None = None
    kind: str = "spot"


def toy_set(folder: Path, toys: Sequence[Toy], *, grey: int = 60, size: tuple[int, int] = (64, 64)) -> Path:
    """Write pictures and folder/set.json; squares that are marked have a polygon."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    kinds = sorted({toy.kind for toy in toys})
    for number, toy in enumerate(toys, 1):
        chance = np.random.default_rng(number)
        picture = np.clip(grey + chance.normal(0, 3, size[::-1]), 0, 255).round().astype(np.uint8)
        x, y = toy.at
        if toy.level and toy.side:
            picture[y : y + toy.side, x : x + toy.side] = toy.level
        cv2.imwrite(str(folder / "images" / f"{toy.name}.png"), picture)
        entry: dict[str, Any] = {
            "id": number,
            "file_name": f"{toy.name}.png",
            "width": size[0],
            "height": size[1],
        }
        if toy.image_class is not None:
            entry["image_class"] = toy.image_class
        if toy.part is not None:
            entry["part"] = toy.part
        images.append(entry)
        if toy.level and toy.side and toy.marked:
            right, below = x + toy.side - 1, y + toy.side - 1
            marks.append(
                {
                    "id": len(marks) + 1,
                    "image_id": number,
                    "category_id": kinds.index(toy.kind) + 1,
                    "bbox": [x, y, toy.side, toy.side],
                    "segmentation": [[x, y, right, y, right, below, x, below]],
                    "area": toy.side**2,
                    "iscrowd": 0,
                }
            )
    document = {
        "images": images,
        "annotations": marks,
        "categories": [{"id": i + 1, "name": kind} for i, kind in enumerate(kinds)],
    }
    path = folder / "set.json"
    path.write_text(json.dumps(document))
    return path
