# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a finished training job to a signed candidate bundle, with thresholds and figures in its card.

`python -m training.candidate --job DIR --about FILE.toml --out BUNDLE --key-dir DIR [--test COCO]`

Score limits are chosen on validation data only (for rendered parts: seeds of their own). Then, once, the test
data is shown. The limit of detectability is the renderer's constant: it stood before anything was evaluated.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.coco import read_coco
from inspection.twin.renderer import DETECTABILITY_LIMIT, SIZE_RANGE_PX
from inspection.types import StationFault
from training.answers import Answers, answer_coco, answer_rendered
from training.engine import unsigned_bundle
from training.export import export_onnx
from training.figures import figures
from training.job import load_training_recipe
from training.pictures import network_pictures
from training.protocols import protocol_named
from training.rendered import CHOICE_SEEDS, TEST_SEEDS
from training.statistics import best_f_limit, choose_limits
from weights.bundle import write_bundle
from weights.card import Card, parse_card
from weights.signing import station_key

CHOICE_FIRST = CHOICE_SEEDS.start + 500_000  # seeds that the fit's own validation never draws
PARITY_PICTURES = 24
FLOOR_SCORE = 0.05


def _rendered_answers(
    model: bytes, card: Card, source: Path, seeds: range, *, parts: int, share: float, threads: int
) -> Answers:
    return answer_rendered(
        unsigned_bundle(model, card, source),
        seeds,
        parts=parts,
        views=2,
        limit=DETECTABILITY_LIMIT,
        defective_share=share,
        threads=threads,
    )


def _without_path(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A card goes to other machines: it names a set by file name and hash, not by where it lay here."""
    return {key: value for key, value in entry.items() if key != "path"}


def suggested_recipe(
    name: str, limits: Mapping[str, float], views: list[str], health: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the recipe (inspection/recipe.py) that a bundle suggests: one score limit for each class."""
    return {
        "name": name,
        "version": 1,
        "id": 1,
        "views": [{"name": view} for view in views],
        "classes": {key: {"min_score": round(value, 4)} for key, value in limits.items()},
        "default_limit": {"min_score": round(min(limits.values()), 4)},
        "health": dict(health),
    }


def build(given: argparse.Namespace) -> dict[str, Any]:
    """Export, choose limits, evaluate, write and sign; return the report. Raises StationFault for a bad job."""
    job_file = given.job / "job.json"
    if not job_file.is_file():
        raise StationFault(
            f"{given.job} holds no finished training; run training.train until it prints its record"
        )
    job = json.loads(job_file.read_text())
    about = tomllib.loads(given.about.read_text())
    recipe = load_training_recipe(job["recipe"])
    rendered = job["rendered"]
    val = read_coco(Path(job["val"]["path"]))
    model_path = given.job / "model.onnx"
    parity = export_onnx(
        Path(job["weights"]),
        model_path,
        size_px=recipe.input_px,
        channels=recipe.channels,
        pictures=network_pictures(val.pictures[:PARITY_PICTURES], recipe.input_px, recipe.channels),
        heads=about["heads"],
    )
    model = model_path.read_bytes()
    content: dict[str, Any] = {
        "name": about["name"],
        "version": about.get("version", "1"),
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "licence": about["licence"],
        "summary": about["summary"],
        "intended_use": about["intended_use"],
        "input": {"width_px": recipe.input_px, "height_px": recipe.input_px, "channels": recipe.channels},
        "classes": job["classes"],
        "floor_score": FLOOR_SCORE,
        "data": {
            **about.get("data", {}),
            "train": _without_path(job["train"]),
            "val": _without_path(job["val"]),
        },
        "training": {
            "recipe": job["recipe"],
            "network": recipe.network,
            "policy": job["policy"],
            "seed": job["seed"],
            "settings": recipe.ultralytics,
            "code_commit": job["code_commit"],
            "fit_s": job["fit_s"],
            "start": job.get("start"),
            "parity": parity,
            "heads": about["heads"],
        },
    }
    if rendered:
        content["detectability"] = {
            "limit": DETECTABILITY_LIMIT,
            "meaning": "matched-filter SNR of a part's most visible defect: sqrt(sum(difference^2)) over the "
            "RMS of sensor noise and texture around it; fixed before evaluation",
            "sizes_px": list(SIZE_RANGE_PX),
        }
    card = parse_card(json.dumps(content).encode(), "the candidate's card")
    if rendered:
        chosen = _rendered_answers(
            model,
            card,
            model_path,
            range(CHOICE_FIRST, CHOICE_FIRST + 4),
            parts=given.choice_parts,
            share=0.4,
            threads=given.threads,
        )
    else:
        chosen = answer_coco(unsigned_bundle(model, card, model_path), val, threads=given.threads)
    limits = choose_limits(
        chosen.parts,
        job["classes"],
        escape_target=about["escape_target"],
        overkill_target=about["overkill_target"],
        floor=FLOOR_SCORE,
    )
    protocol = protocol_named(about["protocol"]) if about.get("protocol") else None
    f_limit = best_f_limit(chosen.found, chosen.truth, protocol.iou) if protocol else None
    settings: dict[str, Any] = {"protocol": protocol, "f_limit": f_limit}
    report: dict[str, Any] = {"choice": figures(chosen, job["classes"], limits, **settings)}
    if rendered:
        first = TEST_SEEDS.start + given.test_offset
        seeds = range(first, first + 5)
        tested = _rendered_answers(
            model, card, model_path, seeds, parts=given.parts, share=0.2, threads=given.threads
        )
        report["test"] = figures(tested, job["classes"], limits, **settings)
        report["test"]["source"] = (
            f"rendered, seeds {seeds.start}..{seeds.stop - 1}, {given.parts} parts each, 2 views"
        )
    elif given.test is not None:
        tested = answer_coco(
            unsigned_bundle(model, card, model_path), read_coco(given.test), threads=given.threads
        )
        report["test"] = figures(tested, job["classes"], limits, **settings)
        report["test"]["source"] = given.test.name
    content["metrics"] = {"f_score_limit": f_limit, **report}
    suggested = suggested_recipe(about["name"], limits, about["views"], about.get("health", {}))
    key = station_key(given.key_dir)
    report["bundle"] = write_bundle(
        given.out, model=model, card=content, key=key, recipe=suggested, report=report
    )
    return report


def main(argv: list[str] | None = None) -> int:
    """Build one candidate; 0, or 3 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", type=Path, required=True, help="folder of a finished training.train")
    parser.add_argument(
        "--about", type=Path, required=True, help="TOML with what a person has to say of the bundle"
    )
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to make")
    parser.add_argument(
        "--key-dir", type=Path, required=True, help="folder of the signing key; made when missing"
    )
    parser.add_argument("--test", type=Path, help="COCO file of the test data")
    parser.add_argument("--parts", type=int, default=2000, help="rendered test parts of each of five seeds")
    parser.add_argument(
        "--test-offset", type=int, default=0, help="fresh test seeds: raise it when a test was seen"
    )
    parser.add_argument("--choice-parts", type=int, default=1000, help="rendered parts of each of four seeds")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(argv)
    try:
        report = build(given)
    except StationFault as fault:
        sys.stderr.write(f"gatesight candidate: {fault}\n")
        return 3
    sys.stdout.write(
        json.dumps({"bundle": report["bundle"], "test": report.get("test", {}).get("part")}) + "\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
