# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far light, focus, place and storage may drift before a bundle no longer keeps its bound on escapes.

The same parts are asked about again with one thing made worse, level by level. The promise is the clean run's
own one-sided 95 % bound on escapes. It breaks at the first level where the share of escapes that is *counted*
exceeds it: there the sample itself speaks against the promise. The same is said of overkill.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from inspection.recipe import Recipe
from training.answers import Question, Spoil, answer
from training.part_level import part_figures
from weights.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One thing that gets worse, from low levels to high ones. `spoil(picture, level)`: uint8 in and out."""

    name: str
    unit: str
    levels: tuple[float, ...]
    spoil: Callable[[np.ndarray, float], np.ndarray]


def _darker(picture: np.ndarray, percent: float) -> np.ndarray:
    return cv2.convertScaleAbs(picture, alpha=1 - percent / 100)


def _brighter(picture: np.ndarray, percent: float) -> np.ndarray:
    return cv2.convertScaleAbs(picture, alpha=1 + percent / 100)


def _blur(picture: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), sigma_px)


def _noise(picture: np.ndarray, sigma: float) -> np.ndarray:
    # seeded by the picture itself: the same picture gets the same noise in every run
    chance = np.random.default_rng(zlib.crc32(np.ascontiguousarray(picture).tobytes()))
    return np.clip(picture + chance.normal(0, sigma, picture.shape), 0, 255).round().astype(np.uint8)


def _moved(picture: np.ndarray, move: np.ndarray) -> np.ndarray:
    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(picture, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _shift(picture: np.ndarray, distance_px: float) -> np.ndarray:
    return _moved(picture, np.array([[1, 0, distance_px], [0, 1, distance_px]], np.float64))


def _rotation(picture: np.ndarray, degrees: float) -> np.ndarray:
    middle = (picture.shape[1] / 2, picture.shape[0] / 2)
    return _moved(picture, cv2.getRotationMatrix2D(middle, degrees, 1.0))


def _jpeg(picture: np.ndarray, lost: float) -> np.ndarray:
    flag = cv2.IMREAD_GRAYSCALE if picture.ndim == 2 else cv2.IMREAD_COLOR
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(100 - lost)])
    back = cv2.imdecode(coded, flag)
    assert back is not None  # noqa: S101 - written just now
    return back


DRIFTS = (
    Drift(name="darker", unit="% less light", levels=(5, 10, 20, 30, 50), spoil=_darker),
    Drift(name="brighter", unit="% more light", levels=(5, 10, 20, 30, 50), spoil=_brighter),
    Drift(name="blur", unit="px sigma", levels=(0.5, 1, 1.5, 2, 3), spoil=_blur),
    Drift(name="noise", unit="grey levels sigma", levels=(2, 4, 8, 12, 20), spoil=_noise),
    Drift(name="shift", unit="px right and down", levels=(1, 2, 5, 10, 20), spoil=_shift),
    Drift(name="rotation", unit="degrees", levels=(0.5, 1, 2, 5, 10), spoil=_rotation),
    Drift(name="jpeg", unit="100 less quality", levels=(5, 15, 30, 50, 70), spoil=_jpeg),
)


def some_parts(questions: Sequence[Question], parts: int) -> list[Question]:
    """Questions of at most `parts` parts, half of them defective where there are so many, in their order."""
    good_of: dict[str, bool] = {}
    for question in questions:
        good_of[question.part] = good_of.get(question.part, True) and question.good
    if not parts or len(good_of) <= parts:
        return list(questions)
    bad = [name for name, good in good_of.items() if not good]
    good = [name for name, fine in good_of.items() if fine]
    share = min(len(bad), max(parts // 2, parts - len(good)))
    chosen = {*_spread(bad, share), *_spread(good, parts - share)}
    return [question for question in questions if question.part in chosen]


def _spread(names: Sequence[str], count: int) -> list[str]:
    """`count` of them, evenly over the list."""
    return [names[i * len(names) // count] for i in range(count)] if count else []


def card_of_robustness(
    bundle: Bundle,
    recipe: Recipe,
    questions: Sequence[Question],
    *,
    threads: int = 1,
    parts: int = 200,
    drifts: Sequence[Drift] = DRIFTS,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(by drift: every level, and where the promises break, null for none tried; what all of it rests on)."""
    chosen = some_parts(questions, parts)

    def counted(spoil: Spoil) -> dict[str, Any]:
        found = part_figures(answer(bundle, chosen, threads=threads, spoil=spoil).parts, recipe)
        keys = ("defective", "escapes", "escape_upper_95", "good", "overkill", "overkill_upper_95")
        return {key: found[key] for key in keys}

    clean = counted(lambda picture: picture)
    table: dict[str, Any] = {}
    for drift in drifts:
        rows = [
            {"level": level, **counted(lambda picture, d=drift, x=level: d.spoil(picture, x))}
            for level in drift.levels
        ]
        table[drift.name] = {
            "unit": drift.unit,
            "levels": rows,
            "breaks_at": _breaks(rows, "escapes", "defective", clean["escape_upper_95"]),
            "overkill_breaks_at": _breaks(rows, "overkill", "good", clean["overkill_upper_95"]),
        }
    run = {
        "parts": len({question.part for question in chosen}),
        "clean": clean,
        "rule": "breaks: more was counted than the clean run's one-sided 95 % bound allows",
    }
    return table, run


def _breaks(rows: Sequence[dict[str, Any]], events: str, of: str, promise: float) -> float | None:
    return next((row["level"] for row in rows if row[of] and row[events] / row[of] > promise), None)
