# SPDX-License-Identifier: AGPL-3.0-or-later
"""The start-up arithmetic: what is refused, at which exact value, and what is printed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from inspection.timing import check_timing, timing_report
from inspection.types import StationFault


@dataclass(frozen=True)
class Line:
    min_pitch_mm: float = 40
    max_speed_mm_s: float = 400
    travel_mm: float = 168
    gate_window_mm: float = 40
    gate_actuation_ms: float = 20
    jitter_margin_ms: float = 10
    plc_poll_ms: float = 10
    plc_scan_ms: float = 10
    deadline_ms: float = 300  # 300 + 20 + 20 + 20 + 10 = 370 = 420 - 50


def test_a_line_that_just_fits_may_start_and_prints_its_arithmetic() -> None:
    lines = "\n".join(check_timing(Line()))
    assert "= 370.0 ms needed" in lines
    assert "= 370.0 ms available" in lines
    assert "margin 0.0 ms" in lines


@pytest.mark.parametrize(
    "change",
    [
        {"deadline_ms": 301},
        {"plc_poll_ms": 10.5},
        {"plc_scan_ms": 10.5},
        {"gate_actuation_ms": 21},
        {"jitter_margin_ms": 11},
        {"travel_mm": 167},
        {"gate_window_mm": 41},
        {"max_speed_mm_s": 410},
    ],
)
def test_one_more_millisecond_anywhere_and_the_station_refuses_to_start(change: dict[str, float]) -> None:
    with pytest.raises(StationFault, match=r"\[line\] in station.toml is impossible: A verdict needs"):
        check_timing(replace(Line(), **change))


def test_more_than_seven_triggers_in_one_plc_cycle_are_refused() -> None:
    fits = replace(Line(), travel_mm=1000, min_pitch_mm=20, plc_poll_ms=250, plc_scan_ms=99, deadline_ms=1)
    assert timing_report(fits).ok
    assert "ring holds 7" in timing_report(replace(fits, plc_scan_ms=101)).faults[0]


def test_more_parts_in_flight_than_the_verdict_ring_holds_are_refused() -> None:
    fits = replace(Line(), travel_mm=1000, deadline_ms=1489, min_pitch_mm=40)
    assert timing_report(fits).ok
    assert "verdict ring holds 15" in timing_report(replace(fits, deadline_ms=1491)).faults[0]
