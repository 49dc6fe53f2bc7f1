# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a network's rows to findings: nonsense is a fault, and boxes land on the camera's pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.detectors.base import EngineFault, View
from inspection.detectors.decode import RowDecoder
from inspection.pixels import Letterbox
from inspection.types import Reason

DECODER = RowDecoder(classes=("a", "b"), floor_score=0.1)
SAME = Letterbox(source_width_px=64, source_height_px=64, width_px=64, height_px=64)
VIEW = View(camera=0, pixels=np.zeros((64, 64), np.uint8))
GOOD = [1.0, 2.0, 11.0, 12.0, 0.9, 1.0]


def rows(*changes: dict[int, float]) -> np.ndarray:
    table = np.array([GOOD for _ in changes], np.float32)
    for i, change in enumerate(changes):
        for column, value in change.items():
            table[i, column] = value
    return table


@pytest.mark.parametrize(
    "change",
    [
        {0: float("nan")},
        {4: float("inf")},
        {4: float("nan")},
        {4: 1.5},
        {4: -0.5},
        {5: 2},
        {5: -1},
        {5: 0.5},
        {0: 20},  # x0 beyond x1
        {3: 2},  # no height
        {2: 1e6},
        {0: 70, 2: 80},  # wholly outside, where there is no padding
    ],
)
def test_nonsense_is_a_fault(change: dict[int, float]) -> None:
    with pytest.raises(EngineFault) as e:
        DECODER.decode(rows({}, change), SAME, VIEW)
    assert e.value.reason is Reason.ENGINE_FAULT


@pytest.mark.parametrize("table", [rows({0: float("inf")}, {0: float("-inf")}), rows({}, {2: 3e38}, {3: 3e38})])
def test_infinities_that_cancel_and_numbers_that_overflow_are_faults(table: np.ndarray) -> None:
    with pytest.raises(EngineFault, match=r"not finite|far outside"):
        DECODER.decode(table, SAME, VIEW)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("column", range(6))
def test_nonsense_far_below_the_floor_still_says_that_the_network_is_ill(column: int, number: float) -> None:
    with pytest.raises(EngineFault, match="not finite"):
        DECODER.decode(rows({}, {4: 0.01, column: number}), SAME, VIEW)


def test_findings_come_best_first_and_equals_in_the_order_of_the_network() -> None:
    table = rows({4: 0.3, 5: 0}, {4: 0.9}, {4: 0.02}, {4: 0.3, 5: 1}, {4: 1.0005})
    found = DECODER.decode(table, SAME, VIEW)
    assert [(f.score, f.defect_class) for f in found] == [
        (1.0, "b"),
        (pytest.approx(0.9), "b"),
        (pytest.approx(0.3), "a"),
        (pytest.approx(0.3), "b"),
    ]


def test_a_score_that_is_the_floor_in_the_precision_of_the_network_is_a_finding() -> None:
    decoder = RowDecoder(classes=("a", "b"), floor_score=0.7)  # float32(0.7) lies a hair below 0.7
    assert len(decoder.decode(rows({4: 0.7}), SAME, VIEW)) == 1


@pytest.mark.parametrize("shape", [(6,), (3, 5), (1, 3, 6), (0,)])
def test_a_table_of_another_shape_is_a_fault(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineFault, match="shape"):
        DECODER.decode(np.zeros(shape, np.float32), SAME, VIEW)


def test_rows_below_the_floor_are_no_findings() -> None:
    assert DECODER.decode(rows({4: 0.05}), SAME, VIEW) == ()
    assert DECODER.decode(np.zeros((0, 6), np.float32), SAME, VIEW) == ()
    assert len(DECODER.decode(rows({4: 0.05}, {}), SAME, VIEW)) == 1


def test_overshoot_is_clipped_to_the_picture() -> None:
    (found,) = DECODER.decode(rows({0: -3, 1: -2, 2: 70, 3: 66}), SAME, VIEW)
    assert (found.box.x0_px, found.box.y0_px, found.box.x1_px, found.box.y1_px) == (0, 0, 64, 64)


def test_a_box_in_the_padding_shows_nothing_of_the_part() -> None:
    wide = Letterbox(source_width_px=64, source_height_px=16, width_px=64, height_px=64)
    assert DECODER.decode(rows({1: 2, 3: 12}), wide, VIEW) == ()


@given(
    x=st.floats(0, 50),
    y=st.floats(0, 30),
    w=st.floats(1, 40),
    h=st.floats(1, 20),
    offset_x=st.integers(0, 500),
    source=st.sampled_from([(64, 64), (128, 96), (50, 90), (640, 480)]),
)
def test_box_survives_the_way_into_the_network_and_back(
    *, x: float, y: float, w: float, h: float, offset_x: int, source: tuple[int, int]
) -> None:
    box = Letterbox(source_width_px=source[0], source_height_px=source[1], width_px=64, height_px=64)
    x0, y0 = x * source[0] / 100, y * source[1] / 100
    x1, y1 = min(source[0], x0 + w * source[0] / 100), min(source[1], y0 + h * source[1] / 100)
    inside = box.to_input(np.array([[x0, y0, x1, y1]]))
    table = np.array([[*inside[0], 0.5, 0]], np.float32)
    view = View(camera=0, pixels=np.zeros((1, 1), np.uint8), x_px=offset_x)
    (found,) = DECODER.decode(table, box, view)
    got = (found.box.x0_px, found.box.y0_px, found.box.x1_px, found.box.y1_px)
    assert got == pytest.approx((x0 + offset_x, y0, x1 + offset_x, y1), abs=1e-2)
