# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a finished run to its report: gathers PLC log, journal, board and seed, and compares."""

from __future__ import annotations

import os
from typing import Any

from inspection.journal_records import JournalCorrupt
from inspection.twin import layout
from inspection.twin.line import BoardReading, SimulatedLine
from inspection.twin.records import JournalRun, read_run
from inspection.twin.report import RunFacts, make_report
from inspection.twin.source import make_source
from inspection.twin.truth import read_log, register_truth

_MS = 1_000_000


def audit(line: SimulatedLine) -> dict[str, Any]:
    """The report of a line that was finished (`SimulatedLine.finish`)."""
    options, config = line.options, line.config
    if config is None or line.bundle is None:
        raise ValueError("a line that was never prepared has no report")
    damaged = ""
    try:
        journal = read_run(config.journal_dir, line.started_utc_ns)
    except JournalCorrupt as e:
        journal, damaged = JournalRun(), str(e)
    end = line.board_at_end
    facts = RunFacts(
        truth=register_truth(
            read_log(line.plc_log),
            deadline_ns=int(layout.deadline_ms(options) * _MS),
            poll_ns=layout.POLL_MS * _MS,
            scan_ns=layout.SCAN_MS * _MS,
        ),
        journal=journal,
        source=make_source(coco=options.coco, seed=options.seed, views=options.views, colour=line.frame.colour),
        world=list(read_log(line.world_log)),
        world_status=line.last_world_status,
        cameras={} if end is None else end.cameras,
        gate={} if end is None else end.gate,
        views=options.views,
        width_px=line.frame.width_px,
        colour=line.frame.colour,
        deadline_ms=layout.deadline_ms(options),
        cycle_ns=2 * (layout.POLL_MS + layout.SCAN_MS) * _MS,
        limit_applies=options.coco is None,
        header={
            "seed": options.seed,
            "rate": options.rate_parts_per_s,
            "cameras": options.views,
            "source": "drawn" if options.coco is None else str(options.coco),
            "bundle_name": f"{line.bundle.card.name} {line.bundle.card.version}",
            "engine": options.engine,
            "cores": os.cpu_count(),
            "engine_load": engine_load(line),
            "cpu_share": _cpu_shares(line.board_at_start, end),
        },
    )
    report = make_report(facts)
    if damaged:
        report["why_not"].append(f"the journal is damaged: {damaged}")
        report["reconciled"] = False
    return report


def engine_load(line: SimulatedLine) -> float | None:
    """Share of the box's cores that the engine kept busy; None when the inspector was restarted meanwhile."""
    start, end = line.board_at_start, line.board_at_end
    if start is None or end is None or line.config is None:
        return None
    if start.incarnations["inspector"] != end.incarnations["inspector"]:
        return None
    busy_ns = end.inspector["engine_busy_ns"] - start.inspector["engine_busy_ns"]
    cores = os.cpu_count() or 1
    threads = min(cores, end.inspector["engine_threads"] or line.config.engine.threads)
    return round(busy_ns / (end.at_ns - start.at_ns) * threads / cores, 4)


def _cpu_shares(start: BoardReading | None, end: BoardReading | None) -> dict[str, float]:
    """Processor time of each process as a share of the whole box, where it was not restarted."""
    if start is None or end is None:
        return {}
    span_s = (end.at_ns - start.at_ns) / 1e9 * (os.cpu_count() or 1)
    return {
        name: round((end.cpu_s[name] - start.cpu_s[name]) / span_s, 4)
        for name in end.cpu_s
        if start.pids.get(name) == end.pids[name]
    }
