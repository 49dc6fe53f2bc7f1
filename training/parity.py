# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proof that the exported engine says what the trained network says: the golden set, part by part, verdict by
verdict.

On one side the trained network itself, asked with pixels / 255; on the other the bundle, asked as the station
asks: its own engine, its own conversion by the card. Both sides share the picture's preparation and the
decoder, so what can differ is the export, the card and the engine: a scale that is off, channels that changed
places, a mean that was subtracted once too often. One flipped verdict, or a score that is off, and there is no
candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from inspection.detectors.base import View
from inspection.detectors.decode import Placing, decoder_for
from inspection.recipe import Recipe
from inspection.types import Finding, StationFault
from training.answers import Question
from training.engine import Asked, Look
from training.part_level import verdict_on
from training.statistics import PartAnswer
from weights.bundle import Bundle

Trained = Callable[[np.ndarray], np.ndarray]
"""float32 (1, channels, height, width) in 0..1 to the output the card names, with or without its batch of one.
"""

SCORE_APART = 2e-3
"""Largest difference of a picture's best score of any class that two float32 computations may show."""


def prove_parity(
    trained: Trained, bundle: Bundle, recipe: Recipe, golden: Sequence[Question], *, threads: int = 1
) -> dict[str, Any]:
    """Ask both about every picture of the golden set; the figures for the card.

    StationFault when a verdict flips, when a score is off, or when there is nothing to compare.
    """
    if not golden:
        raise StationFault("there is no golden set to prove parity on: give validation pictures")
    figures = compare(trained, bundle, recipe, golden, threads=threads)
    if figures["verdict_flips"] or figures["engine_score_difference"] > SCORE_APART:
        raise StationFault(
            f"the exported engine does not answer as the trained network does: {figures['verdict_flips']} of "
            f"{figures['parts']} verdicts flip{_first(figures)}, scores differ by up to "
            f"{figures['engine_score_difference']:.4g}; there is no candidate"
        )
    return figures


def _first(figures: dict[str, Any]) -> str:
    return f" (first: {figures['flipped'][0]})" if figures["flipped"] else ""


def compare(
    trained: Trained, bundle: Bundle, recipe: Recipe, golden: Sequence[Question], *, threads: int = 1
) -> dict[str, Any]:
    """The same without a judgement. `flipped`: names of parts whose verdicts differ, at most ten."""
    views: dict[str, tuple[list[tuple[Finding, ...]], list[tuple[Finding, ...]]]] = {}
    worst = 0.0
    asked = Asked(bundle, threads=threads)
    net = _Trained(trained, bundle)
    try:
        for question in golden:
            picture, reference = question.read(bundle.card.picture_channels)
            station, ours = asked.look(picture, reference), net.look(picture, reference)
            for number in range(len(bundle.card.classes)):
                worst = max(worst, abs(station.best([number]) - ours.best([number])))
            seen = views.setdefault(question.part, ([], []))
            seen[0].append(station.findings)
            seen[1].append(ours.findings)
    finally:
        asked.close()
    flipped = [
        name
        for name, (station, ours) in views.items()
        if _told(name, station, recipe) != _told(name, ours, recipe)
    ]
    return {
        "pictures": len(golden),
        "parts": len(views),
        "verdict_flips": len(flipped),
        "flipped": flipped[:10],
        "engine_score_difference": float(np.ceil(worst * 1e5) / 1e5),
    }


def _told(name: str, views: Sequence[tuple[Finding, ...]], recipe: Recipe) -> tuple[object, ...]:
    """The verdict and its grounds; findings are of view 0 each, as many views as pictures."""
    placed = tuple(
        tuple(replace(finding, camera=camera) for finding in seen) for camera, seen in enumerate(views)
    )
    verdict = verdict_on(PartAnswer(name=name, defective=False, views=placed), recipe)
    return verdict.outcome, verdict.rejected_by


class _Trained:
    """The trained network behind the station's preparation and decoder."""

    def __init__(self, trained: Trained, bundle: Bundle) -> None:
        self._trained = trained
        self._card = bundle.card
        self._placing = Placing(bundle)
        self._decoder = decoder_for(bundle.card)

    def look(self, picture: np.ndarray, reference: np.ndarray | None) -> Look:
        """What it finds on one picture."""
        into = self._card.input
        shape = (into.height_px, into.width_px) + ((3,) if into.channels == 3 else ())
        shown = np.zeros(shape, np.uint8)
        view = View(camera=0, pixels=picture, reference=reference)
        place = self._placing.put(view, into.channels, shown)
        planes = shown[None] if into.channels == 1 else shown.transpose(2, 0, 1)
        table = np.asarray(self._trained(planes[None].astype(np.float32) / np.float32(255)), np.float32)
        dimensions = {"boxes_n6": 2, "maps_nchw": 3, "scores_nc": 1}[self._card.output.kind]
        if table.ndim == dimensions + 1:
            table = table[0]
        findings = self._decoder.decode(table, place, view)
        return Look(findings=findings, table=table, place=place, kind=self._card.output.kind)
