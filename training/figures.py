# SPDX-License-Identifier: AGPL-3.0-or-later
"""All figures of a set of answers in one table, ready for JSON: null stands where a figure does not apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datasets.labels import GOOD_CLASSES
from inspection.recipe import Recipe
from inspection.types import Finding
from training.answers import Answers, Shown
from training.areas import auroc
from training.calibration import confusion, picture_confusion, reliability
from training.claims import Claim, bound_sentence, parts_needed, percent, rule_on
from training.coco_map import Averages, coco_map, coco_mask_map
from training.map_interval import map50_interval
from training.part_level import (
    DIAL,
    dial,
    escapes_by_class,
    escapes_by_size,
    moved,
    overkill_by_class,
    part_figures,
    recipe_from_limits,
    rejects,
    trade_off,
)
from training.protocols import Protocol, protocol_figures, protocol_named
from training.statistics import PartAnswer, best_scores, match
from training.thresholds import CONFIDENCE, cheapest, expected_cost, hold_escapes
from training.trivial import best_trivial
from weights.telling import finds_nothing

COST_RATIOS = (1.0, 10.0, 100.0, 1000.0)
SAID = (Claim(kind="escapes", under=0.01), Claim(kind="overkill", under=0.02))
"""Claims that every evaluation rules on, asked for or not."""


def figures(
    answers: Answers,
    classes: Sequence[str],
    limits: Mapping[str, float] | Recipe,
    *,
    protocol: str | Protocol | None = None,
    f_limit: float | None = None,
    pixel_limits: Mapping[str, float] | None = None,
    claims: Sequence[Claim] = (),
) -> dict[str, Any]:
    """Every figure of a set. classes: what the answers' class indexes mean. limits: the recipe, or plain
    limits.
    """
    recipe = limits if isinstance(limits, Recipe) else recipe_from_limits(limits)
    how = protocol_named(protocol) if isinstance(protocol, str) else protocol
    boxes = coco_map(answers.found, answers.truth, answers.pictures, len(classes)) if answers.boxes else None
    drawn = answers.masks
    masks = None if drawn is None else coco_mask_map(drawn.found, drawn.truth, drawn.pictures, len(classes))
    result: dict[str, Any] = {
        "pictures": answers.pictures,
        **_averages("", boxes, answers.groups),
        **_averages("mask_", masks, answers.groups),
        "map_protocol": None,
        "f_protocol": None,
    }
    if how is not None:
        result |= protocol_figures(
            how, answers.found, answers.truth, classes, map50=result["map50"], f_limit=f_limit
        )
    result |= _picture_level(answers.shown)
    pixel = None if answers.pixels is None else answers.pixels.figures(pixel_limits or _scores(recipe, classes))
    part = part_figures(answers.parts, recipe)
    result |= {
        "aupro": None if pixel is None else pixel["aupro"],
        "pixel_f1": None if pixel is None else pixel["f1"],
        "pixel": pixel,
        "part": part,
        "claims": rulings(part, [*SAID, *claims]),
        "escapes_by_class": escapes_by_class(answers.parts, recipe),
        "escapes_by_size": escapes_by_size(answers.parts, recipe),
        "overkill_by_class": overkill_by_class(answers.parts, recipe),
        "confusion": _confusion(answers, recipe),
        "calibration": _calibration(answers, classes),
        "trade_off": trade_off(answers.parts, recipe, classes),
        "costs": costs(answers, recipe, classes),
        "limits": _scores(recipe, classes),
    }
    return result


def _averages(prefix: str, averages: Averages | None, groups: Sequence[str]) -> dict[str, Any]:
    """MAP and how sure it is; null where nobody marked places."""
    if averages is None:
        return dict.fromkeys((f"{prefix}map50", f"{prefix}map50_95", f"{prefix}map50_two_sided_95"))
    sure = map50_interval(averages.matches, groups) if averages.matches else None
    return {
        f"{prefix}map50": round(averages.map50, 5),
        f"{prefix}map50_95": round(averages.map50_95, 5),
        f"{prefix}map50_two_sided_95": None
        if sure is None
        else {
            "low": round(sure.low, 5),
            "high": round(sure.high, 5),
            "groups": sure.groups,
            "method": "bootstrap over groups",
        },
    }


def _scores(recipe: Recipe, classes: Sequence[str]) -> dict[str, float]:
    return {name: recipe.limit(name).min_score for name in classes if not recipe.limit(name).ignore}


def _picture_level(shown: Sequence[Shown]) -> dict[str, Any]:
    good = [item for item in shown if item.question.good]
    bad = [item for item in shown if not item.question.good]
    area = auroc([item.score for item in good], [item.score for item in bad])
    trivial = best_trivial([item.trivial for item in good], [item.trivial for item in bad])
    return {
        "auroc": None if area is None else area.value,
        "auroc_two_sided_95": None if area is None else [area.low, area.high],
        "auroc_method": None if area is None else area.method,
        "auroc_pictures": {"good": len(good), "defective": len(bad)},
        "trivial_auroc": None if trivial is None else trivial["auroc"],
        "trivial": trivial,
    }


def rulings(part: Mapping[str, Any], claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """What the part-level counts carry, claim by claim."""
    table = []
    for claim in dict.fromkeys(claims):
        of = "defective" if claim.kind == "escapes" else "good"
        ruling = rule_on(claim, part[claim.kind], part[of])
        table.append(
            {
                "claim": f"{claim.kind} under {percent(claim.under)}",
                "carried": ruling.carried,
                "more_parts": ruling.more_parts,
                "sentence": ruling.sentence,
            }
        )
    return table


def _nothing(part: Mapping[str, Any]) -> str:
    return finds_nothing(**{key: part[key] for key in ("defective", "escapes", "good", "overkill")})


def _bounds(part: Mapping[str, Any]) -> list[str]:
    return [
        bound_sentence(part["escapes"], part["defective"], "escape", "defective"),
        bound_sentence(part["overkill"], part["good"], "overkill", "good"),
    ]


def summary_sentences(result: Mapping[str, Any]) -> list[str]:
    """What a manager reads first."""
    why = _nothing(result["part"])
    return [*_bounds(result["part"]), *([f"this bundle {why}"] if why else [])]


def candidate_sentences(result: Mapping[str, Any], on: str) -> list[str]:
    """What a candidate does on the pictures `on` (val, test); where it finds nothing, that, with a remedy."""
    said = [f"On {result['pictures']} {on} pictures: {'; '.join(_bounds(result['part']))}."]
    why = _nothing(result["part"])
    missed = [
        f"{name} ({row['defective']})"
        for name, row in result["escapes_by_class"].items()
        if row["escapes"] == row["defective"]
    ]
    if why:
        said.append(
            f"This candidate {why}; it will be refused at promotion. Train it for more epochs, teach more"
            " pictures of each defect, or see what `gatesight data check` says of these data."
        )
    elif missed:
        said.append(f"It passes every defective part of these classes: {', '.join(missed)}.")
    return said


def listed(parts: Sequence[PartAnswer], recipe: Recipe) -> list[dict[str, Any]]:
    """Every part by name, as it was judged: what a later bundle is compared with, part by part."""
    turned_away = rejects(parts, recipe)
    return [
        {"part": p.name, "defective": p.defective, "rejected": bool(rejected), "counted": p.counted}
        for p, rejected in zip(parts, turned_away, strict=True)
    ]


def _counting(findings: Sequence[Finding], recipe: Recipe) -> list[Finding]:
    return [
        f
        for f in findings
        if f.score >= recipe.limit(f.defect_class).min_score and not recipe.limit(f.defect_class).ignore
    ]


def _confusion(answers: Answers, recipe: Recipe) -> dict[str, Any]:
    """By marks where there are boxes, and by whole pictures where each shows one kind of defect at most."""
    labelled = [item for item in answers.shown if item.question.labelled]
    one_kind = all(len({mark.class_name for mark in item.question.labels}) <= 1 for item in labelled)
    whole = []
    for item in labelled:
        question = item.question
        told = question.image_class or (question.labels[0].class_name if question.labels else "good")
        counted = [f for f in _counting(item.findings, recipe) if f.defect_class not in GOOD_CLASSES]
        best = max(counted, key=lambda f: f.score, default=None)
        whole.append(("good" if question.good else told, best.defect_class if best else "good"))
    marks = [(_counting(item.findings, recipe), item.question.labels) for item in labelled]
    return {
        "marks": confusion(marks) if answers.boxes else None,
        "pictures": picture_confusion(whole) if one_kind else None,
    }


def _calibration(answers: Answers, classes: Sequence[str]) -> dict[str, Any]:
    defects = [name for name in classes if name not in GOOD_CLASSES]
    parts = []
    for part in answers.parts:
        best = best_scores(part)
        parts.append((max((best.get(name, 0.0) for name in defects), default=0.0), part.defective))
    return {
        "findings": reliability(match(answers.found, answers.truth, 0.5)) if answers.boxes else None,
        "parts": reliability(parts),
    }


def costs(
    answers: Answers,
    recipe: Recipe,
    classes: Sequence[str],
    *,
    ratios: Sequence[float] = COST_RATIOS,
    defective_share: float | None = None,
) -> list[dict[str, Any]]:
    """What the recipe costs a part, in units of one overkill, and what the best step of the dial would.

    ratios: overkills that one escape costs as much as. defective_share: on the line; else as in the sample.
    """
    parts = [part for part in answers.parts if part.counted or not part.defective]
    bad = np.asarray([part.defective for part in parts], dtype=bool)
    if not bad.any() or bad.all():
        return []
    table = dial(parts, recipe, classes)
    escapes, overkill = (~table[bad]).sum(axis=0), table[~bad].sum(axis=0)
    rows = []
    for ratio in ratios:
        best = cheapest(table, bad, escape_cost=ratio, defective_share=defective_share)
        price = expected_cost(escapes, overkill, bad, escape_cost=ratio, defective_share=defective_share)
        rows.append(
            {
                "escape_costs": ratio,
                "recipe": float(price[DIAL.index(0.0)]),
                "best": float(price[best.step]),
                "best_step": DIAL[best.step],
                "best_escapes": best.escapes,
                "best_overkill": best.overkill,
                "best_limits": _scores(moved(recipe, DIAL[best.step], classes), classes),
            }
        )
    return rows


def held(answers: Answers, recipe: Recipe, classes: Sequence[str], at_most: float) -> dict[str, Any]:
    """Limits that hold the risk of an escape to `at_most` with 95 % confidence; null when none can."""
    parts = [part for part in answers.parts if part.counted or not part.defective]
    bad = np.asarray([part.defective for part in parts], dtype=bool)
    chosen = hold_escapes(dial(parts, recipe, classes), bad, at_most=at_most)
    note = "chosen on these parts: report figures from others"
    if chosen is None:
        needed = parts_needed(at_most)
        note = (
            f"no limits hold escapes to {percent(at_most)} on {int(bad.sum())} defective parts; it takes "
            f"{needed} without an escape, or a detector that finds more of them"
        )
        return {"at_most": at_most, "confidence": CONFIDENCE, "step": None, "limits": None, "note": note}
    return {
        "at_most": at_most,
        "confidence": CONFIDENCE,
        "step": DIAL[chosen.step],
        "limits": _scores(moved(recipe, DIAL[chosen.step], classes), classes),
        "escapes": chosen.escapes,
        "defective": chosen.defective,
        "overkill": chosen.overkill,
        "good": chosen.good,
        "note": note,
    }
