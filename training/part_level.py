# SPDX-License-Identifier: AGPL-3.0-or-later
"""Escapes and overkill as the line would see them: every part through the real rules, all of its views. Pure.

An escape is a defective part that the rules pass, overkill a good part that they reject. Health limits of
pictures are not applied here: a set of pictures is judged, not the cameras that took it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from inspection.recipe import Limit, Recipe, ViewRecipe
from inspection.rules import ViewResult, judge
from inspection.statistics import upper_bound
from inspection.types import Outcome, Reason, StationFault, Verdict
from training.claims import two_sided
from training.statistics import PartAnswer

SIZE_EDGES_PX = (0.0, 6.0, 10.0, 20.0, 40.0, 1e9)
DIAL = tuple(round(-6.0 + 0.1 * i, 1) for i in range(121))
"""Steps of the one dial that moves every limit, in log-odds; 0 is the recipe as it stands."""


def recipe_from_limits(limits: Mapping[str, float], views: int = 1) -> Recipe:
    """The plainest recipe with these score limits."""
    return Recipe(
        name="limits",
        version=1,
        id=1,
        views=tuple(ViewRecipe(name=f"view {i + 1}") for i in range(views)),
        classes={name: Limit(min_score=value) for name, value in limits.items()},
        default_limit=Limit(min_score=min(limits.values(), default=0.5)),
    )


def fitted(recipe: Recipe, pictures: int, part: str) -> Recipe:
    """The recipe for a part of so many pictures.

    A recipe whose views all ask the same judges any number of them. StationFault where views have zones of
    their own and the numbers differ: which picture is which view cannot be guessed.
    """
    if pictures == len(recipe.views):
        return recipe
    if any(view.ignore_zones != recipe.views[0].ignore_zones for view in recipe.views):
        raise StationFault(
            f"part {part} has {pictures} pictures and the bundle's recipe {len(recipe.views)} views with zones "
            "of their own; evaluate on parts that show every view, in the recipe's order"
        )
    return msgspec.structs.replace(recipe, views=(recipe.views[0],) * pictures)


def verdict_on(part: PartAnswer, recipe: Recipe) -> Verdict:
    """What the station says of one part: not inspected where the engine could not look, else by its rules."""
    if part.faults:
        return Verdict(outcome=Outcome.NOT_INSPECTED, reasons=(Reason.ENGINE_FAULT,), findings=())
    views = [ViewResult(camera=camera, findings=seen) for camera, seen in enumerate(part.views)]
    return judge(views, fitted(recipe, len(views), part.name))


def rejects(parts: Sequence[PartAnswer], recipe: Recipe) -> np.ndarray:
    """Which parts the gate would not let through, bool (parts,)."""
    return np.asarray([verdict_on(part, recipe).outcome is not Outcome.PASS for part in parts], dtype=bool)


def part_figures(parts: Sequence[PartAnswer], recipe: Recipe) -> dict[str, Any]:
    """Count escapes and overkill. `_upper_95`: one-sided exact bounds, those that claims are made of."""
    turned_away = rejects(parts, recipe)
    counted = np.asarray([p.defective and p.counted for p in parts], dtype=bool)
    below = np.asarray([p.defective and not p.counted for p in parts], dtype=bool)
    good = np.asarray([not p.defective for p in parts], dtype=bool)
    escapes, overkill = int((counted & ~turned_away).sum()), int((good & turned_away).sum())
    return {
        "defective": int(counted.sum()),
        "escapes": escapes,
        "escape_rate": escapes / max(int(counted.sum()), 1),
        "escape_upper_95": upper_bound(escapes, int(counted.sum())),
        "escape_two_sided_95": list(two_sided(escapes, int(counted.sum()))),
        "good": int(good.sum()),
        "overkill": overkill,
        "overkill_rate": overkill / max(int(good.sum()), 1),
        "overkill_upper_95": upper_bound(overkill, int(good.sum())),
        "overkill_two_sided_95": list(two_sided(overkill, int(good.sum()))),
        "not_inspected": sum(bool(p.faults) for p in parts),  # turned away like rejects, and counted as such
        "below_limit": int(below.sum()),
        "below_limit_passed": int((below & ~turned_away).sum()),
    }


def _bounded(defective: int, escapes: int) -> dict[str, Any]:
    return {"defective": defective, "escapes": escapes, "escape_upper_95": upper_bound(escapes, defective)}


def escapes_by_size(
    parts: Sequence[PartAnswer], recipe: Recipe, edges_px: Sequence[float] = SIZE_EDGES_PX
) -> dict[str, dict[str, Any]]:
    """Defective parts and escapes by the size of the part's most visible defect (0: no box was marked)."""
    passed = ~rejects(parts, recipe)
    table: dict[str, dict[str, Any]] = {}
    for low, high in pairwise(edges_px):
        inside = [i for i, p in enumerate(parts) if p.defective and p.counted and low <= p.size_px < high]
        name = f"{low:g}..{high:g}" if high < 1e8 else f"{low:g}.."
        table[name] = _bounded(len(inside), int(passed[inside].sum()))
    return table


def escapes_by_class(parts: Sequence[PartAnswer], recipe: Recipe) -> dict[str, dict[str, Any]]:
    """For each class of defect: parts that carry it, how many passed, how many were rejected for that very
    class.
    """
    verdicts = [verdict_on(part, recipe) for part in parts]
    table: dict[str, dict[str, Any]] = {}
    for name in sorted({kind for part in parts if part.defective and part.counted for kind in part.kinds}):
        mine = [i for i, part in enumerate(parts) if part.defective and part.counted and name in part.kinds]
        escapes = sum(verdicts[i].outcome is Outcome.PASS for i in mine)
        named = sum(name in verdicts[i].rejected_by for i in mine)
        table[name] = _bounded(len(mine), escapes) | {"rejected_by_name": named}
    return table


def overkill_by_class(parts: Sequence[PartAnswer], recipe: Recipe) -> dict[str, int]:
    """How many good parts each class of finding rejected; a part may be rejected by several."""
    table: dict[str, int] = {}
    for part in parts:
        if not part.defective:
            for name in verdict_on(part, recipe).rejected_by:
                table[name] = table.get(name, 0) + 1
    return dict(sorted(table.items()))


def moved(recipe: Recipe, step: float, classes: Sequence[str]) -> Recipe:
    """The recipe with every class's score limit moved by `step` in log-odds."""

    def limit(name: str) -> Limit:
        was = recipe.limit(name)
        odds = np.log(np.clip(was.min_score, 1e-9, 1 - 1e-9) / np.clip(1 - was.min_score, 1e-9, 1)) + step
        return msgspec.structs.replace(was, min_score=float(1 / (1 + np.exp(-odds)))) if step else was

    return msgspec.structs.replace(recipe, classes={name: limit(name) for name in classes}, default_limit=None)


def dial(
    parts: Sequence[PartAnswer], recipe: Recipe, classes: Sequence[str], steps: Sequence[float] = DIAL
) -> np.ndarray:
    """Which parts are rejected at each step of the dial, bool (parts, steps), by the real rules each time.

    A part without findings passes at every step; the others are judged from where they are still rejected.
    """
    recipes = [moved(recipe, step, classes) for step in steps]
    table = np.zeros((len(parts), len(steps)), bool)
    for row, part in enumerate(parts):
        if part.views and not any(part.views) and not part.faults:
            continue
        low, high = (
            0,
            len(steps),
        )  # monotone: a raised limit never rejects more; find the first step that passes
        while low < high:
            middle = (low + high) // 2
            if verdict_on(part, recipes[middle]).outcome is Outcome.PASS:
                high = middle
            else:
                low = middle + 1
        table[row, :low] = True
    return table


def trade_off(
    parts: Sequence[PartAnswer], recipe: Recipe, classes: Sequence[str], steps: Sequence[float] = DIAL
) -> list[dict[str, float | int]]:
    """Escapes and overkill at each step where either changes: the curve along which a plant chooses."""
    counted = [p for p in parts if p.counted or not p.defective]
    table = dial(counted, recipe, classes, steps)
    bad = np.asarray([p.defective for p in counted], dtype=bool)
    escapes, overkill = (~table[bad]).sum(axis=0), table[~bad].sum(axis=0)
    rows: list[dict[str, float | int]] = []
    for index, step in enumerate(steps):
        row = {"step": step, "escapes": int(escapes[index]), "overkill": int(overkill[index])}
        if (
            step == 0
            or not rows
            or (row["escapes"], row["overkill"]) != (rows[-1]["escapes"], rows[-1]["overkill"])
        ):
            rows.append(row)
    return rows
