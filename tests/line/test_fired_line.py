# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole simulated line with cameras that have no trigger line: the station fires, the belt moves on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from inspection.journal import read
from inspection.journal_records import VerdictRecord
from inspection.twin.audit import audit
from inspection.twin.line import SimulatedLine
from inspection.types import Reason
from tests.line.toy_bundle import toy_options

pytestmark = [pytest.mark.serial, pytest.mark.timeout(180)]

STALL_S, PAUSE_S = 0.15, 0.25  # less than the 200 ms after which both sides call the other frozen


class Stalls:
    """Holds one process up again and again, as an overloaded machine does."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="test-stalls")
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(PAUSE_S):
            os.kill(self._pid, signal.SIGSTOP)
            time.sleep(STALL_S)
            os.kill(self._pid, signal.SIGCONT)

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def run_fired(folder: Path, *, stalls: bool, **options: Any) -> tuple[dict[str, Any], Counter[Reason]]:
    """The report of one run, and how often each reason stands in its journal."""
    with SimulatedLine(toy_options(folder, trigger="software", **options), folder / "data") as line:
        line.start()
        board = line.read_board()
        assert board is not None
        held_up = Stalls(board.pids["gate"]) if stalls else None
        try:
            assert line.run(120, lambda: line.finished), "the parts never came through"
        finally:
            if held_up is not None:
                held_up.end()
        line.finish()
        report = audit(line)
        assert line.config is not None
        records = [entry.record for entry in read(line.config.journal_dir)]
    last = {(r.epoch, r.ordinal): r for r in records if isinstance(r, VerdictRecord)}
    return report, Counter(reason for record in last.values() for reason in record.reasons)


def test_parts_that_the_station_photographs_itself_are_judged_by_their_own_pictures(tmp_path: Path) -> None:
    report, _ = run_fired(tmp_path, stalls=False, parts=40, rate_parts_per_s=4.0, seed=7)
    assert report["why_not"] == []
    assert report["reconciled"]
    assert report["triggers"] == report["plc_triggers"] == 40
    assert report["pass"] + report["reject"] > 20  # on a busy machine some orders come too late
    truth = report["truth"]
    assert truth["mispaired"] == truth["unproven_pairings"] == truth["false_pass"] == truth["late_pass"] == 0
    assert truth["undecodable_strips"] == 0


def test_gate_that_is_held_up_photographs_no_neighbour(tmp_path: Path) -> None:
    """What a trigger's message waited, its part has moved: it is closed, and nothing is fired for it."""
    report, reasons = run_fired(tmp_path, stalls=True, parts=60, rate_parts_per_s=5.0, seed=8)
    assert report["why_not"] == []
    assert report["reconciled"]
    assert report["pass"] + report["reject"] + report["not_inspected"] == report["triggers"]
    assert reasons[Reason.TRIGGER_LATE] > 0
    truth = report["truth"]
    assert truth["mispaired"] == truth["false_pass"] == truth["late_pass"] == 0
