# SPDX-License-Identifier: AGPL-3.0-or-later
"""The status board: what one process writes, every other reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspection.board import Board, CameraCounter, GateCounter, ProcessState
from inspection.types import StationFault


def test_what_a_process_writes_another_reads(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", ["gate", "camera:A"])
    row = board.row("gate")
    row.claim()
    row.add(GateCounter.PASS, 3)
    row.set(GateCounter.EPOCH, 777)
    row.report(ProcessState.DEGRADED, "PLC gone")
    row.beat(123)
    reader = Board.attach(tmp_path / "board")
    seen = reader.row("gate")
    assert (seen.get(GateCounter.PASS), seen.get(GateCounter.EPOCH)) == (3, 777)
    assert (seen.state, seen.text, seen.heartbeat_ns) == (ProcessState.DEGRADED, "PLC gone", 123)
    assert reader.row("camera:A").get(CameraCounter.DELIVERED) == 0
    reader.close()
    board.close()


def test_a_new_incarnation_starts_its_counters_at_zero(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", ["gate"])
    row = board.row("gate")
    row.claim()
    row.add(GateCounter.PASS, 3)
    row.claim()
    assert (row.incarnation, row.get(GateCounter.PASS)) == (2, 0)
    board.close()


def test_a_file_that_is_no_board_is_refused(tmp_path: Path) -> None:
    (tmp_path / "board").write_bytes(b"\1" * 8192)
    with pytest.raises(StationFault, match="not a status board"):
        Board.attach(tmp_path / "board")
    with pytest.raises(StationFault, match="is the station running"):
        Board.attach(tmp_path / "absent")
