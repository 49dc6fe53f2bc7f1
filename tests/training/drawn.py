# SPDX-License-Identifier: AGPL-3.0-or-later
"""A few drawn pictures with two kinds of defect, and the smallest jobs that can be taught on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datasets.labels import Rle

ROOT = Path(__file__).parents[2]
WIDTH_PX, HEIGHT_PX = 72, 56
RECIPE = """
network = "{network}"
task = "{task}"
input_px = 64
channels = 1
policy = "surface@1"
weights = "{weights}"
[ultralytics]
epochs = {epochs}
batch = 8
optimizer = "AdamW"
lr0 = 0.003
warmup_epochs = 1.0
"""


def draw(folder: Path, pictures: int, seed: int) -> Path:
    """Write pictures and their COCO file: a third good, a third with a bright spot, a third with a dark bar."""
    (folder / "images").mkdir(parents=True)
    noise = np.random.default_rng(seed)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(pictures):
        pixels = noise.normal(110, 6, (HEIGHT_PX, WIDTH_PX)).clip(0, 255)
        name, kind = f"{seed}-{number}.png", number % 3
        image = {"id": number + 1, "file_name": name, "width": WIDTH_PX, "height": HEIGHT_PX}
        if kind:
            mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
            x, y = int(noise.integers(10, 48)), int(noise.integers(10, 38))
            if kind == 1:
                cv2.circle(mask, (x, y), 7, 1, -1)
            else:
                mask[y : y + 6, x : x + 18] = 1
            pixels = (pixels + (90.0 if kind == 1 else -80.0) * mask).clip(0, 255)
            left, top, width, height = cv2.boundingRect(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": kind,
                    "bbox": [left, top, width, height],
                    "segmentation": {"size": list(mask.shape), "counts": list(Rle.from_mask(mask > 0).counts)},
                }
            )
        else:
            image["image_class"] = "good"
        images.append(image)
        cv2.imwrite(str(folder / "images" / name), pixels.astype(np.uint8))
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "spot"}, {"id": 2, "name": "bar"}],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(document))
    return path


def write_recipe(
    path: Path,
    *,
    network: str = "defect_p2",
    task: str = "detect",
    epochs: int = 2,
    weights: str = "best",
    more: str = "",
) -> Path:
    """Write a recipe that takes seconds."""
    text = RECIPE.format(network=network, task=task, epochs=epochs, weights=weights)
    path.write_text(text + more)
    return path


def command(folder: Path, out: Path, *more: str) -> list[str]:
    """`gatesight train` on what lies below `folder`, as a process of its own."""
    module = [sys.executable, "-m", "training.train", "--recipe", str(folder / "recipe.toml")]
    data = ["--train", str(folder / "train" / "coco.json"), "--val", str(folder / "val" / "coco.json")]
    return [*module, *data, "--out", str(out), "--threads", "1", "--nice", "0", *more]


def surroundings(folder: Path) -> dict[str, str]:
    """Environment of a job: its own keys, one thread, no colours."""
    return {**os.environ, "GATESIGHT_KEYS": str(folder / "keys"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def train(folder: Path, out: Path, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run one job to its end and hold its exit code against what is wanted."""
    done = subprocess.run(
        command(folder, out, *more),
        cwd=ROOT,
        env=surroundings(folder),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    log = (out / "log.txt").read_text()[-3000:] if (out / "log.txt").exists() else ""
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}\n{log}"
    return done


def material(folder: Path) -> Path:
    """Pictures and a recipe, ready for `train`."""
    draw(folder / "train", 24, 1)
    draw(folder / "val", 12, 2)
    write_recipe(folder / "recipe.toml")
    return folder
