# SPDX-License-Identifier: AGPL-3.0-or-later
"""The belt: where each part is, when, and what the encoder says then. Pure; no clock, no random stream.

Belt travel in mm after t seconds: s(t) = v*t + (v*r/w)*sin(w*t), so the speed is v*(1 + r*cos(w*t)): a drive
with a little ripple. Part k lies at x(k) = (k + 1 + jitter) * pitch. It breaks the trigger beam when s = x(k)
and reaches the gate when s = x(k) + travel. Every observer (PLC, camera side, report) computes the same from
the same plan, relative to one monotonic start instant t0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from inspection.twin.chance import unit

ENCODER_MODULUS = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BeltPlan:
    """Everything that fixes the belt. `jitter_share` and `ripple_share` are shares of pitch and speed."""

    seed: int
    rate_parts_per_s: float
    pitch_mm: float
    min_pitch_mm: float
    travel_mm: float
    pulses_per_mm: float
    gate_window_mm: float = 20.0
    jitter_share: float = 0.25
    ripple_share: float = 0.02
    ripple_period_s: float = 7.0
    latch_noise_pulses: int = 2  # camera and PLC latch the same edge through different inputs

    def __post_init__(self) -> None:
        """ValueError when parts could come closer than the minimum pitch, or the belt could run backwards."""
        if not 0 <= self.ripple_share < 0.5:
            raise ValueError(
                f"ripple_share is {self.ripple_share}: choose 0 to 0.5, a belt does not run backwards"
            )
        if (1 - self.jitter_share) * self.pitch_mm <= self.min_pitch_mm:
            raise ValueError(
                f"a pitch of {self.pitch_mm} mm with a jitter of {self.jitter_share} comes below the minimum "
                f"pitch of {self.min_pitch_mm} mm: lower the jitter or the minimum pitch"
            )

    @property
    def speed_mm_s(self) -> float:
        """Mean speed."""
        return self.rate_parts_per_s * self.pitch_mm

    @property
    def max_speed_mm_s(self) -> float:
        """Highest speed at the top of the ripple."""
        return self.speed_mm_s * (1 + self.ripple_share)


class Belt:
    """The plan, solved. All instants are nanoseconds after t0; counts are unsigned 32 bit and roll over."""

    def __init__(self, plan: BeltPlan) -> None:
        self.plan = plan
        self._v = plan.speed_mm_s
        self._w = 2 * math.pi / plan.ripple_period_s
        self._offset = self._encoder_offset()

    def _encoder_offset(self) -> int:
        """Half of all seeds start so near the roll-over that it comes within the first 200 parts."""
        if unit(self.plan.seed, "near-roll-over") < 0.5:
            span = 200 * self.plan.pitch_mm * self.plan.pulses_per_mm
            return ENCODER_MODULUS - 1 - int(unit(self.plan.seed, "encoder-offset") * span)
        return int(unit(self.plan.seed, "encoder-offset") * ENCODER_MODULUS)

    def travelled_mm(self, seconds: float) -> float:
        """s(t)."""
        return self._v * seconds + self._v * self.plan.ripple_share / self._w * math.sin(self._w * seconds)

    def instant_ns(self, travelled_mm: float) -> int:
        """Inverse of `travelled_mm` by Newton's method; the speed never comes near zero, so it converges."""
        t = travelled_mm / self._v
        for _ in range(6):
            speed = self._v * (1 + self.plan.ripple_share * math.cos(self._w * t))
            t -= (self.travelled_mm(t) - travelled_mm) / speed
        return round(t * 1e9)

    def position_mm(self, part_no: int) -> float:
        """x(k): belt travel at which part k breaks the trigger beam; one pitch of lead-in before part 0."""
        jitter = (unit(self.plan.seed, "pitch", part_no) - 0.5) * self.plan.jitter_share
        return (part_no + 1 + jitter) * self.plan.pitch_mm

    def trigger_ns(self, part_no: int) -> int:
        """When part k breaks the trigger beam."""
        return self.instant_ns(self.position_mm(part_no))

    def gate_ns(self, part_no: int) -> int:
        """When the middle of the gate's window meets part k."""
        return self.instant_ns(self.position_mm(part_no) + self.plan.travel_mm)

    def gate_entry_ns(self, part_no: int) -> int:
        """When the gate's window begins for part k: by then the gate must stand."""
        return self.instant_ns(self.position_mm(part_no) + self.plan.travel_mm - self.plan.gate_window_mm / 2)

    def encoder_pulses(self, part_no: int) -> int:
        """Count the PLC latches when part k breaks the trigger beam."""
        return (self._offset + int(self.position_mm(part_no) * self.plan.pulses_per_mm)) % ENCODER_MODULUS

    def camera_encoder_pulses(self, part_no: int, view: int) -> int:
        """Count the camera of a view latches at the same edge: a few pulses of its own noise."""
        span = 2 * self.plan.latch_noise_pulses + 1
        noise = int(unit(self.plan.seed, "latch", part_no, view) * span) - self.plan.latch_noise_pulses
        return (self.encoder_pulses(part_no) + noise) % ENCODER_MODULUS
