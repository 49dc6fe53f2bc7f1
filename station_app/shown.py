# SPDX-License-Identifier: AGPL-3.0-or-later
"""How values look in the pages: the filters and globals of the templates. Pure.

Times are shown in the station's own time zone, always with their offset somewhere on the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from station_app.facts import TimingFact


def local_time(utc_ns: int) -> str:
    """`2026-11-22 14:03:07.123`, local."""
    at = datetime.fromtimestamp(utc_ns / 1e9).astimezone()
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03d}"


def clock_time(utc_ns: int) -> str:
    """`14:03:07.123`, local."""
    return local_time(utc_ns)[11:]


def local_day(utc_ns: int) -> str:
    """`2026-11-22`, local."""
    return local_time(utc_ns)[:10]


def iso_time(utc_ns: int) -> str:
    """Machine-readable time with offset, for <time datetime=...>."""
    return datetime.fromtimestamp(utc_ns / 1e9).astimezone().isoformat(timespec="milliseconds")


def parse_local_time(text: str) -> int | None:
    """UTC nanoseconds of what a datetime-local field holds (local time); None for anything else."""
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.astimezone()).timestamp() * 1e9)
    except (ValueError, OverflowError, OSError):  # the latter two at the ends of the calendar
        return None


def milliseconds(value: float | None) -> str:
    """`12.3 ms`, or a dash."""
    return "–" if value is None else f"{value:.1f} ms"


def thousands(value: int | float) -> str:
    """`12 345` with thin spaces: neither comma nor point, which mean opposite things in different countries."""
    return f"{value:,}".replace(",", "\u202f")


def percent(value: float | None) -> str:
    """`97.3 %`, or a dash."""
    return "–" if value is None else f"{100 * value:.1f}\u202f%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One stretch of the timing bar, in units of its 1000-wide view box."""

    name: str
    label: str
    start_ms: float
    end_ms: float
    x: float
    width: float


def timing_spans(timing: TimingFact) -> list[Span]:
    """Trigger -> picture ready -> judged -> published, as far as each happened, as stretches of the bar."""
    scale = 1000.0 / timing_end_ms(timing)
    steps = [
        ("expose", "Trigger to picture", timing.ready_ms),
        ("infer", "Picture to verdict", timing.judged_ms),
        ("publish", "Verdict to gate", timing.published_ms)
        if timing.judged_ms is not None
        else ("waited", "Closed without a verdict", timing.closed_ms),
    ]
    spans: list[Span] = []
    at_ms = 0.0
    for name, label, end_ms in steps:
        if end_ms is None or end_ms < at_ms:
            continue
        spans.append(
            Span(
                name=name,
                label=label,
                start_ms=at_ms,
                end_ms=end_ms,
                x=round(at_ms * scale, 1),
                width=round(max(2.0, (end_ms - at_ms) * scale), 1),
            )
        )
        at_ms = end_ms
    return spans


def timing_end_ms(timing: TimingFact) -> float:
    """Where the timing bar ends: a little past the deadline, or past what came later."""
    latest = max(timing.closed_ms, timing.published_ms or 0.0, timing.judged_ms or 0.0, timing.deadline_ms)
    return latest * 1.06 or 1.0


FILTERS = {
    "local_time": local_time,
    "clock_time": clock_time,
    "local_day": local_day,
    "iso_time": iso_time,
    "ms": milliseconds,
    "thousands": thousands,
    "percent": percent,
}
