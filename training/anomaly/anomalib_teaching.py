# SPDX-License-Identifier: AGPL-3.0-or-later
"""Teach one of anomalib's models as our own: same pictures, folds, planted defects, limit and proof."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.ranks import auroc
from inspection.types import StationFault
from training.anomaly.anomalib_model import STRIDE_PX, Asked, Fitted, anomalib_version
from training.anomaly.bundling import PARITY_PICTURES, sign, taught_card, told
from training.anomaly.exchange import alone_in, changed_whole
from training.anomaly.features import Shown, show
from training.anomaly.parity import prove_parity
from training.anomaly.planted import plant
from training.anomaly.preparing import choose_preparation
from training.anomaly.sheet import write_sheet
from training.anomaly.teaching import Wishes, described, pictures_and_folds
from training.anomaly.threshold import choose_limit
from training.job import file_sha256
from weights.card import parse_card

PLANTED = 80
SCALE = 1 / 255


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Held-out distances of good parts (lines, columns) above `low`, and what planted defects reach."""

    maps: list[np.ndarray]
    scores: list[float]
    low: float
    separation: float


def teach_anomalib(wishes: Wishes, model: str, options: dict[str, Any]) -> dict[str, Any]:
    """Fit, prove, sign; what a person wants to know. StationFault, and nothing left, when it cannot be done."""
    with alone_in(wishes.out, make=True):
        return _teach(wishes, model, options)


def _teach(wishes: Wishes, model: str, options: dict[str, Any]) -> dict[str, Any]:
    version = anomalib_version(wishes.threads)
    pictures, folds = pictures_and_folds(wishes)
    preparation = choose_preparation(pictures, gain=wishes.gain, align=wishes.align)
    frame = preparation.frame(STRIDE_PX)
    shown = [show(picture, preparation.steps, frame) for picture in pictures]
    asked = Asked(
        model=model,
        options=options,
        weights=wishes.backbone,
        width_px=frame.width_px,
        height_px=frame.height_px,
        seed=wishes.seed,
        threads=wishes.threads,
    )
    held = _cross_validated(asked, shown, folds.numbers)
    if held.separation < wishes.least_separation:
        raise StationFault(
            f"not teachable: with anomalib's {model}, faint defects planted on good parts stand out from"
            f" good parts with AUROC {held.separation:.2f} only ({wishes.least_separation:.2f} is the least);"
            " bring weights for its backbone with --backbone, or choose another model."
        )
    limit = choose_limit(held.scores, wishes.overkill, parts=folds.parts.names)
    fitted = Fitted(asked, [item.pixels for item in shown])
    with tempfile.TemporaryDirectory(prefix="gatesight-anomalib-") as folder:
        graph = fitted.export(Path(folder) / "model.onnx", low=held.low, limit=limit.value)
    method = {
        "name": f"anomalib {version}, {model}",
        "options": options,
        "backbone_weights_sha256": file_sha256(wishes.backbone) if wishes.backbone else None,
        "preparation": preparation.why,
        **folds.figures(),
        "planted_defects_auroc": round(held.separation, 4),
        "teachable_from": wishes.least_separation,
        "distance_from": held.low,
        "seed": wishes.seed,
    }
    card = taught_card(
        name=wishes.name,
        licence="AGPL-3.0-or-later; anomalib is Apache-2.0; the backbone inside keeps its own licence",
        summary="Good-only detection with one of anomalib's models, judged by our own limit.",
        steps=preparation.steps,
        frame=frame,
        scale=SCALE,
        data={"good": described(wishes.good, pictures), "parent": None},
        limit=limit,
        training={"method": method},
    )
    parity = prove_parity(
        graph,
        parse_card(json.dumps(card).encode(), "the taught card"),
        shown=shown[:PARITY_PICTURES],
        distances=[_above(fitted.map_of(item.pixels), held.low) for item in shown[:PARITY_PICTURES]],
        limit=limit.value,
        source=wishes.out / "bundle" / "model.onnx",
    )
    card["training"]["parity"] = parity
    with changed_whole(wishes.out) as staged:
        worst = write_sheet(
            staged,
            names=[picture.name for picture in pictures],
            scores=held.scores,
            pictures=[item.pixels for item in shown],
            maps=held.maps,
            limit=limit.value,
        )
        sha256 = sign(graph, card, staged / "bundle", wishes.key_dir)
    result = told(wishes.out, sha256=sha256, worst=worst, limit=limit, parity=parity)
    return {**result, "method": method, "sentence": f"{result['sentence']}; {folds.sentence()}"}


def _cross_validated(asked: Asked, shown: Sequence[Shown], folds: Sequence[int]) -> _Held:
    """Every map by a model that never saw its part; one model a fold."""
    maps: list[np.ndarray | None] = [None] * len(shown)
    planted: dict[int, np.ndarray] = {}
    rng = np.random.default_rng([asked.seed, 1])
    chosen = set(rng.permutation(len(shown))[:PLANTED].tolist())
    for fold in sorted(set(folds)):
        rest = [i for i, f in enumerate(folds) if f != fold]
        fitted = Fitted(asked, [shown[i].pixels for i in rest])
        for index in (i for i, f in enumerate(folds) if f == fold):
            maps[index] = fitted.map_of(shown[index].pixels)
            if index in chosen:
                other = shown[rest[int(rng.integers(len(rest)))]].pixels
                planted[index] = fitted.map_of(plant(shown[index].pixels, other, rng))
    complete = [item for item in maps if item is not None]
    low = float(min(item.min() for item in complete))
    above = [_above(item, low) for item in complete]
    scores = [float(m[item.inside].max()) for m, item in zip(above, shown, strict=True)]
    bad = [float(_above(m, low)[shown[i].inside].max()) for i, m in planted.items()]
    return _Held(maps=above, scores=scores, low=low, separation=auroc([scores[i] for i in planted], bad))


def _above(raw: np.ndarray, low: float) -> np.ndarray:
    return np.maximum(raw - np.float32(low), 0)
