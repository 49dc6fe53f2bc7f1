# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evaluate a bundle at part level, and by a detection protocol.

`python -m training.evaluate --bundle PATH --data COCO [--protocol deeppcb] --json FILE`
`python -m training.evaluate --bundle PATH --rendered SEED... [--parts N] [--views N] --json FILE`

Score limits come from the bundle's recipe, never from the data at hand.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.coco import read_coco
from inspection.types import StationFault
from training.answers import Answers, answer_coco, answer_rendered
from training.statistics import (
    escapes_by_size,
    f_score,
    mean_average_precision,
    part_figures,
)
from weights.bundle import TRUSTED_HERE, Bundle, load_bundle

PROTOCOL_IOU = 0.33
"""DeepPCB: a hit needs the right class and an IoU above 0.33 (arXiv:1902.06197, section 4)."""


def coco_map(answers: Answers, classes: int) -> tuple[float, float]:
    """Return COCO mAP at IoU 0.5 and over 0.5 to 0.95, computed by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not answers.truth:
        return 0.0, 0.0
    boxes = [(t, [t.box.x0_px, t.box.y0_px, t.box.width_px, t.box.height_px]) for t in answers.truth]
    document = {
        "info": {},
        "images": [{"id": n + 1} for n in range(answers.pictures)],
        "categories": [{"id": n + 1, "name": str(n)} for n in range(classes)],
        "annotations": [
            {
                "id": n + 1,
                "image_id": t.picture + 1,
                "category_id": t.class_index + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for n, (t, box) in enumerate(boxes)
        ],
    }
    results = [
        {
            "image_id": f.picture + 1,
            "category_id": f.class_index + 1,
            "bbox": [f.box.x0_px, f.box.y0_px, f.box.width_px, f.box.height_px],
            "score": f.score,
        }
        for f in answers.found
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = document  # pyright: ignore[reportAttributeAccessIssue] - stubs want a TypedDict
        truth.createIndex()
        if not results:
            return 0.0, 0.0
        judge = COCOeval(
            truth,
            truth.loadRes(results),  # pyright: ignore[reportArgumentType] - takes lists too
            "bbox",
        )
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[1]), float(judge.stats[0])


def limits_of(bundle: Bundle) -> dict[str, float]:
    """Return the score limit of each class from the bundle's recipe. StationFault when it has none."""
    if bundle.recipe is None:
        raise StationFault(f"{bundle.path} holds no recipe.json; build the bundle with training.candidate")
    recipe: dict[str, Any] = json.loads(bundle.recipe)
    default = float(recipe.get("default_limit", {}).get("min_score", 0.5))
    table: Mapping[str, Any] = recipe.get("classes", {})
    return {name: float(table.get(name, {}).get("min_score", default)) for name in bundle.card.classes}


def figures(
    answers: Answers,
    classes: list[str],
    limits: Mapping[str, float],
    *,
    protocol: str | None,
    f_limit: float | None,
) -> dict[str, Any]:
    """Return all figures of a set of answers, ready for JSON."""
    map50, map50_95 = coco_map(answers, len(classes))
    result: dict[str, Any] = {
        "pictures": answers.pictures,
        "map50": round(map50, 5),
        "map50_95": round(map50_95, 5),
        "map_protocol": None,
        "f_protocol": None,
        "part": part_figures(answers.parts, limits),
        "escapes_by_size": escapes_by_size(answers.parts, limits),
        "limits": dict(limits),
    }
    if protocol is not None:
        mean, each = mean_average_precision(answers.found, answers.truth, len(classes), PROTOCOL_IOU)
        result["map_protocol"] = round(mean, 5)
        result["ap_protocol"] = {
            name: None if math.isnan(ap) else round(ap, 5) for name, ap in zip(classes, each, strict=True)
        }
        result["f_score_limit"] = f_limit
        if f_limit is not None:
            result["f_protocol"] = round(f_score(answers.found, answers.truth, PROTOCOL_IOU, f_limit), 5)
    return result


def evaluate(bundle: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """Answer the chosen set with a bundle and return its figures."""
    limits = limits_of(bundle)
    classes = list(bundle.card.classes)
    started = time.monotonic()
    if given.data is not None:
        pictures = read_coco(given.data)
        answers = answer_coco(bundle, pictures, threads=given.threads)
        classes, source = list(pictures.classes), given.data.name
    else:
        limit = float(bundle.card.detectability.get("limit", 0.0))
        answers = answer_rendered(
            bundle, given.rendered, parts=given.parts, views=given.views, limit=limit, threads=given.threads
        )
        source = f"rendered, seeds {given.rendered}, {given.parts} parts each, {given.views} views"
    f_limit = bundle.card.metrics.get("f_score_limit")
    result = figures(answers, classes, limits, protocol=given.protocol, f_limit=f_limit)
    result |= {"bundle": bundle.sha256, "source": source, "wall_s": round(time.monotonic() - started, 1)}
    return result


def main(argv: list[str] | None = None) -> int:
    """Evaluate one bundle; 0, or 3 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="COCO file; its templates count as good parts")
    what.add_argument("--rendered", type=int, nargs="+", metavar="SEED", help="seeds of rendered parts")
    parser.add_argument("--parts", type=int, default=2000, help="parts of each seed")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--protocol", choices=["deeppcb"])
    parser.add_argument("--trusted", type=Path, action="append", help="folder of NAME.pub, may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(argv)
    try:
        bundle = load_bundle(given.bundle, given.trusted or [TRUSTED_HERE])
        result = evaluate(bundle, given)
    except StationFault as fault:
        sys.stderr.write(f"gatesight evaluate: {fault}\n")
        return 3
    text = json.dumps(result, indent=1)
    if given.json is not None:
        given.json.write_text(text + "\n")
    part = result["part"]
    sys.stdout.write(
        f"{result['source']}: escapes {part['escapes']}/{part['defective']} "
        f"(at most {part['escape_upper_95']:.2%}), "
        f"overkill {part['overkill']}/{part['good']} (at most {part['overkill_upper_95']:.2%}), "
        f"mAP50 {result['map50']:.3f}, mAP50-95 {result['map50_95']:.3f}"
        + (f", protocol mAP {result['map_protocol']:.3f}\n" if result["map_protocol"] is not None else "\n")
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
