# SPDX-License-Identifier: AGPL-3.0-or-later
"""A recipe that promises what the model cannot keep is refused before the first part."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from inspection.config import StationConfig, load_config
from inspection.detectors.base import DetectorInfo
from inspection.inspector import build_detector, check_recipe
from inspection.recipe import Limit, Recipe, ViewRecipe
from inspection.rules import ViewResult, judge
from inspection.types import Box, Finding, Outcome, StationFault
from tests.bundles.tiny_models import card_dict, difference_model
from tests.inspector.line_stub import write_station
from weights.bundle import write_bundle
from weights.signing import station_key

INFO = DetectorInfo(
    name="bracket-3",
    runtime="scripted",
    input_width_px=64,
    input_height_px=64,
    classes=("pit", "dust"),
    floor_score=0.05,
    bundle_sha256="b" * 64,
    max_batch=1,
    parallel=1,
    threads=1,
)


@pytest.fixture
def config(tmp_path: Path) -> StationConfig:
    return load_config(write_station(tmp_path, cameras=1))


def recipe(default: Limit | None = None, **classes: Limit) -> Recipe:
    return Recipe(
        name="r", version=1, id=1, views=(ViewRecipe(name="top"),), classes=classes, default_limit=default
    )


@pytest.mark.parametrize(
    "good",
    [
        recipe(pit=Limit(min_score=0.05), dust=Limit(min_score=0.3)),
        recipe(Limit(min_score=0.05)),
        recipe(Limit(min_score=0.2), pit=Limit(min_score=0.1)),
        recipe(pit=Limit(), dust=Limit(ignore=True, min_score=0.0)),
    ],
)
def test_a_recipe_that_says_what_becomes_of_every_class_is_taken(config: StationConfig, good: Recipe) -> None:
    check_recipe(config, good, INFO)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (recipe(pit=Limit(min_score=0.0499), dust=Limit()), ("'pit'", "0.0499", "floor_score 0.05", "raise")),
        (recipe(Limit(min_score=0.01)), ("'default_limit'", "0.01", "floor_score 0.05", "raise min_score")),
        (recipe(Limit(), pitt=Limit()), ("'pitt'", "bracket-3", "pit, dust", "correct the name")),
        (recipe(pit=Limit()), ("no rule for the class 'dust'", "ignore", "default_limit")),
    ],
)
def test_a_recipe_that_lets_something_pass_in_silence_is_refused(
    config: StationConfig, bad: Recipe, words: tuple[str, ...]
) -> None:
    with pytest.raises(StationFault) as caught:
        check_recipe(config, bad, INFO)
    text = str(caught.value)
    assert str(config.station.recipe) in text
    assert "\n" not in text
    for word in words:
        assert word in text


def test_an_ignored_class_never_counts_and_the_others_do() -> None:
    box = Box(x0_px=0, y0_px=0, x1_px=9, y1_px=9)

    def outcome(name: str) -> Outcome:
        found = Finding(defect_class=name, score=0.99, box=box, camera=0)
        rules = recipe(pit=Limit(), dust=Limit(ignore=True))
        return judge([ViewResult(camera=0, findings=(found,))], rules).outcome

    assert (outcome("dust"), outcome("pit")) == (Outcome.PASS, Outcome.REJECT)


@pytest.mark.parametrize(
    ("cameras", "reference", "says"), [(1, False, "holds none"), (2, True, "2 cameras"), (1, True, None)]
)
def test_a_model_that_compares_must_bring_what_it_compares_with(
    tmp_path: Path, cameras: int, reference: bool, says: str | None
) -> None:
    config = load_config(write_station(tmp_path, cameras=cameras, engine='kind = "openvino"'))
    card = card_dict(channels=3) | {
        "task": "anomaly",
        "classes": ["difference"],
        "output": {"kind": "maps_nchw"},
        "prepare": [{"kind": "reference"}],
    }
    golden = cv2.imencode(".png", np.zeros((32, 32), np.uint8))[1].tobytes() if reference else None
    write_bundle(
        tmp_path / "b",
        model=difference_model(),
        card=card,
        key=station_key(config.key_dir),
        reference=golden,
    )
    if says is None:
        build_detector(config, tmp_path / "b").close()
    else:
        with pytest.raises(StationFault, match=says):
            build_detector(config, tmp_path / "b")
