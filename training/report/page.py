# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report: one HTML file that fetches nothing, runs nothing, and holds every mistake as a picture.

Its policy stands in the file: nothing but data: pictures and the one style sheet, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from inspection.recipe import Recipe
from training.answers import Answers
from training.areas import roc_points
from training.claims import percent
from training.report.drawings import chart, nice
from training.report.mistakes import mistakes
from weights.bundle import Bundle

_HERE = Path(__file__).parent


def page(
    result: Mapping[str, Any], answers: Answers, bundle: Bundle, recipe: Recipe, *, threads: int = 1
) -> str:
    """The whole page as text. `result`: what evaluate wrote as JSON."""
    escapes, overkill = mistakes(answers, bundle, recipe, threads=threads)
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    # what a browser hashes is the element's text, and that is the file's
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "bound": lambda share: percent(share, up=True),
        "figure": lambda value: "–" if value is None else f"{value:.4g}",
        "pretty": lambda value: json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False),
    }
    return environment.get_template("report.html").render(
        policy=policy,
        style=Markup(style),  # noqa: S704 - our own file
        result=result,
        headline=_headline(result),
        verdicts=_verdicts(result),
        curves=_curves(result, answers),
        escapes=escapes,
        overkill=overkill,
        bundle_hash=bundle.sha256,
    )


def _headline(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, figure, note) of what applies to this bundle and set."""
    rows: list[tuple[str, str, str]] = []

    def add(key: str, name: str, note: str = "") -> None:
        if result.get(key) is not None:
            rows.append((name, f"{result[key]:.3f}", note))

    if result["auroc"] is not None:
        low, high = result["auroc_two_sided_95"]
        trivial = result["trivial"]
        note = (
            f"two-sided 95 % interval {low:.3f} to {high:.3f}; the best trivial statistic, {trivial['name']}, "
            f"scores {trivial['auroc']:.3f} without any model"
        )
        add("auroc", "AUROC, picture level", note)
    add("map_protocol", "mAP by the set's protocol", result.get("protocol", {}).get("says", ""))
    add("f_protocol", "F by the set's protocol", f"at score limit {result.get('f_score_limit')}, chosen on val")
    add("map50", "COCO mAP at IoU 0.5", "boxes" + _sure(result.get("map50_two_sided_95")))
    add("map50_95", "COCO mAP at IoU 0.5 to 0.95", "boxes")
    add("mask_map50", "COCO mAP at IoU 0.5", "masks" + _sure(result.get("mask_map50_two_sided_95")))
    add("aupro", "AUPRO to 0.3 of false pixels")
    if result["pixel"] is not None:
        pixel = result["pixel"]
        add("pixel_f1", "F1 of defect pixels", f"limit {pixel['limit']:.3f}, {pixel['limit_source']}")
        if pixel["peak_in_mask"] is not None:
            hits, shown = pixel["peak_in_mask"]
            rows.append(("Peak inside a mask", f"{hits} of {shown}", "highest score of a defective picture"))
    return rows


def _sure(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return ""
    return (
        f"; two-sided 95 % interval {interval['low']:.3f} to {interval['high']:.3f},"
        f" {interval['method']} ({interval['groups']})"
    )


def _verdicts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(css class, sentence) for each claim."""
    return [("carried" if row["carried"] else "refused", row["sentence"]) for row in result["claims"]]


def _curves(result: Mapping[str, Any], answers: Answers) -> list[tuple[str, Markup, str]]:
    """(title, svg, note) of each curve that there are data for."""
    drawn: list[tuple[str, str, str]] = []
    part = result["part"]
    if part["defective"] and part["good"]:
        drawn.append(
            (
                "Escapes against overkill",
                _trade_off(result),
                "each limit moved by the same step; dot: the recipe",
            )
        )
        costs = [(row["escape_costs"], row["recipe"], row["best"]) for row in result["costs"]]
        if costs:
            drawn.append(
                ("What mistakes cost", _costs(costs), "a part, in units of one overkill, in this sample's mix")
            )
    good = [item.score for item in answers.shown if item.question.good]
    bad = [item.score for item in answers.shown if not item.question.good]
    if good and bad:
        points = roc_points(good, bad)
        svg = chart(
            [("chance", "faint", [(0, 0), (1, 1)]), ("this bundle", "main", points)],
            x_label="good pictures above the limit",
            y_label="defective pictures above it",
            x_max=1.0,
            y_max=1.0,
        )
        drawn.append(("Good and defective pictures", svg, "ROC of the highest score in a picture"))
    bins = result["calibration"]["parts"]["bins"]
    if bins and good and bad:
        svg = chart(
            [
                ("as it should be", "faint", [(0, 0), (1, 1)]),
                ("parts", "main", [(row["mean_score"], row["share_right"]) for row in bins]),
            ],
            x_label="highest score of the part",
            y_label="share that is defective",
            x_max=1.0,
            y_max=1.0,
        )
        ece = result["calibration"]["parts"]["ece"]
        drawn.append(
            ("Do scores mean what they say?", svg, f"expected calibration error {ece:.3f} in this sample's mix")
        )
    return [(title, Markup(svg), note) for title, svg, note in drawn]  # noqa: S704 - drawings.py escapes its texts


def _trade_off(result: Mapping[str, Any]) -> str:
    part = result["part"]
    rows = result["trade_off"]
    points = [(row["overkill"] / part["good"], row["escapes"] / part["defective"]) for row in rows]
    here = (part["overkill_rate"], part["escape_rate"])
    x_max = nice(max(4 * here[0], 0.02))
    y_max = nice(max(4 * here[1], 4 * part["escape_upper_95"] / 3, 0.02))
    return chart(
        [("all limits", "main", points)],
        x_label="overkill",
        y_label="escapes",
        x_max=min(x_max, 1.0),
        y_max=min(y_max, 1.0),
        dots=[("the recipe", here)],
    )


def _costs(rows: list[tuple[float, float, float]]) -> str:
    """Cost of a part against what an escape costs."""
    top = nice(max(max(recipe, best) for _, recipe, best in rows))
    across = [float(index) for index in range(len(rows))]
    return chart(
        [
            ("the recipe", "main", list(zip(across, (row[1] for row in rows), strict=True))),
            (
                "the best limits on this sample",
                "other",
                list(zip(across, (row[2] for row in rows), strict=True)),
            ),
        ],
        x_label="overkills that one escape costs as much as",
        y_label="cost of a part",
        x_max=across[-1],
        y_max=top,
        shares=False,
        x_names=[f"{row[0]:g}" for row in rows],
    )
