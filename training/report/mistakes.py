# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of every escape and every overkill, with marks, findings and heat: what people look at first.

A picture is drawn once as the camera gave it, with the marks (solid) and the findings (dashed), and once more
with the score map over it where the bundle makes one. Everything is a JPEG inside the page.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from inspection.recipe import Recipe
from inspection.types import Box, Finding, Outcome
from training.answers import Answers, Shown
from training.engine import Asked
from training.part_level import verdict_on
from training.pixel_level import maps_in_source
from training.statistics import PartAnswer
from weights.bundle import Bundle

LONGEST_PX = 360
QUALITY = 82
_TRUE, _COUNTS, _BELOW = (40, 200, 60), (40, 40, 235), (0, 190, 250)  # B, G, R


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One picture of a part. `heat`: the same with its score map, or "" where there is none. data: URIs."""

    name: str
    picture: str
    heat: str
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One part that was judged wrongly, and a sentence on it."""

    part: str
    sentence: str
    pictures: tuple[Drawn, ...]


def mistakes(
    answers: Answers, bundle: Bundle, recipe: Recipe, *, threads: int = 1
) -> tuple[list[Mistake], list[Mistake]]:
    """(escapes, overkill), every one, in the order of the set. Parts below the limit of detectability are
    neither.
    """
    escapes: list[Mistake] = []
    overkill: list[Mistake] = []
    asked: Asked | None = None
    try:
        for part in answers.parts:
            passed = verdict_on(part, recipe).outcome is Outcome.PASS
            if part.defective != passed or (part.defective and not part.counted):
                continue
            asked = asked or Asked(bundle, threads=threads)
            shown = [answers.shown[number] for number in part.shown]
            drawn = tuple(_drawn(item, asked, bundle, recipe) for item in shown)
            entry = Mistake(part=part.name, sentence=_sentence(part, recipe), pictures=drawn)
            (escapes if part.defective else overkill).append(entry)
    finally:
        if asked is not None:
            asked.close()
    return escapes, overkill


def _sentence(part: PartAnswer, recipe: Recipe) -> str:
    verdict = verdict_on(part, recipe)
    if part.defective:
        size = f", largest mark {part.size_px:.0f} px" if part.size_px else ""
        best = max((f for seen in part.views for f in seen), key=lambda f: f.score, default=None)
        if best is None:
            return f"{part.kind or 'defective'}{size}: nothing was found"
        limit = recipe.limit(best.defect_class).min_score
        found = f"best finding {best.defect_class} {best.score:.3f}, limit {limit:.3f}"
        return f"{part.kind or 'defective'}{size}: {found}"
    return f"good, rejected for {', '.join(verdict.rejected_by) or 'a picture that could not be looked at'}"


def _drawn(item: Shown, asked: Asked, bundle: Bundle, recipe: Recipe) -> Drawn:
    picture, reference = item.question.read(bundle.card.picture_channels)
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    canvas = (
        cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
        if picture.ndim == 2
        else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    )
    scale = LONGEST_PX / max(canvas.shape[:2])
    plain = _resized(canvas, scale)
    heat = ""
    if bundle.card.output.kind == "maps_nchw" and not item.fault:
        look = asked.look(picture, reference)
        scores = maps_in_source(look.table, look.place, (grey.shape[0], grey.shape[1])).max(axis=0)
        heat = _uri(_heated(plain, _resized(scores, scale)))
    for mark in item.question.labels:
        _rectangle(plain, mark.box, scale, _TRUE, dashed=False)
    told = []
    for finding in item.findings:
        counts = _counts(finding, recipe)
        if counts or len(told) < 8:
            _rectangle(plain, finding.box, scale, _COUNTS if counts else _BELOW, dashed=True)
            told.append(
                f"{finding.defect_class} {finding.score:.3f}" + ("" if counts else " (below its limit)")
            )
    if item.fault:
        told.append(f"could not be looked at: {item.fault}")
    return Drawn(name=item.question.name, picture=_uri(plain), heat=heat, findings=tuple(told))


def _counts(finding: Finding, recipe: Recipe) -> bool:
    limit = recipe.limit(finding.defect_class)
    return finding.score >= limit.min_score and not limit.ignore


def _resized(picture: np.ndarray, scale: float) -> np.ndarray:
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _heated(picture: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores 0..1 as colour over the picture; a low score leaves it as it is."""
    colour = cv2.applyColorMap((np.clip(scores, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = (0.25 + 0.75 * np.clip(scores, 0, 1))[..., None] * 0.7
    return (picture * (1 - weight) + colour * weight).astype(np.uint8)


def _rectangle(
    canvas: np.ndarray, box: Box, scale: float, colour: tuple[int, int, int], *, dashed: bool
) -> None:
    x0, y0, x1, y1 = (round(edge * scale) for edge in (box.x0_px, box.y0_px, box.x1_px, box.y1_px))
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    for (ax, ay), (bx, by) in pairwise(corners):
        pieces = max(1, int(max(abs(bx - ax), abs(by - ay)) // 5)) if dashed else 1
        for piece in range(0, pieces, 2):
            start = (ax + (bx - ax) * piece // pieces, ay + (by - ay) * piece // pieces)
            end = (ax + (bx - ax) * (piece + 1) // pieces, ay + (by - ay) * (piece + 1) // pieces)
            cv2.line(canvas, start, end, colour, 1, cv2.LINE_AA)


def _uri(picture: np.ndarray) -> str:
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()
