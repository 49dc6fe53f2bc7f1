# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pixels in, boxes back: the letterbox round trip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.pixels import PAD_GREY, Letterbox, with_channels

sizes = st.integers(8, 700)


@given(sizes, sizes, st.integers(32, 640), st.integers(32, 640), st.data())
@settings(max_examples=120, deadline=None)
def test_a_box_comes_back_from_the_input_to_the_same_place(
    w: int, h: int, to_w: int, to_h: int, data: st.DataObject
):
    frame = Letterbox(source_width_px=w, source_height_px=h, width_px=to_w, height_px=to_h)
    x = sorted(data.draw(st.lists(st.floats(0, w), min_size=2, max_size=2)))
    y = sorted(data.draw(st.lists(st.floats(0, h), min_size=2, max_size=2)))
    box = np.array([[x[0], y[0], x[1], y[1]]])
    inside = frame.to_input(box)
    assert inside[0, 0] >= -1e-6
    assert inside[0, 2] <= to_w + 1e-6
    assert np.allclose(frame.to_source(tuple(inside[0])), box[0], atol=1e-6)


@given(sizes, sizes)
@settings(max_examples=30, deadline=None)
def test_the_picture_lies_where_the_boxes_say_and_the_rest_is_padding(w: int, h: int):
    frame = Letterbox(source_width_px=w, source_height_px=h, width_px=160, height_px=160)
    out = frame.apply(np.full((h, w), 200, np.uint8))
    x0, y0, x1, y1 = (round(v) for v in frame.to_input(np.array([[0, 0, w, h]]))[0])
    assert (out[y0:y1, x0:x1] == 200).all()
    mask = np.ones(out.shape, bool)
    mask[y0:y1, x0:x1] = False
    assert (out[mask] == PAD_GREY).all()


def test_equal_sizes_are_copied_untouched_and_boxes_beyond_the_border_are_clipped():
    frame = Letterbox(source_width_px=64, source_height_px=48, width_px=64, height_px=48)
    picture = np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8)
    out = np.empty_like(picture)
    assert frame.apply(picture, out) is out
    assert np.array_equal(out, picture)
    assert frame.to_source((-5, 1, 70, 99)) == (0, 1, 64, 48)


def test_shrinking_keeps_a_thin_line_visible():
    picture = np.zeros((640, 640), np.uint8)
    picture[:, 301] = 255
    frame = Letterbox(source_width_px=640, source_height_px=640, width_px=160, height_px=160)
    assert frame.apply(picture)[80].max() >= 50  # plain linear sampling by 4 would lose it in most columns


def test_a_picture_of_another_size_is_refused():
    frame = Letterbox(source_width_px=64, source_height_px=48, width_px=32, height_px=32)
    with pytest.raises(ValueError, match="64x48"):
        frame.apply(np.zeros((64, 48), np.uint8))
    with pytest.raises(ValueError, match="output"):
        frame.apply(np.zeros((48, 64), np.uint8), np.zeros((32, 32), np.float32))


def test_a_picture_gets_the_channels_that_the_network_takes():
    grey = np.full((4, 6), 255, np.uint8)
    colour = with_channels(grey, 3)
    assert colour.shape == (4, 6, 3)
    assert with_channels(colour, 1).shape == (4, 6)
    with pytest.raises(ValueError, match="1 or 3"):
        with_channels(grey, 4)
