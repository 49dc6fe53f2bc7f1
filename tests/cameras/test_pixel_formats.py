# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pixel formats: codes, sizes, unpacking against a bit-by-bit oracle, and colours that must come out right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cameras.pfnc import FORMATS, bytes_per_frame, code_of, format_of, name_of, samples, to_bgr8, to_mono8
from inspection.types import StationFault

RED, GREEN, BLUE = 200, 100, 20
GREY = {"R": RED, "G": GREEN, "B": BLUE}


def mosaic(pattern: str, depth_bits: int) -> np.ndarray:
    """A sensor that sees one even colour through a Bayer pattern such as "RGGB"."""
    tile = np.array([GREY[c] for c in pattern], np.uint16).reshape(2, 2) << (depth_bits - 8)
    return np.tile(tile, (8, 8)).astype(np.uint8 if depth_bits == 8 else "<u2")


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize(("order", "pattern"), [("RG", "RGGB"), ("GR", "GRBG"), ("GB", "GBRG"), ("BG", "BGGR")])
def test_bayer_pattern_gives_back_the_colour_it_saw(order: str, pattern: str, depth: int) -> None:
    raw = mosaic(pattern, depth).reshape(-1).view(np.uint8)
    picture = to_bgr8(raw, code_of(f"Bayer{order}{depth}"), 16, 16)
    assert picture.shape == (16, 16, 3)
    assert (picture[2:-2, 2:-2] == [BLUE, GREEN, RED]).all()


@pytest.mark.parametrize(
    ("name", "order"), [("RGB8", "RGB"), ("BGR8", "BGR"), ("RGBa8", "RGB_"), ("BGRa8", "BGR_")]
)
def test_colour_channels_keep_their_places(name: str, order: str) -> None:
    pixel = [GREY.get(c, 255) for c in order]
    raw = np.tile(np.array(pixel, np.uint8), 12)
    assert (to_bgr8(raw, code_of(name), 4, 3) == [BLUE, GREEN, RED]).all()
    assert (
        abs(int(to_mono8(raw, code_of(name), 4, 3)[0, 0]) - (0.299 * RED + 0.587 * GREEN + 0.114 * BLUE)) < 1.5
    )


@given(st.lists(st.integers(0, 4095), min_size=1, max_size=33), st.sampled_from(["Mono10p", "Mono12p"]))
def test_packed_bits_are_least_significant_first(words: list[int], name: str) -> None:
    depth = format_of(code_of(name)).depth_bits
    words = [w & (1 << depth) - 1 for w in words]
    bits = [w >> i & 1 for w in words for i in range(depth)]
    bits += [0] * (-len(bits) % 8)
    raw = np.packbits(np.array(bits, np.uint8), bitorder="little")
    assert raw.size == bytes_per_frame(code_of(name), len(words), 1)
    assert samples(raw, code_of(name), len(words), 1).tolist() == [words]


def test_older_packing_of_gige_vision() -> None:
    raw = np.array([0xAB, 0x5C, 0xDE], np.uint8)  # 0xABC and 0xDE5
    assert samples(raw, code_of("Mono12Packed"), 2, 1).tolist() == [[0xABC, 0xDE5]]


@pytest.mark.parametrize(("name", "bits"), [("Mono8", 8), ("Mono10", 10), ("Mono12", 12), ("Mono16", 16)])
def test_deep_grey_comes_down_to_eight_bits(name: str, bits: int) -> None:
    full = np.full((2, 3), 200 << (bits - 8), np.uint8 if bits == 8 else "<u2")
    assert (to_mono8(full.reshape(-1).view(np.uint8), code_of(name), 3, 2) == 200).all()


def test_bits_below_the_eight_that_stay_are_cut_off_not_rounded() -> None:
    deep = np.full(4, 0x0ABC, "<u2").view(np.uint8)
    assert (to_mono8(deep, code_of("Mono12"), 2, 2) == 0xAB).all()
    assert (to_mono8(deep, code_of("Mono16"), 2, 2) == 0x0A).all()


def test_chunk_data_behind_the_picture_is_left_alone() -> None:
    raw = np.arange(20, dtype=np.uint8)
    assert samples(raw, code_of("Mono8"), 4, 3).ravel().tolist() == list(range(12))


def test_codes_and_names_are_one_to_one_and_sizes_follow_the_code() -> None:
    assert len({f.code for f in FORMATS}) == len({f.name for f in FORMATS}) == len(FORMATS)
    for f in FORMATS:
        assert name_of(code_of(f.name)) == f.name
        assert bytes_per_frame(f.code, 8, 2) == 16 * f.memory_bits // 8
        assert f.memory_bits >= f.depth_bits * f.channels or f.packing


def test_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(StationFault, match="Mono8, Mono10"):
        code_of("Mono7")
    with pytest.raises(StationFault, match="0x0000002A"):
        name_of(42)
