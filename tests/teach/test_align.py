# SPDX-License-Identifier: AGPL-3.0-or-later
"""A long part is laid down alike wherever it lies; pictures of many sizes keep their scale; boxes come back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.labels import Picture
from inspection.align import Align, Canvas, Stretch, find_part
from inspection.detectors.decode import cells_of
from inspection.pixels import Letterbox
from inspection.prepare import Placement, prepare
from training.anomaly.preparing import choose_preparation, scale_for

ALIGN = Align(
    darker=True,
    length_px=160,
    across_px=60,
    lead_px=10,
    width_px=320,
    height_px=120,
    fill=200,
    grow_px=4,
    area_px=(1000, 9000),
)


def bolt(angle: float, centre: tuple[float, float], *, dark: int = 60, dot: bool = False) -> np.ndarray:
    """A bolt 140 px long, its head 36 px wide, on a light table with a shadow."""
    flat = np.full((256, 256), 200, np.uint8)
    cv2.rectangle(flat, (58, 120), (198, 136), dark, -1)
    cv2.rectangle(flat, (58, 110), (76, 146), dark, -1)
    if dot:
        cv2.circle(flat, (150, 128), 4, 180, -1)
    turn = cv2.getRotationMatrix2D((128, 128), angle, 1.0)
    turn[:, 2] += np.array(centre) - 128
    return cv2.warpAffine(flat, turn, (256, 256), borderMode=cv2.BORDER_CONSTANT, borderValue=200)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 360), st.floats(-15, 15), st.floats(-15, 15))
def test_a_part_lies_the_same_way_however_it_came(angle: float, right: float, down: float):
    straight = prepare(bolt(0, (128, 128)), (ALIGN,)).pixels
    laid = prepare(bolt(angle, (128 + right, 128 + down)), (ALIGN,)).pixels
    away = np.abs(straight.astype(int) - laid.astype(int))
    assert (away > 60).mean() < 0.03  # a pixel of blur along the outline
    assert laid[60, 30] < 90  # the head lies to the left


def test_a_place_on_the_laid_part_is_found_again_in_the_picture():
    seen = bolt(137, (120, 135), dot=True)
    plain = bolt(137, (120, 135))
    prepared = prepare(seen, (ALIGN,))
    spot = np.abs(prepared.pixels.astype(int) - prepare(plain, (ALIGN,)).pixels)
    y, x = np.unravel_index(spot.argmax(), spot.shape)
    back = prepared.back @ np.array([x, y, 1.0])
    truth = np.abs(seen.astype(int) - plain)
    ty, tx = np.unravel_index(truth.argmax(), truth.shape)
    assert np.hypot(back[0] - tx, back[1] - ty) < 6


def test_a_hair_on_the_table_is_painted_over_and_a_mark_on_the_part_is_not():
    seen = bolt(20, (128, 128))
    cv2.line(seen, (20, 20), (70, 40), 90, 2)
    clean = prepare(bolt(20, (128, 128)), (ALIGN,)).pixels
    assert np.abs(prepare(seen, (ALIGN,)).pixels.astype(int) - clean).max() < 12
    marked = prepare(bolt(20, (128, 128), dot=True), (ALIGN,)).pixels
    assert np.abs(marked.astype(int) - clean).max() > 60


def test_no_part_or_half_a_part_is_never_guessed_at():
    with pytest.raises(ValueError, match=r"stands out|covers"):
        prepare(np.full((256, 256), 200, np.uint8), (ALIGN,))
    half = bolt(0, (128, 128))
    half[:, 70:] = 200
    with pytest.raises(ValueError, match="covers"):
        prepare(half, (ALIGN,))


def test_the_wide_end_leads():
    part = find_part(bolt(90, (128, 128)), darker=True)
    assert part.axis[1] < -0.99  # turned by 90 degrees the head is below, and the axis leads from it upwards
    assert part.ends[0] > 1.5 * part.ends[1]


def test_a_canvas_keeps_the_scale_and_tells_which_cells_show_the_part():
    step = Canvas(width_px=128, height_px=96)
    small = np.random.default_rng(0).integers(0, 255, (50, 70), np.uint8)
    prepared = prepare(small, (step,))
    assert np.array_equal(prepared.pixels[:50, :70], small)
    box = Letterbox(source_width_px=128, source_height_px=96, width_px=128, height_px=96)
    place = Placement(box=box, back=prepared.back, source_px=(70, 50))
    assert cells_of(place, (12, 16)) == (slice(0, 7), slice(0, 9))
    assert place.to_source((64, 40, 100, 90)) == pytest.approx((64, 40, 70, 50))
    large = prepare(np.zeros((192, 200), np.uint8), (step,))
    assert large.pixels.shape == (96, 128)
    assert large.back[0, 0] == pytest.approx(2.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.floats(0, 0.8), st.floats(0, 0.8))
def test_a_stretched_picture_fills_its_size_and_boxes_come_back(wide: int, high: int, left: float, top: float):
    prepared = prepare(np.zeros((high, wide), np.uint8), (Stretch(width_px=128, height_px=96),))
    assert prepared.pixels.shape == (96, 128)
    box = Letterbox(source_width_px=128, source_height_px=96, width_px=128, height_px=96)
    place = Placement(box=box, back=prepared.back, source_px=(wide, high))
    assert cells_of(place, (12, 16)) == (slice(0, 12), slice(0, 16))
    there = (left * 128, top * 96, (left + 0.2) * 128, (top + 0.2) * 96)
    expected = (left * wide, top * high, (left + 0.2) * wide, (top + 0.2) * high)
    assert place.to_source(there) == pytest.approx(expected, abs=0.01)


def _saved(folder: Path, pictures: list[np.ndarray]) -> list[Picture]:
    made = []
    for number, pixels in enumerate(pictures):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels)
        size = {"width_px": pixels.shape[1], "height_px": pixels.shape[0]}
        made.append(Picture(name=path.name, path=path, image_class="good", **size))
    return made


def test_the_rule_chooses_by_what_the_good_pictures_show(tmp_path: Path):
    rng = np.random.default_rng(1)
    turned = [bolt(float(rng.uniform(0, 360)), (128, 128)) for _ in range(12)]
    straight = [bolt(0, (128 + n % 3, 128)) for n in range(12)]
    sizes = [rng.integers(80, 160, (int(h), int(w)), np.uint8) for h, w in rng.integers(90, 200, (12, 2))]
    kinds = []
    for name, pictures in (("turned", turned), ("straight", straight), ("sizes", sizes)):
        (tmp_path / name).mkdir()
        chosen = choose_preparation(_saved(tmp_path / name, pictures))
        kinds.append([step.kind for step in chosen.steps])
        assert chosen.width_px % 32 == chosen.height_px % 32 == 0
    assert kinds == [["gain", "align"], ["gain"], ["gain", "canvas"]]


def test_scale_enlarges_small_pictures_and_shrinks_large_ones_only():
    assert scale_for(256, 256) == pytest.approx(416 / 256)
    assert scale_for(100, 100) == 2.0
    assert scale_for(500, 500) == 1.0
    assert scale_for(2048, 2048) == pytest.approx(np.sqrt(2) * 416 / 2048)
