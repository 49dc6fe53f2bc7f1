# SPDX-License-Identifier: AGPL-3.0-or-later
"""The drawn parts: the same seed gives the same parts, truth is in the pixels, and the stamp can be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.twin.defects import DefectKind
from inspection.twin.renderer import DETECTABILITY_LIMIT, SIZE_RANGE_PX, PartRenderer
from inspection.twin.stamp import STRIP_HEIGHT_PX, decode_strip, stamp


@pytest.fixture(scope="module")
def renderer() -> PartRenderer:
    return PartRenderer(seed=11, views=2)


@pytest.fixture(scope="module")
def defective() -> PartRenderer:
    return PartRenderer(seed=12, views=2, defective_share=1.0)


def test_same_seed_draws_the_same_part_in_any_order_of_calls():
    first, second = PartRenderer(seed=3, views=2), PartRenderer(seed=3, views=2)
    one = [first.render(part, view) for part in (0, 1, 900) for view in (0, 1)]
    two = [second.render(part, view) for part in (900, 1, 0) for view in (1, 0)]
    for a, b in zip(one, reversed(two), strict=True):
        assert np.array_equal(a, b)
    assert first.truth(900) == second.truth(900)


def test_another_seed_draws_other_parts():
    a, b = PartRenderer(seed=3, views=1).render(5, 0), PartRenderer(seed=4, views=1).render(5, 0)
    assert not np.array_equal(a, b)


def test_a_frame_is_grey_and_has_the_strip_below_the_detectors_view(renderer: PartRenderer):
    frame = renderer.render(0, 1)
    assert frame.shape == (336, 320)
    assert frame.dtype == np.uint8
    assert 60 < frame[:320].mean() < 160
    assert decode_strip(frame[-STRIP_HEIGHT_PX:]) == (0, 1)


def test_the_stated_share_of_parts_is_defective(renderer: PartRenderer):
    share = np.mean([renderer.truth(part).defective for part in range(600)])
    assert 0.14 < share < 0.26  # 3.7 standard deviations around 0.2


def test_truth_of_a_good_part_is_empty_and_of_a_bad_part_is_not(renderer: PartRenderer):
    for part in range(60):
        truth = renderer.truth(part)
        assert truth.defective == bool(truth.defects)
        assert truth.defective or not truth.above_limit


def test_a_defect_changes_the_picture_inside_its_box_and_nowhere_else(defective: PartRenderer):
    """The oracle is independent of the truth: the same renderer with no defects at all."""
    clean = PartRenderer(seed=12, views=2, defective_share=0.0)
    seen = 0
    for part in range(40):
        defects = defective.truth(part).defects
        for view in range(2):
            gap = np.abs(defective.render(part, view).astype(int) - clean.render(part, view))
            boxes = [d.box for d in defects if d.view == view]
            outside = np.ones(gap.shape, bool)
            for box in boxes:
                x0, y0, x1, y1 = (int(v) for v in (box.x0_px, box.y0_px, box.x1_px, box.y1_px))
                assert gap[y0:y1, x0:x1].max() > 3
                seen += 1
                pad = 8  # soft edges, lens and motion reach a little beyond the box
                outside[max(0, y0 - pad) : y1 + pad, max(0, x0 - pad) : x1 + pad] = False
            if not boxes:
                assert gap.max() == 0
            assert gap[outside].max(initial=0) <= 30
            assert (gap[outside] > 4).sum() < 40
    assert seen > 40


def test_sizes_are_log_uniform_from_4_to_60_px(defective: PartRenderer):
    sizes = np.array([d.size_px for part in range(500) for d in defective.truth(part).defects])
    assert np.mean((sizes >= SIZE_RANGE_PX[0]) & (sizes <= SIZE_RANGE_PX[1])) > 0.98
    assert sizes.min() >= 3
    thirds = np.log(SIZE_RANGE_PX[1] / SIZE_RANGE_PX[0]) / 3
    edges = SIZE_RANGE_PX[0] * np.exp(thirds * np.arange(1, 3))
    shares = np.bincount(np.searchsorted(edges, sizes, side="right"), minlength=3) / sizes.size
    assert all(0.23 < share < 0.45 for share in shares), shares


def test_every_kind_of_defect_occurs(defective: PartRenderer):
    kinds = {d.kind for part in range(200) for d in defective.truth(part).defects}
    assert kinds == {kind.value for kind in DefectKind}
    assert len(kinds) >= 6


def test_the_limit_excludes_some_but_at_most_15_percent_of_the_defective_parts(defective: PartRenderer):
    below = np.mean([not defective.truth(part).above_limit for part in range(500)])
    assert 0.005 < below <= 0.15
    for part in range(50):
        truth = defective.truth(part)
        assert truth.above_limit == (max(d.detectability for d in truth.defects) >= DETECTABILITY_LIMIT)


def test_detectability_follows_from_the_pixels(defective: PartRenderer):
    """Measured on the noisy frames: a matched filter separates bad from good by about that much."""
    clean = PartRenderer(seed=12, views=2, defective_share=0.0)
    ratios = []
    for part in range(60):
        truth = defective.truth(part)
        if len(truth.defects) != 1 or truth.defects[0].kind == "burr":
            continue
        defect = truth.defects[0]
        bad, good = (r.render(part, defect.view)[:320].astype(float) for r in (defective, clean))
        shape = bad - good  # the noise is the same draw, so this is the defect (and its own shot noise)
        energy = float(np.sqrt((shape**2).sum()))
        ratios.append(energy / 4.0 / defect.detectability)  # sigma is about 4 grey levels
    assert len(ratios) > 25
    assert 0.5 < np.median(ratios) < 2.0


def test_impossible_geometry_is_refused():
    with pytest.raises(ValueError, match="320x336"):
        PartRenderer(seed=1, views=1, width_px=640, height_px=656)
    with pytest.raises(ValueError, match="views"):
        PartRenderer(seed=1, views=0)
    with pytest.raises(ValueError, match="view 2"):
        PartRenderer(seed=1, views=2).render(0, 2)


@given(
    part=st.integers(0, 2**32 - 1), view=st.integers(0, 255), gain=st.floats(0.5, 1.0), seed=st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_a_stamp_survives_noise_and_dimming(part: int, view: int, gain: float, seed: int):
    image = np.zeros((20, 320), np.uint8)
    stamp(image, part, view)
    noise = np.random.default_rng(seed).normal(0, 6, image.shape)
    seen = np.clip(image * gain + noise, 0, 255).astype(np.uint8)
    assert decode_strip(seen[-STRIP_HEIGHT_PX:]) == (part, view)


def test_a_damaged_or_missing_stamp_reads_as_none_never_as_another_part():
    image = np.zeros((16, 320), np.uint8)
    assert decode_strip(image) is None
    stamp(image, 77, 1)
    rng = np.random.default_rng(5)
    for _ in range(300):
        broken = image.copy()
        for cell in rng.choice(56, size=int(rng.integers(1, 4)), replace=False):
            x = 8 + 4 * int(cell)
            broken[6:15, x : x + 4] = 255 - broken[6:15, x : x + 4]
        assert decode_strip(broken) is None
    assert decode_strip(image[:8]) is None


def test_a_stamp_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="32 and 8 bit"):
        stamp(np.zeros((16, 320), np.uint8), 2**32, 0)
    with pytest.raises(ValueError, match="at least"):
        stamp(np.zeros((16, 100), np.uint8), 1, 0)
