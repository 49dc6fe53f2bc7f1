# SPDX-License-Identifier: AGPL-3.0-or-later
"""Planted normalisation bugs are stopped by parity, in the model or in the card; a true export passes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from inspection.recipe import Recipe
from inspection.types import StationFault
from tests.training.toys import CELL, SIDE, brightness_map, card
from training.answers import Question
from training.engine import unsigned_bundle
from training.parity import compare, prove_parity
from training.part_level import recipe_from_limits
from weights.bundle import Bundle
from weights.card import parse_card

RECIPE: Recipe = recipe_from_limits({"anomaly": 0.6})


def trained(images: np.ndarray) -> np.ndarray:
    """The network that was trained: brightness of the red plane, in numpy."""
    red = images[:, :1].reshape(1, 1, SIDE // CELL, CELL, SIDE // CELL, CELL)
    return np.clip(red.mean(axis=(3, 5)), 0, 1)


def exported(model: bytes, tmp_path: Any, **changes: Any) -> Bundle:
    channels = {"name": "images", "width_px": SIDE, "height_px": SIDE, "channels": 3, **changes}
    about = parse_card(json.dumps(card(input=channels)).encode(), "toy")
    return unsigned_bundle(model, about, tmp_path)


def golden(count: int = 12) -> list[Question]:
    """Red squares on blue ground, some as clear as can be, some near the limit."""

    def picture(number: int) -> np.ndarray:
        chance = np.random.default_rng(number)
        canvas = np.clip(chance.normal((40, 60, 120), 4, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        if number % 2:
            canvas[20:36, 12:28] = (140 + 8 * number, 40, 60)
        return canvas

    return [
        Question(
            name=f"{number}.png",
            part=f"part {number}",
            good=not number % 2,
            read=lambda _channels, number=number: (picture(number), None),
        )
        for number in range(count)
    ]


def test_a_true_export_passes_without_a_flip(tmp_path: Any):
    figures = prove_parity(trained, exported(brightness_map(order=(0, 1, 2)), tmp_path), RECIPE, golden())
    assert (figures["pictures"], figures["verdict_flips"]) == (12, 0)
    assert figures["engine_score_difference"] < 1e-4


PLANTED = {
    "scale left out": (brightness_map(order=(0, 1, 2)), {"scale": 1.0}),
    "scale of another range": (brightness_map(order=(0, 1, 2)), {"scale": 1 / 128}),
    "divided twice": (brightness_map(order=(0, 1, 2), gain=1 / 255), {}),
    "channels swapped": (brightness_map(order=(2, 1, 0)), {}),
    "mean subtracted": (brightness_map(order=(0, 1, 2), bias=-0.2), {}),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_normalisation_bug_leaves_no_candidate(bug: str, tmp_path: Any):
    model, changes = PLANTED[bug]
    with pytest.raises(StationFault, match="does not answer as the trained network does") as caught:
        prove_parity(trained, exported(model, tmp_path, **changes), RECIPE, golden())
    assert "there is no candidate" in str(caught.value)
    assert compare(trained, exported(model, tmp_path, **changes), RECIPE, golden())["verdict_flips"] > 0


def test_a_bug_too_small_to_flip_a_verdict_here_is_stopped_by_its_scores(tmp_path: Any):
    slightly = exported(brightness_map(order=(0, 1, 2), bias=0.004), tmp_path)
    assert compare(trained, slightly, RECIPE, golden())["verdict_flips"] == 0
    with pytest.raises(StationFault, match=r"scores differ by up to 0\.004"):
        prove_parity(trained, slightly, RECIPE, golden())


def test_a_verdict_for_another_reason_is_a_flip_too(tmp_path: Any):
    def other(images: np.ndarray) -> np.ndarray:
        return trained(images) * 0 + 0.9  # rejects everything

    figures = compare(other, exported(brightness_map(order=(0, 1, 2)), tmp_path), RECIPE, golden())
    assert figures["verdict_flips"] == 12 - sum((140 + 8 * n) / 255 >= 0.6 for n in range(1, 12, 2))


def test_no_golden_set_is_no_proof(tmp_path: Any):
    with pytest.raises(StationFault, match="no golden set"):
        prove_parity(trained, exported(brightness_map(order=(0, 1, 2)), tmp_path), RECIPE, [])
