# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pixels in, boxes back: the letterbox round trip, mosaics against a scene whose colours are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.pixels import PAD_GREY, Letterbox, boxes_of, demosaic, normalise, with_channels

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
    assert np.allclose(frame.to_source(inside), box, atol=1e-6)


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
    assert frame.to_source(np.array([[-5, 1, 70, 99]])).tolist() == [[0, 1, 64, 48]]


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


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("BayerRG8", "RGGB"), ("BayerGR8", "GRBG"), ("BayerGB8", "GBRG"), ("BayerBG8", "BGGR")],
)
def test_mosaics_give_back_the_colour_of_an_even_scene(name: str, pattern: str):
    colour = {"R": 200, "G": 120, "B": 40}
    tile = np.array(
        [[colour[pattern[0]], colour[pattern[1]]], [colour[pattern[2]], colour[pattern[3]]]], np.uint8
    )
    picture = demosaic(np.tile(tile, (16, 16)), name)
    assert picture.shape == (32, 32, 3)
    assert picture[8:24, 8:24].reshape(-1, 3).tolist() == [[200, 120, 40]] * 256


def test_deep_and_plain_formats():
    deep = np.full((4, 4), 0x0ABC, np.uint16)
    assert (demosaic(deep, "Mono12") == 0xAB).all()
    assert (demosaic(deep, "Mono16") == 0x0A).all()
    blue = np.zeros((2, 2, 3), np.uint8)
    blue[:, :, 0] = 255
    assert demosaic(blue, "BGR8")[0, 0].tolist() == [0, 0, 255]
    for bad in ("YUV422_8", "Mono", "Mono12Packed", ""):
        with pytest.raises(ValueError, match="not supported"):
            demosaic(deep, bad)
    with pytest.raises(ValueError, match="16 bit"):
        demosaic(deep.astype(np.uint8), "Mono12")


def test_channels_and_normalising():
    grey = np.full((4, 6), 255, np.uint8)
    colour = with_channels(grey, 3)
    assert colour.shape == (4, 6, 3)
    assert with_channels(colour, 1).shape == (4, 6)
    with pytest.raises(ValueError, match="1 or 3"):
        with_channels(grey, 4)
    out = np.zeros((3, 4, 6), np.float32)
    normalise(colour, out)
    assert out.max() == pytest.approx(1.0)
    single = np.zeros((1, 4, 6), np.float32)
    normalise(grey, single)
    assert (single == 1.0).all()
    assert boxes_of(np.array([[1, 2, 3, 5, 0.9, 0]]))[0].height_px == 3
