# SPDX-License-Identifier: AGPL-3.0-or-later
"""The belt keeps its promises to every observer: order, pitch, encoder and seed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.twin.belt import ENCODER_MODULUS, Belt, BeltPlan
from inspection.twin.chance import frame_dropped, trigger_skipped, unit


def plan(seed: int = 1, rate: float = 10.0, **other: float) -> BeltPlan:
    return BeltPlan(
        seed=seed, rate_parts_per_s=rate, pitch_mm=100.0, min_pitch_mm=60.0, travel_mm=500.0,
        pulses_per_mm=20.0, **other,  # type: ignore[arg-type]
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), rate=st.floats(0.5, 60.0), first=st.integers(0, 50_000))
def test_parts_keep_order_and_minimum_pitch(seed: int, rate: float, first: int) -> None:
    belt = Belt(plan(seed, rate))
    for k in range(first, first + 20):
        gap_pulses = (belt.encoder_pulses(k + 1) - belt.encoder_pulses(k)) % ENCODER_MODULUS
        assert 60.0 * 20 <= gap_pulses <= 140.0 * 20
        assert belt.trigger_ns(k) < belt.trigger_ns(k + 1)
        assert belt.trigger_ns(k) < belt.gate_entry_ns(k) < belt.gate_ns(k)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), mm=st.floats(1.0, 1e7))
def test_instant_is_the_inverse_of_travel(seed: int, mm: float) -> None:
    belt = Belt(plan(seed))
    assert belt.travelled_mm(belt.instant_ns(mm) / 1e9) == pytest.approx(mm, abs=0.01)


def test_travel_to_the_gate_never_takes_less_than_at_the_highest_speed() -> None:
    belt = Belt(plan(7))
    shortest_ns = 500.0 / belt.plan.max_speed_mm_s * 1e9
    assert all(belt.gate_ns(k) - belt.trigger_ns(k) >= shortest_ns - 1 for k in range(3000))


def test_same_seed_same_belt_and_another_seed_another_one() -> None:
    a, b, other = Belt(plan(5)), Belt(plan(5)), Belt(plan(6))
    seen = [(a.trigger_ns(k), a.encoder_pulses(k), a.camera_encoder_pulses(k, 1)) for k in range(50)]
    assert seen == [(b.trigger_ns(k), b.encoder_pulses(k), b.camera_encoder_pulses(k, 1)) for k in range(50)]
    assert seen != [
        (other.trigger_ns(k), other.encoder_pulses(k), other.camera_encoder_pulses(k, 1)) for k in range(50)
    ]


def test_the_encoder_rolls_over_within_the_first_parts_for_about_half_of_the_seeds() -> None:
    rolled = 0
    for seed in range(60):
        belt = Belt(plan(seed))
        rolled += belt.encoder_pulses(230) < belt.encoder_pulses(0)
    assert 18 <= rolled <= 42


def test_camera_and_plc_latch_within_a_few_pulses() -> None:
    belt = Belt(plan(9))
    for k in range(500):
        difference = (belt.camera_encoder_pulses(k, 0) - belt.encoder_pulses(k) + 100) % ENCODER_MODULUS - 100
        assert abs(difference) <= 2


def test_a_pitch_that_could_come_below_the_minimum_is_refused() -> None:
    with pytest.raises(ValueError, match="below the minimum"):
        plan(jitter_share=0.45)


def test_chance_is_seeded_and_spares_the_last_part() -> None:
    drawn = [unit(1, "x", k) for k in range(4000)]
    assert drawn == [unit(1, "x", k) for k in range(4000)]
    assert abs(sum(drawn) / 4000 - 0.5) < 0.03
    assert trigger_skipped(1, 9, 10, 1.0) is False
    assert trigger_skipped(1, 8, 10, 1.0) is True
    assert 10 < sum(frame_dropped(3, k, 0, 0.01) for k in range(4000)) < 80
