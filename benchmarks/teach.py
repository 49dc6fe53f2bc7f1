# SPDX-License-Identifier: AGPL-3.0-or-later
"""What good-only teaching reaches on real parts, how long it takes, what it costs beside the backbone alone.

    GATESIGHT_DATA=DIR python -m benchmarks.teach [--set screw|tile|pitting ...] [--backbone ONNX]
        [--seeds 0 1 2] [--part test|val] [--speed] [--json FILE]

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
import openvino as ov

from datasets.coco import read_coco
from datasets.labels import Picture
from inspection.detectors.base import EngineFault
from training.anomaly.backbone import OWN_BACKBONE, load_backbone
from training.anomaly.features import start_graph
from training.anomaly.teaching import Wishes, teach
from training.areas import PixelTally, auroc
from training.engine import Asked
from training.pictures import read_picture
from training.pixel_level import maps_in_source
from training.trivial import best_trivial, statistics_of
from weights.bundle import load_bundle

FOLDERS = {"screw": "mvtec_screw_256", "tile": "magnetic_tile", "pitting": "bsdata_pitting"}
TAUGHT = 100  # screws
ROUNDS = 60


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


def _compiled(model: bytes, shape: Sequence[int]) -> Any:
    """An inference request on one thread, as the station computes (float32), its input filled."""
    core = ov.Core()
    network = core.read_model(model)
    network.reshape(list(shape))
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(np.random.default_rng(0).random(shape, np.float32)))
    return request


def speed(given: argparse.Namespace) -> dict[str, Any]:
    """The taught graph at 416 x 416 beside the backbone alone, whole and cut, turn by turn in one run."""
    path = given.backbone or OWN_BACKBONE
    train, _ = _sets("screw", "val", 0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = _as_coco(train[:TAUGHT], folder / "good.json")
        wishes = Wishes(good=source, out=folder / "t", backbone=path, key_dir=folder / "k", align=False)
        teach(replace(wishes, threads=given.threads, method=given.method, least_separation=0.0))
        bundle = load_bundle(folder / "t" / "bundle", [folder / "k"])
    size = (1, 3, bundle.card.input.height_px, bundle.card.input.width_px)
    cut = load_backbone(path, scale=1.0)
    writing = start_graph(cut)
    maps = [
        (name, (1, channels, size[2] // stride, size[3] // stride))
        for name, stride, channels in zip(cut.tensors, cut.strides, cut.channels, strict=True)
    ]
    body = writing.model([("images", size)], maps).SerializeToString()
    timed = {
        "taught": _compiled(bundle.model, size),
        "backbone, whole": _compiled(path.read_bytes(), size),
        "backbone, cut": _compiled(body, size),
    }
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(ROUNDS):
        for name, request in timed.items():
            started = time.perf_counter()
            request.infer()
            times[name].append(1000 * (time.perf_counter() - started))
    result: dict[str, Any] = {"input": list(size), "rounds": ROUNDS, "pose": bundle.card.training["pose"]}
    for name, values in times.items():
        low = np.quantile(values, 0.1)
        result[name] = {"p10_ms": round(float(low), 2), "median_ms": round(float(np.median(values)), 2)}
    for name in ("backbone, whole", "backbone, cut"):
        result[f"ratio to {name}"] = {
            key: round(result["taught"][key] / result[name][key], 3) for key in ("p10_ms", "median_ms")
        }
    return result


def run(name: str, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Teach and judge one set with one seed."""
    train, judged = _sets(name, given.part, seed)
    if given.most is not None and len(train) > given.most:
        drawn = np.random.default_rng(seed).permutation(len(train))[: given.most]
        train = [train[i] for i in np.sort(drawn)]
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
    parser.add_argument("--most", type=int, help="teach on so many of them, drawn by the seed")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--speed", action="store_true", help="only the ratio to the backbone alone")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    if "GATESIGHT_DATA" not in os.environ:
        sys.stderr.write("benchmarks.teach: set GATESIGHT_DATA to the folder of the data sets\n")
        return 3
    rows = []
    if given.speed:
        rows.append(speed(given))
        print(json.dumps(rows[0]), flush=True)
    for name in () if given.speed else given.set:
        for seed in given.seeds:
            row = run(name, given, seed)
            rows.append(row)
            print(json.dumps(row), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
