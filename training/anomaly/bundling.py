# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what was taught to a signed bundle: card with pedigree, suggested recipe, parity proof."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from inspection.prepare import Step
from training.anomaly.backbone import Backbone
from training.anomaly.features import INPUT_NAME, Frame, Shown
from training.anomaly.graph import OUTPUT_NAME, detector_model
from training.anomaly.parity import prove_parity
from training.anomaly.taught import Taught
from training.anomaly.threshold import Limit
from training.code import code_commit
from weights.bundle import write_bundle
from weights.card import parse_card
from weights.keys import default_key_dir
from weights.signing import station_key

CLASS = "anomaly"
FLOOR_SCORE = 0.02
PARITY_PICTURES = 12
STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """All that a bundle is made from."""

    backbone: Backbone
    steps: tuple[Step, ...]
    frame: Frame
    taught: Taught
    limit: Limit
    name: str
    method: Mapping[str, Any]
    data: Mapping[str, Any]


def make_bundle(
    ready: Ready, proof: Sequence[Shown], turned: Sequence[Any], bundle: Path, key_dir: Path | None
) -> tuple[str, dict[str, Any]]:
    """Export, prove parity on `proof` (`turned`: its features), sign. Returns hash and parity figures."""
    model = detector_model(ready.backbone, ready.taught, ready.frame)
    card = _card(ready, parity=None)
    checked = parse_card(json.dumps(card).encode(), "the taught card")
    distances = [ready.taught.distance_map(t) for t in turned[:PARITY_PICTURES]]
    parity = prove_parity(
        model,
        checked,
        shown=proof[:PARITY_PICTURES],
        distances=distances,
        limit=ready.taught.limit,
        source=bundle / "model.onnx",
    )
    return sign(model, _card(ready, parity=parity), bundle, key_dir), parity


def sign(model: bytes, card: Mapping[str, Any], bundle: Path, key_dir: Path | None) -> str:
    """Write the bundle with the recipe that suits a map whose limit is at 0.5; returns its hash."""
    return write_bundle(
        bundle,
        model=model,
        card=parse_card(json.dumps(card).encode(), "the taught card"),
        key=station_key(key_dir or default_key_dir()),
        recipe={
            "name": card["name"],
            "version": 1,
            "id": 1,
            "views": [{"name": "view"}],
            "classes": {CLASS: {"min_score": 0.5}},
            "default_limit": {"min_score": 0.5},
        },
    )


def _card(ready: Ready, parity: Mapping[str, Any] | None) -> dict[str, Any]:
    return taught_card(
        name=ready.name,
        licence="AGPL-3.0-or-later; the backbone inside keeps its own licence",
        summary="Good-only detection: how far a part's local features lie from those of good parts.",
        steps=ready.steps,
        frame=ready.frame,
        scale=ready.backbone.scale,
        data=ready.data,
        limit=ready.limit,
        training={
            "method": dict(ready.method),
            "backbone": ready.backbone.facts(),
            "bank_entries": len(ready.taught.bank),
            "pose": ready.taught.pose is not None,
            "parity": dict(parity or {}),
        },
    )


def taught_card(
    *,
    name: str,
    licence: str,
    summary: str,
    steps: tuple[Step, ...],
    frame: Frame,
    scale: float,
    data: Mapping[str, Any],
    limit: Limit,
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """What every card of a good-only bundle says, whichever model is inside; `training` is that model's own."""
    return {
        "name": name,
        "licence": licence,
        "summary": summary,
        "intended_use": "Finds what good parts never showed. Its misses are unknown until defects are shown.",
        "task": "anomaly",
        "prepare": STEPS.dump_python(steps, mode="json"),
        "input": {
            "name": INPUT_NAME,
            "width_px": frame.width_px,
            "height_px": frame.height_px,
            "channels": 3,
            "scale": scale,
        },
        "output": {"name": OUTPUT_NAME, "kind": "maps_nchw"},
        "classes": [CLASS],
        "floor_score": FLOOR_SCORE,
        "data": dict(data),
        "training": {**training, "limit_distance": limit.value, "code_commit": code_commit()},
        "metrics": {"teaching": limit.figures()},
    }


def told(
    folder: Path, *, sha256: str, worst: Sequence[str], limit: Limit, parity: Mapping[str, Any]
) -> dict[str, Any]:
    """What a person wants to know of a teaching in `folder`, whichever model is inside."""
    return {
        "ok": True,
        "bundle": str(folder / "bundle"),
        "sha256": sha256,
        "sheet": str(folder / "worst-good.html"),
        "worst": list(worst),
        **limit.figures(),
        "parity": dict(parity),
        "sentence": limit.sentence(),
    }
