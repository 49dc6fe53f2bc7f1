# SPDX-License-Identifier: AGPL-3.0-or-later
"""What good-only teaching reaches on real parts, how long it takes, what it costs beside the backbone alone.

    GATESIGHT_DATA=DIR python -m benchmarks.teach [--set screw|tile|pitting ...] [--backbone ONNX]
        [--seeds 0 1 2] [--part test|val] [--json FILE]

The screw is taught on 100 of its 288 training pictures, drawn by the seed; good parts are the 25 of the test,
the 32 of val and the training pictures that were not taught; the seed draws again for each run. The tile and
the spindle are taught on all their good training pictures. AUROC is of pictures, AUPRO of pixels to 0.3 false
positives; beside each stands the best trivial statistic, which needs no model at all. Everything is asked of
the station's own engine. `--part val` is for choosing settings: the test is looked at when they stand.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.coco import read_coco
from datasets.labels import Picture
from inspection.detectors.base import EngineFault
from inspection.detectors.openvino import compile_for_cpu
from training.anomaly.teaching import Wishes, teach
from training.areas import PixelTally, auroc
from training.engine import Asked, unsigned_bundle
from training.pictures import read_picture
from training.pixel_level import maps_in_source
from training.trivial import best_trivial, statistics_of
from weights.bundle import load_bundle

FOLDERS = {"screw": "mvtec_screw_256", "tile": "magnetic_tile", "pitting": "bsdata_pitting"}
TAUGHT = 100  # screws
ROUNDS = 30


def _sets(name: str, part: str, seed: int) -> tuple[list[Picture], list[Picture]]:
    """(pictures to teach, pictures to judge)."""
    folder = Path(os.environ["GATESIGHT_DATA"]) / FOLDERS[name]
    train = [p for p in read_coco(folder / "train.json").pictures if p.good]
    judged = list(read_coco(folder / f"{part}.json").pictures)
    if name == "screw":
        order = np.random.default_rng(seed).permutation(len(train))
        rest = [train[i] for i in order[TAUGHT:]]
        train = [train[i] for i in order[:TAUGHT]]
        judged += rest if part == "val" else [*rest, *read_coco(folder / "val.json").pictures]
    return train, judged


def _as_coco(pictures: Sequence[Picture], target: Path) -> Path:
    """A COCO file of good pictures, with their lots and sequences; pictures are linked, not copied."""
    images = []
    for number, picture in enumerate(pictures):
        link = target.parent / "images" / Path(picture.name).name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(picture.path)
        entry = {"id": number, "file_name": link.name, "width": picture.width_px, "height": picture.height_px}
        extra = {"image_class": "good", "lot": picture.lot, "sequence": picture.sequence}
        images.append(entry | {key: value for key, value in extra.items() if value is not None})
    target.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return target


def _judged(bundle: Path, keys: Path, pictures: Sequence[Picture]) -> dict[str, Any]:
    asked = Asked(load_bundle(bundle, [keys]))
    scores: list[tuple[bool, float]] = []
    trivial: list[tuple[bool, dict[str, float]]] = []
    tally = PixelTally()
    outlined = any(label.polygons or label.mask for picture in pictures for label in picture.labels)
    faults = 0
    try:
        for picture in pictures:
            pixels = read_picture(picture.path, 3)
            trivial.append((picture.good, statistics_of(pixels)))
            try:
                look = asked.look(pixels)
            except EngineFault as e:  # a part that cannot be prepared is diverted: the highest score
                sys.stderr.write(f"{picture.name}: {e}\n")
                scores.append((picture.good, 1.0))
                faults += 1
                continue
            scores.append((picture.good, look.best([0])))
            if outlined and (picture.good or picture.labels):
                size = pixels.shape[:2]
                mask = np.zeros(size, bool)
                for label in picture.labels:
                    mask |= label.pixels(*size)
                tally.add(maps_in_source(look.table, look.place, size)[0], mask)
    finally:
        asked.close()
    good = [score for ok, score in scores if ok]
    bad = [score for ok, score in scores if not ok]
    area = auroc(good, bad)
    plain = best_trivial([s for ok, s in trivial if ok], [s for ok, s in trivial if not ok])
    return {
        "good": len(good),
        "defective": len(bad),
        "auroc": None if area is None else round(area.value, 4),
        "auroc_two_sided_95": None if area is None else [round(area.low, 4), round(area.high, 4)],
        "aupro": round(value, 4) if outlined and (value := tally.aupro()) is not None else None,
        "trivial": plain,
        "overkill": sum(score >= 0.5 for score in good),
        "escapes": sum(score < 0.5 for score in bad),
        "not_inspected": faults,
    }


def _median_ms(bundle_model: bytes, card: Any, size: tuple[int, int]) -> float:
    """Median of the station's compiled model on one thread."""
    bundle = unsigned_bundle(bundle_model, card, Path("bench"))
    request = compile_for_cpu(bundle, threads=1, planar=False, requests=1).create_infer_request()
    picture = np.random.default_rng(0).integers(0, 255, (1, size[1], size[0], 3), np.uint8)
    times = []
    for _ in range(ROUNDS + 3):
        started = time.perf_counter()
        request.infer({0: picture})
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times[3:]))


def run(name: str, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Teach and judge one set with one seed."""
    train, judged = _sets(name, given.part, seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = _as_coco(train, folder / "good.json")
        wishes = Wishes(good=source, out=folder / "t", backbone=given.backbone, seed=seed, key_dir=folder / "k")
        wishes = replace(wishes, threads=given.threads, method=given.method)
        before = time.process_time()
        result = teach(wishes)
        cpu_s = time.process_time() - before
        figures = _judged(folder / "t" / "bundle", folder / "k", judged)
    return {
        "set": name,
        "part": given.part,
        "seed": seed,
        "taught_from": len(train),
        "taught_s": result["taught_s"],
        "cpu_s": round(cpu_s, 1),
        **figures,
        "expected_overkill": result["expected_overkill"],
        "overkill_upper_95": result["overkill_upper_95"],
        "method": result["method"],
    }


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=sorted(FOLDERS), default=sorted(FOLDERS))
    parser.add_argument("--backbone", type=Path, help="ONNX; default: the one that ships")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--part", choices=["test", "val"], default="test")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    if "GATESIGHT_DATA" not in os.environ:
        sys.stderr.write("benchmarks.teach: set GATESIGHT_DATA to the folder of the data sets\n")
        return 3
    rows = []
    for name in given.set:
        for seed in given.seeds:
            row = run(name, given, seed)
            rows.append(row)
            print(json.dumps(row), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
