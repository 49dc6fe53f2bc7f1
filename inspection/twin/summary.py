# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the demo shows in the terminal: live counts while it runs, the report in a screenful at the end."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from inspection.twin.line import SimulatedLine

_TTY_PERIOD_S = 0.25
_PLAIN_PERIOD_S = 5.0


class LiveDisplay:
    """One line of counts, rewritten in place on a terminal, repeated now and then elsewhere."""

    def __init__(self, line: SimulatedLine) -> None:
        self._line = line
        self._in_place = sys.stdout.isatty()
        self._shown_at = 0.0
        self._started = time.monotonic()

    def show(self) -> bool:
        """Show the counts when it is time; always False, so that it can stand in a condition."""
        now = time.monotonic()
        period = _TTY_PERIOD_S if self._in_place else _PLAIN_PERIOD_S
        if now - self._shown_at >= period:
            self._shown_at = now
            text = self.text()
            sys.stdout.write(f"\r{text}\x1b[K" if self._in_place else text + "\n")
            sys.stdout.flush()
        return False

    def text(self) -> str:
        """The counts of the PLC's bins and the station's own."""
        plc, world, board = self._line.plc_status(), self._line.world_status(), self._line.read_board()
        bins = plc.get("bins", {})
        total = f"/{self._line.options.parts}" if self._line.options.parts else ""
        out = (
            f"{time.monotonic() - self._started:6.1f} s  {plc.get('phase', '?'):7}  "
            f"parts {plc.get('parts', 0)}{total}  passed {bins.get('pass', 0)}  "
            f"rejected {bins.get('reject', 0)}  "
            f"not inspected {bins.get('not_inspected', 0)}"
        )
        if bins.get("untracked"):
            out += f"  untracked {bins['untracked']}"
        if board is not None:
            out += f"  margin {board.gate['last_margin_ms']} ms"
        if world.get("world_late"):
            out += f"  (this machine is too slow to draw: {world['world_late']} parts without a picture)"
        return out

    def __enter__(self) -> LiveDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown_at = 0.0
        self.show()
        if self._in_place:
            sys.stdout.write("\n")


def _percent(bound: dict[str, Any]) -> str:
    if not bound["of"]:
        return "none judged"
    share, upper = 100 * bound["share"], 100 * bound["upper_95"]
    return f"{bound['count']} of {bound['of']} ({share:.2f} %, at most {upper:.2f} %)"


def _ms(latency: dict[str, float | None]) -> str:
    if latency["p50"] is None:
        return "none"
    return "  ".join(f"{name.replace('_', '.')} {value:.1f}" for name, value in latency.items())


def summary(report: dict[str, Any]) -> str:
    """The report for people; bounds are exact, one-sided, 95 %."""
    truth, bounds = report["truth"], report["truth"]["bounds"]
    frames = report["frames"]
    limited = report["detectability_limit"] is not None
    above = f" ({truth['above_limit']} above the detectability limit)"
    lines = [
        "",
        (
            f"triggers {report['triggers']} = pass {report['pass']} + reject {report['reject']} "
            f"+ not inspected {report['not_inspected']} + in flight {report['in_flight']}"
        ),
        f"gate: {report['bins']}, diverted {report['diverted_total']}",
        f"not inspected because of: {report['not_inspected_by_reason'] or 'nothing'}",
        f"parts: good {truth['good']}, defective {truth['defective']}" + (above if limited else ""),
        f"escapes {_percent(bounds['escapes'])}",
        *([f"escapes above the limit {_percent(bounds['escapes_above_limit'])}"] if limited else []),
        f"overkill {_percent(bounds['overkill'])}",
        f"false pass {truth['false_pass']}, late pass {truth['late_pass']}, mispaired {truth['mispaired']}",
        (
            f"trigger to verdict, ms: {_ms(report['latency_ms']['trigger_to_verdict'])}  "
            f"(deadline {report['deadline_ms']:g})"
        ),
        f"picture to verdict, ms: {_ms(report['latency_ms']['ready_to_verdict'])}",
        "frames: " + ", ".join(f"{k} {v}" for k, v in frames.items() if k != "per_camera"),
    ]
    for side, name in (("above_limit", "above"), ("below_limit", "below")):
        rows = report["escapes_by_size"][side]
        if rows:
            cells = "  ".join(f"{size} px {row['escapes']}/{row['judged']}" for size, row in rows.items())
            side_text = f", {name} the limit" if limited else ""
            lines.append(f"escapes by size{side_text}: {cells}")
    load = report["engine_load"]
    loaded = "unknown" if load is None else f"{100 * load:.0f} % of the box"
    lines.append(f"{report['parts_per_s']} parts/s; engine load {loaded}")
    lines += report.get("notes", [])
    if report["plc"]["late_scans"]:
        lines.append(f"The soft PLC was held up {report['plc']['late_scans']} times for more than 20 ms.")
    lines.append("The counts reconcile." if report["reconciled"] else "THE COUNTS DO NOT RECONCILE:")
    lines += [f"  - {sentence}" for sentence in report["why_not"][:20]]
    return "\n".join(lines)
