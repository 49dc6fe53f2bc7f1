# SPDX-License-Identifier: AGPL-3.0-or-later
"""Image health: each limit is broken by the picture that it is for, and by no other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cameras.health import HealthMeter, breaches
from cameras.pfnc import code_of
from inspection.recipe import HealthLimits

WIDTH, HEIGHT = 320, 336
VIEW = (0, 0, 320, 320)
LIMITS = HealthLimits(
    min_mean=40, max_mean=210, max_saturated_share=0.05, max_dark_share=0.2, min_focus=30.0, frozen=True
)


def meter() -> HealthMeter:
    return HealthMeter(code_of("Mono8"), WIDTH, HEIGHT, VIEW)


@pytest.fixture
def scene() -> np.ndarray:
    """A textured part on a mid-grey ground."""
    noise = np.random.default_rng(5).normal(0, 12, (HEIGHT, WIDTH))
    return np.clip(120 + noise, 0, 255).astype(np.uint8)


def named(picture: np.ndarray) -> tuple[str, ...]:
    return breaches(meter().measure(picture.ravel()), LIMITS)


def test_healthy_picture_breaks_nothing(scene: np.ndarray) -> None:
    assert named(scene) == ()


def test_black_bright_saturated_and_blurred_pictures_are_named(scene: np.ndarray) -> None:
    assert "dark" in named(scene // 30)
    assert "bright" in named(np.clip(scene.astype(int) + 110, 0, 248).astype(np.uint8))
    glare = scene.copy()
    glare[:100] = 255
    assert named(glare) == ("saturated",)
    assert named(cv2.GaussianBlur(scene, (0, 0), 4)) == ("blurred",)


def test_shadow_over_a_part_of_the_view_is_dark(scene: np.ndarray) -> None:
    scene[:120] = 0
    assert "dark" in named(scene)


def test_frozen_is_the_second_equal_frame_and_not_the_first(scene: np.ndarray) -> None:
    health = meter()
    assert not health.measure(scene.ravel()).frozen
    assert health.measure(scene.copy().ravel()).frozen
    scene[160, 160] ^= 1  # whatever: one exposure later the noise differs everywhere, and so it does here
    scene += 1
    assert not health.measure(scene.ravel()).frozen


def test_same_photograph_under_another_stamp_is_another_exposure(scene: np.ndarray) -> None:
    health = meter()
    health.measure(scene.ravel())
    scene[330, 200] ^= 0xFF  # one cell of the stamp strip below the view
    assert not health.measure(scene.ravel()).frozen


@pytest.mark.parametrize(("name", "shift"), [("Mono12", 4), ("Mono16", 8)])
def test_deeper_pixels_are_measured_on_the_same_scale(scene: np.ndarray, name: str, shift: int) -> None:
    shallow = meter().measure(scene.ravel())
    deep_pixels = (scene.astype("<u2") << shift).ravel().view(np.uint8)
    deep = HealthMeter(code_of(name), WIDTH, HEIGHT, VIEW).measure(deep_pixels)
    assert deep.mean == pytest.approx(shallow.mean)
    assert deep.focus == pytest.approx(shallow.focus)
    assert (deep.dark_share, deep.saturated_share) == (shallow.dark_share, shallow.saturated_share)


def test_bayer_mosaic_of_an_even_colour_has_no_focus_of_its_own() -> None:
    tile = np.tile(np.array([[200, 100], [100, 20]], np.uint8), (HEIGHT // 2, WIDTH // 2))
    assert HealthMeter(code_of("BayerRG8"), WIDTH, HEIGHT, VIEW).measure(tile.ravel()).focus == 0.0


def test_tiny_view_can_be_measured() -> None:
    health = HealthMeter(code_of("RGB8"), 3, 2, (0, 0, 1, 1)).measure(np.full(18, 90, np.uint8))
    assert health.mean == 90.0
    assert health.focus == 0.0
