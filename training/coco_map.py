# SPDX-License-Identifier: AGPL-3.0-or-later
"""COCO mean average precision of boxes and masks, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.map_interval import ClassMatches
from training.statistics import Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Averages:
    """MAP at IoU 0.5 and over 0.5 to 0.95; matches: at 0.5, one entry a class, for an interval."""

    map50: float
    map50_95: float
    matches: tuple[ClassMatches, ...]


def coco_map(found: Sequence[Scored], truth: Sequence[Scored], pictures: int, classes: int) -> Averages:
    """Judge boxes."""
    marks = [{**_head(t), "bbox": _xywh(t), "area": t.box.width_px * t.box.height_px} for t in truth]
    results = [{**_head(f), "bbox": _xywh(f), "score": f.score} for f in found]
    return _judged(marks, results, pictures, classes, "bbox")


def coco_mask_map(
    found: Sequence[tuple[Scored, dict[str, Any]]],
    truth: Sequence[tuple[Scored, dict[str, Any]]],
    pictures: int,
    classes: int,
) -> Averages:
    """The same of masks, each as pycocotools' run lengths (`encoded`)."""
    marks = [{**_head(t), "bbox": _xywh(t), "area": float(_area(rle)), "segmentation": rle} for t, rle in truth]
    results = [{**_head(f), "segmentation": rle, "score": f.score} for f, rle in found]
    return _judged(marks, results, pictures, classes, "segm")


def encoded(mask: np.ndarray) -> dict[str, Any]:
    """A bool mask (h, w) as pycocotools' run lengths."""
    from pycocotools import mask as rle

    return dict(rle.encode(np.asfortranarray(mask, dtype=np.uint8)))


def _area(rle: dict[str, Any]) -> float:
    from pycocotools import mask

    return float(mask.area(rle))  # pyright: ignore[reportArgumentType] - stubs want a TypedDict


def _head(item: Scored) -> dict[str, Any]:
    return {"image_id": item.picture + 1, "category_id": item.class_index + 1, "iscrowd": 0}


def _xywh(item: Scored) -> list[float]:
    return [item.box.x0_px, item.box.y0_px, item.box.width_px, item.box.height_px]


def _judged(
    marks: list[dict[str, Any]], results: list[dict[str, Any]], pictures: int, classes: int, how: str
) -> Averages:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not marks or not results:
        return Averages(map50=0.0, map50_95=0.0, matches=())
    document = {
        "info": {},
        # run lengths carry their own size; pycocotools only asks that the keys be there
        "images": [{"id": n + 1, "height": 0, "width": 0} for n in range(pictures)],
        "categories": [{"id": n + 1, "name": str(n)} for n in range(classes)],
        "annotations": [{"id": n + 1, **mark} for n, mark in enumerate(marks)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = document  # pyright: ignore[reportAttributeAccessIssue] - stubs want a TypedDict
        truth.createIndex()
        judge = COCOeval(
            truth,
            truth.loadRes(results),  # pyright: ignore[reportArgumentType] - takes lists too
            how,  # pyright: ignore[reportArgumentType]
        )
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return Averages(
        map50=float(judge.stats[1]), map50_95=float(judge.stats[0]), matches=_matches(judge, pictures, classes)
    )


def _matches(judge: Any, pictures: int, classes: int) -> tuple[ClassMatches, ...]:
    """What pycocotools matched at IoU 0.5, over all sizes."""
    first, everything = 0, judge.params.areaRng[0]
    rows: list[list[tuple[np.ndarray, np.ndarray, int]]] = [[] for _ in range(classes)]
    marks = np.zeros((classes, pictures), np.int64)
    for image in judge.evalImgs:
        if image is None or image["aRng"] != everything:
            continue
        picture, kind = image["image_id"] - 1, image["category_id"] - 1
        marks[kind, picture] = len(image["gtIds"])
        rows[kind].append((np.asarray(image["dtScores"], np.float64), image["dtMatches"][first] > 0, picture))
    return tuple(
        ClassMatches(
            scores=np.concatenate([np.zeros(0), *(scores for scores, _, _ in found)]),
            hits=np.concatenate([np.zeros(0, bool), *(hits for _, hits, _ in found)]),
            pictures=np.concatenate(
                [np.zeros(0, np.int64), *(np.full(len(scores), picture) for scores, _, picture in found)]
            ),
            marks=marks[kind],
        )
        for kind, found in enumerate(rows)
    )
