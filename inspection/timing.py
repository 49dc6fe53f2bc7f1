# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""The start-up arithmetic of the line contract: can a verdict reach the gate before its part does? Pure.

    deadline + 2 x poll + 2 x scan + actuation + jitter margin <= travel - half the gate window

`poll` is the period of the PLC's FC04 read, `scan` its program cycle; travel and window are taken at the
highest speed. Between two reads at most 7 new triggers may come (the trigger ring is sure to hold 7), and at
most 15 parts may be in flight (the verdict ring is sure to hold 15, should all be published at once).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Protocol

from inspection.types import StationFault

TRIGGERS_A_CYCLE = 7
PARTS_IN_FLIGHT = 15


class LineTiming(Protocol):
    """What the arithmetic needs of [line] in station.toml (`inspection.config.LineTable` has it)."""

    @property
    def min_pitch_mm(self) -> float: ...  # noqa: D102 - the names say it
    @property
    def max_speed_mm_s(self) -> float: ...  # noqa: D102
    @property
    def travel_mm(self) -> float: ...  # noqa: D102
    @property
    def gate_window_mm(self) -> float: ...  # noqa: D102
    @property
    def gate_actuation_ms(self) -> float: ...  # noqa: D102
    @property
    def jitter_margin_ms(self) -> float: ...  # noqa: D102
    @property
    def plc_poll_ms(self) -> float: ...  # noqa: D102
    @property
    def plc_scan_ms(self) -> float: ...  # noqa: D102
    @property
    def deadline_ms(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingReport:
    """The arithmetic as text for people, and one sentence for each rule that it breaks."""

    lines: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the station may start."""
        return not self.faults


def timing_report(line: LineTiming) -> TimingReport:
    """Work the arithmetic out."""
    needed_ms = (
        line.deadline_ms
        + 2 * line.plc_poll_ms
        + 2 * line.plc_scan_ms
        + line.gate_actuation_ms
        + line.jitter_margin_ms
    )
    travel_ms = 1000 * line.travel_mm / line.max_speed_mm_s
    half_window_ms = 1000 * line.gate_window_mm / 2 / line.max_speed_mm_s
    available_ms = travel_ms - half_window_ms
    triggers = _parts_within(line, line.plc_poll_ms + line.plc_scan_ms)
    in_flight = _parts_within(line, line.deadline_ms + line.plc_poll_ms)
    lines = (
        (
            f"deadline {line.deadline_ms:g} + 2 x poll {line.plc_poll_ms:g} + 2 x scan {line.plc_scan_ms:g}"
            f" + actuation {line.gate_actuation_ms:g} + jitter {line.jitter_margin_ms:g}"
            f" = {needed_ms:.1f} ms needed"
        ),
        (
            f"travel {line.travel_mm:g} mm at {line.max_speed_mm_s:g} mm/s = {travel_ms:.1f} ms"
            f" - half the gate window {half_window_ms:.1f} ms = {available_ms:.1f} ms available,"
            f" margin {available_ms - needed_ms:.1f} ms"
        ),
        (
            f"at a pitch of {line.min_pitch_mm:g} mm: at most {triggers} triggers in one PLC cycle"
            f" (limit {TRIGGERS_A_CYCLE}), at most {in_flight} parts in flight (limit {PARTS_IN_FLIGHT})"
        ),
    )
    return TimingReport(lines=lines, faults=_faults(needed_ms, available_ms, triggers, in_flight))


def check_timing(line: LineTiming) -> tuple[str, ...]:
    """The arithmetic's lines, to be printed at start; StationFault when the line cannot be kept safe."""
    report = timing_report(line)
    if not report.ok:
        raise StationFault("[line] in station.toml is impossible: " + " ".join(report.faults + report.lines))
    return report.lines


def _parts_within(line: LineTiming, span_ms: float) -> int:
    """How many parts at the minimum pitch and the highest speed can fall into a span of time."""
    return floor(span_ms / 1000 * line.max_speed_mm_s / line.min_pitch_mm) + 1


def _faults(needed_ms: float, available_ms: float, triggers: int, in_flight: int) -> tuple[str, ...]:
    faults: list[str] = []
    if not needed_ms <= available_ms:
        faults.append(
            f"A verdict needs {needed_ms:.1f} ms and the part is at the gate after {available_ms:.1f} ms:"
            " shorten deadline_ms, slow the belt, or move the gate."
        )
    if triggers > TRIGGERS_A_CYCLE:
        faults.append(
            f"{triggers} triggers can come in one PLC cycle and the ring holds {TRIGGERS_A_CYCLE}:"
            " poll faster or widen min_pitch_mm."
        )
    if in_flight > PARTS_IN_FLIGHT:
        faults.append(
            f"{in_flight} parts can be in flight and the verdict ring holds {PARTS_IN_FLIGHT}:"
            " shorten deadline_ms or widen min_pitch_mm."
        )
    return tuple(faults)
