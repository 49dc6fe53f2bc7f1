# SPDX-License-Identifier: AGPL-3.0-or-later
"""The interval of a mean average precision: COCO's own arithmetic, whole groups drawn."""

from __future__ import annotations

import numpy as np
import pytest

from inspection.types import Box
from training.coco_map import Averages, coco_map
from training.map_interval import LEAST_GROUPS, map50_interval, map50_of
from training.statistics import Scored

PICTURES, CLASSES = 24, 3


def judged(seed: int, *, alike: int = 1) -> Averages:
    """Drawn labels and findings, some wrong, some shifted; every `alike` pictures in a row are the same."""
    found, truth = [], []
    for picture in range(PICTURES):
        rng = np.random.default_rng([seed, picture // alike])
        for _ in range(int(rng.integers(0, 4))):
            x, y, kind = (int(v) for v in (*rng.integers(0, 200, 2), rng.integers(CLASSES)))
            truth.append(Scored(picture=picture, class_index=kind, box=_box(x, y), score=1.0))
            if rng.random() < 0.8:
                shift = int(rng.integers(0, 12))
                score = round(float(rng.random()), 2)
                found.append(Scored(picture=picture, class_index=kind, box=_box(x + shift, y), score=score))
        for _ in range(int(rng.integers(0, 3))):
            x, y, kind = (int(v) for v in (*rng.integers(300, 500, 2), rng.integers(CLASSES)))
            score = round(float(rng.random()) * 0.9, 2)
            found.append(Scored(picture=picture, class_index=kind, box=_box(x, y), score=score))
    return coco_map(found, truth, PICTURES, CLASSES)


def _box(x: int, y: int) -> Box:
    return Box(x0_px=x, y0_px=y, x1_px=x + 20, y1_px=y + 20)


@pytest.mark.parametrize("seed", range(8))
def test_with_every_picture_once_it_is_cocos_own_figure(seed: int):
    averages = judged(seed)
    assert map50_of(averages.matches, np.ones(PICTURES, np.int64)) == pytest.approx(averages.map50, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_that_counts_twice_is_a_picture_shown_twice(seed: int):
    once = judged(seed)
    weights = np.ones(PICTURES, np.int64)
    weights[:6] = 0
    without = map50_of(once.matches, weights)
    assert without is not None
    assert without == pytest.approx(map50_of(once.matches, 3 * weights), abs=0.02)  # ties fall together
    assert without != pytest.approx(once.map50, abs=1e-4)


def test_the_interval_holds_the_figure_and_is_the_same_each_time():
    averages = judged(1)
    groups = [f"part {n}" for n in range(PICTURES)]
    sure = map50_interval(averages.matches, groups)
    assert sure is not None
    assert sure.low < averages.map50 < sure.high
    assert sure == map50_interval(averages.matches, groups)
    assert sure.groups == PICTURES


def test_pictures_that_look_alike_count_as_one_group():
    averages = judged(2, alike=4)
    apart = map50_interval(averages.matches, [str(n) for n in range(PICTURES)])
    together = map50_interval(averages.matches, [str(n // 4) for n in range(PICTURES)])
    assert apart is not None
    assert together is not None
    assert together.high - together.low > 1.4 * (apart.high - apart.low)  # twice in theory: sqrt(4)


def test_from_fewer_groups_nothing_is_said():
    averages = judged(3)
    names = [str(n % (LEAST_GROUPS - 1)) for n in range(PICTURES)]
    assert map50_interval(averages.matches, names) is None
