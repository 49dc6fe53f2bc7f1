# SPDX-License-Identifier: AGPL-3.0-or-later
"""Do the suspects find flipped labels? `GATESIGHT_DATA=... python -m benchmarks.suspects [--backbone ONNX]`.

Protocol, fixed: of the train part 5 % of the labels are drawn at random (5 seeds) and each is given another
class, drawn evenly. The list is made as `gatesight data check` makes it. Shown: the share of the flipped labels
within the first 10 % of the list, for each seed. The bar is half, for each seed. Labels that were wrong before
count as not flipped, so the share is a lower bound of what the list finds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.coco import read_coco
from datasets.features import describe_all, describe_boxes, describer
from datasets.suspects import ranked, whole_label

SEEDS = range(5)
FLIPPED = 0.05
FIRST = 0.10
_BOX_PICTURES = 300  # enough boxes to measure on, few enough for two cores


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line a task and write the figures; non-zero when one lies below the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--backbone", help="ONNX file, or `plain`; default: GATESIGHT_BACKBONE, else the shipped one"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tasks", nargs="*", choices=sorted(TASKS), default=sorted(TASKS))
    args = parser.parse_args(argv)
    if "GATESIGHT_DATA" not in os.environ:
        parser.error("set GATESIGHT_DATA to the folder of the data sets")
    figures = {}
    for task in args.tasks:
        figures[task] = measure(task, Path(os.environ["GATESIGHT_DATA"]), args.backbone)
        print(task, figures[task], flush=True)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if all(min(f["found"]) >= 0.5 for f in figures.values()) else 1


TASKS = {
    "tile_good_or_defective": ("magnetic_tile", "whole"),
    "tile_classes": ("magnetic_tile", "class"),
    "neu_pictures": ("neu_det", "class"),
    "neu_boxes": ("neu_det", "boxes"),
    "deeppcb_boxes": ("deeppcb", "boxes"),
}


def measure(task: str, root: Path, backbone: str | None) -> dict[str, object]:
    """Share of the flipped labels in the first tenth, a seed."""
    folder, kind = TASKS[task]
    pictures = read_coco(root / folder / "train.json").pictures
    describe, name = describer(backbone)
    if kind == "boxes":
        shown = [p for p in pictures if p.labels]
        shown = shown[:: max(1, len(shown) // _BOX_PICTURES)]
        features = np.concatenate([describe_boxes(p, p.labels, describe) for p in shown])
        given = [label.class_name for p in shown for label in p.labels]
        groups = [p.part_name for p in shown for _ in p.labels]
    else:
        features = describe_all(pictures, describe)
        given = [whole_label(p, by_class=kind == "class") for p in pictures]
        groups = [p.part_name for p in pictures]
    classes = sorted(set(given))
    truth = np.array([classes.index(value) for value in given])
    found = [share_found(features, truth, len(classes), groups, seed) for seed in SEEDS]
    return {
        "labels": len(truth),
        "flipped": round(FLIPPED * len(truth)),
        "features": name,
        "found": [round(f, 3) for f in found],
        "median": round(float(np.median(found)), 3),
    }


def share_found(
    features: np.ndarray, truth: np.ndarray, classes: int, groups: Sequence[str], seed: int
) -> float:
    """Flip, rank, and count how many of the flipped stand in the first tenth."""
    rng = np.random.default_rng(seed)
    flipped = rng.permutation(len(truth))[: round(FLIPPED * len(truth))]
    labels = truth.copy()
    labels[flipped] = (labels[flipped] + rng.integers(1, classes, len(flipped))) % classes
    order, _ = ranked(features, labels, classes, groups)
    return float(np.isin(flipped, order[: round(FIRST * len(truth))]).mean())


if __name__ == "__main__":
    sys.exit(main())
