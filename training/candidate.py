# SPDX-License-Identifier: AGPL-3.0-or-later
"""From an exported network to a signed candidate bundle, with score limits and figures in its card.

Score limits are chosen on validation data only (for rendered parts: seeds of their own). Then, once, the test
data are shown. The limit of detectability is the renderer's constant: it stood before anything was evaluated.
Nothing of the clock, of durations or of paths goes into a bundle: the same seed, data and machine make the same
bytes. Those facts stand in the job's record.
"""

from __future__ import annotations

import datetime
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.labels import LabelledSet
from inspection.twin.renderer import DETECTABILITY_LIMIT, SIZE_RANGE_PX
from inspection.types import StationFault
from training.answers import Answers, Question, answer_coco, answer_rendered, questions_of
from training.engine import unsigned_bundle
from training.figures import figures
from training.parity import Trained, prove_parity
from training.part_level import recipe_from_limits
from training.protocols import protocol_named
from training.recipe import TrainingRecipe
from training.rendered import CHOICE_SEEDS, TEST_SEEDS
from training.sets import Given, as_taught, taught_classes
from training.statistics import best_f_limit, choose_limits
from weights.bundle import Bundle
from weights.card import Card, parse_card

CHOICE_FIRST = CHOICE_SEEDS.start + 500_000  # seeds that the fit's own validation never draws
FLOOR_SCORE = 0.05
PARITY_PICTURES = 200
_HEADLINES = (
    "pictures",
    "map50",
    "map50_95",
    "map_protocol",
    "f_protocol",
    "auroc",
    "trivial_auroc",
    "aupro",
    "pixel_f1",
    "part",
    "limits",
)
"""What a card says of an evaluation; the whole of it is in the bundle's report."""
_ABOUT = {
    "name",
    "version",
    "licence",
    "summary",
    "intended_use",
    "views",
    "health",
    "data",
    "escape_target",
    "overkill_target",
    "protocol",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedTest:
    """How many rendered parts a candidate is asked about. `offset`: raise it when a test has been seen."""

    parts: int = 2000
    choice_parts: int = 1000
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Everything a bundle is written from."""

    model: bytes
    card: dict[str, Any]
    recipe: dict[str, Any]
    report: dict[str, Any]


def read_about(path: Path | None) -> dict[str, Any]:
    """What a person has to say of the bundle; nothing when there is no file."""
    if path is None:
        return {}
    try:
        about = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StationFault(f"{path}: cannot be read as TOML ({error})") from None
    unknown = sorted(set(about) - _ABOUT)
    if unknown:
        raise StationFault(f"{path}: unknown key {unknown[0]!r}; allowed are {', '.join(sorted(_ABOUT))}")
    return about


def created_utc() -> str:
    """Empty, or the instant that $SOURCE_DATE_EPOCH names: a clock would make each bundle another."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch.isdigit():
        return ""
    return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).isoformat(timespec="seconds")


def card_content(
    recipe: TrainingRecipe,
    classes: tuple[str, ...],
    about: Mapping[str, Any],
    data: Mapping[str, Any],
    pedigree: Mapping[str, Any],
) -> dict[str, Any]:
    """The card without its figures. `data`: described sets; `pedigree`: seed, versions, parity."""
    train = data["train"]
    what = {"detect": "boxes", "segment": "pixel maps", "classify": "whole-picture classes"}[recipe.task]
    content: dict[str, Any] = {
        "name": about.get("name", f"{recipe.name}-{train['sha256'][:8]}"),
        "version": about.get("version", "1"),
        "created_utc": created_utc(),
        "licence": about.get(
            "licence",
            f"Not stated: that of the pictures{_and_of(pedigree)} decides. Code: ultralytics, AGPL-3.0.",
        ),
        "summary": about.get(
            "summary",
            f"Tells {', '.join(classes)} as {what}; {train['pictures']} pictures, recipe {recipe.name}.",
        ),
        "intended_use": about.get(
            "intended_use",
            "The product and the camera that the training pictures show, and nothing else; a candidate until a "
            "named person promotes it.",
        ),
        "task": recipe.task,
        "prepare": recipe.prepare,
        "input": {"width_px": recipe.input_px, "height_px": recipe.input_px, "channels": recipe.channels},
        "output": {"kind": recipe.output_kind},
        "classes": list(classes),
        "floor_score": FLOOR_SCORE,
        "data": {**about.get("data", {}), **data},
        "training": {
            "recipe": recipe.name,
            "network": recipe.network,
            "policy": recipe.policy,
            "settings": recipe.ultralytics,
            "heads": recipe.heads,
            "weights": recipe.weights,
            **pedigree,
        },
    }
    return content


def _and_of(pedigree: Mapping[str, Any]) -> str:
    backbone = pedigree.get("backbone")
    return "" if backbone is None else f" and of the backbone {backbone['name']}"


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


def _pixel_limits(chosen: Answers, classes: list[str]) -> dict[str, float] | None:
    """The value above which a pixel counts as defect, by the best F1 of the pictures that choose."""
    best = None if chosen.pixels is None else chosen.pixels.any_defect.best_f1()
    return None if best is None else dict.fromkeys(classes, round(float(best[1]), 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """The exported network under its card, not yet signed, and what it is asked about."""

    recipe: TrainingRecipe
    given: Given
    model: bytes
    card: Card
    source: Path
    rendered: RenderedTest
    threads: int

    def bundle(self) -> Bundle:
        """What the station would be given."""
        return unsigned_bundle(self.model, self.card, self.source)

    def golden(self) -> list[Question]:
        """Validation pictures on which trained network and engine must agree; defective ones first."""
        return sorted(questions_of(self.given.val), key=lambda question: question.good)[:PARITY_PICTURES]

    def choice(self) -> Answers:
        """Answers to the pictures that choose the limits."""
        if self.given.rendered:
            return self._drawn(range(CHOICE_FIRST, CHOICE_FIRST + 4), self.rendered.choice_parts, 0.4)
        return self._shown(self.given.val)

    def test(self) -> tuple[Answers, str] | None:
        """Answers to the test pictures and what those are, where there are any."""
        if self.given.rendered:
            first, parts = TEST_SEEDS.start + self.rendered.offset, self.rendered.parts
            seeds = range(first, first + 5)
            named = f"rendered, seeds {seeds.start}..{seeds.stop - 1}, {parts} parts each, 2 views"
            return self._drawn(seeds, parts, 0.2), named
        if self.given.test is None:
            return None
        return self._shown(self.given.test), self.given.test.source.name

    def _shown(self, pictures: LabelledSet) -> Answers:
        shown = as_taught(self.recipe, pictures, taught_classes(self.recipe, self.given.train))
        return answer_coco(self.bundle(), shown, threads=self.threads)

    def _drawn(self, seeds: range, parts: int, share: float) -> Answers:
        return answer_rendered(
            self.bundle(),
            seeds,
            parts=parts,
            views=2,
            limit=DETECTABILITY_LIMIT,
            defective_share=share,
            threads=self.threads,
        )


def make(
    recipe: TrainingRecipe,
    given: Given,
    model: bytes,
    content: dict[str, Any],
    about: Mapping[str, Any],
    *,
    source: Path,
    rendered: RenderedTest,
    trained: Trained,
    threads: int,
    tell: Callable[[str], None],
) -> Made:
    """Choose limits on the validation data, prove parity there, then show the test data once.

    Returns what a bundle is made of. `trained`: the network as it was trained; `tell` hears the names of the
    stages. Raises StationFault when one verdict of the engine is not the trained network's.
    """
    if given.rendered:
        content["detectability"] = {
            "limit": DETECTABILITY_LIMIT,
            "meaning": "matched-filter SNR of a part's most visible defect: sqrt(sum(difference^2)) over the "
            "RMS of sensor noise and texture around it; fixed before evaluation",
            "sizes_px": list(SIZE_RANGE_PX),
        }
    card = parse_card(json.dumps(content).encode(), "the candidate's card")
    classes = list(card.classes)
    tell("limits")
    asking = _Asking(
        recipe=recipe,
        given=given,
        model=model,
        card=card,
        source=source,
        rendered=rendered,
        threads=threads,
    )
    chosen = asking.choice()
    limits = choose_limits(
        chosen.parts,
        classes,
        escape_target=about.get("escape_target", recipe.escape_target),
        overkill_target=about.get("overkill_target", recipe.overkill_target),
        floor=FLOOR_SCORE,
    )
    named = about.get("protocol", recipe.protocol)
    protocol = protocol_named(named) if named else None
    f_limit = best_f_limit(chosen.found, chosen.truth, protocol.iou) if protocol else None
    pixel_limits = _pixel_limits(chosen, classes)
    settings: dict[str, Any] = {"protocol": protocol, "f_limit": f_limit, "pixel_limits": pixel_limits}
    report: dict[str, Any] = {"choice": figures(chosen, classes, limits, **settings)}
    tell("parity")
    proof = prove_parity(trained, asking.bundle(), recipe_from_limits(limits), asking.golden(), threads=threads)
    content["training"]["parity"] = {**content["training"]["parity"], "verdicts": proof}
    tell("test")
    tested = asking.test()
    if tested is not None:
        answers, shown = tested
        report["test"] = figures(answers, classes, limits, **settings) | {"source": shown}
    content["metrics"] = {
        "f_score_limit": f_limit,
        "pixel_limits": pixel_limits,
        **{on: {key: every[key] for key in _HEADLINES} for on, every in report.items()},
    }
    views = about.get("views", recipe.views)
    return Made(
        model=model,
        card=content,
        recipe=suggested_recipe(content["name"], limits, views, about.get("health", {})),
        report=report,
    )
