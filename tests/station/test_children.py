# SPDX-License-Identifier: AGPL-3.0-or-later
"""Restart budget, hang detection and the promise that children die with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from inspection.board import Board, ProcessState
from inspection.children import NS_PER_S, Budget, Child, ProcessSpec


def test_first_deaths_cost_little_and_more_of_them_back_off() -> None:
    budget = Budget(burst=3, window_s=60, first_delay_s=0.05, longest_delay_s=8)
    waits = [(budget.next_start_ns(t * NS_PER_S) - t * NS_PER_S) / NS_PER_S for t in range(9)]
    assert waits[:3] == [0.05] * 3
    assert waits[3:] == [1, 2, 4, 8, 8, 8]


def test_old_deaths_are_forgiven() -> None:
    budget = Budget(burst=1, window_s=10, first_delay_s=0.05)
    budget.next_start_ns(0)
    assert budget.next_start_ns(11 * NS_PER_S) == 11 * NS_PER_S + int(0.05 * NS_PER_S)


def test_a_silent_process_is_hung_and_a_beating_one_is_not(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", ["gate"])
    row = board.row("gate")
    spec = ProcessSpec(role="gate", module="http.server", links={}, stale_s=1.0, start_limit_s=30)
    child = Child(spec, row, tmp_path / "x.toml", tmp_path)
    child._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        row._words[0] = child._process.pid
        row.report(ProcessState.READY)
        row.beat(5 * NS_PER_S)
        assert not child.is_hung(5 * NS_PER_S + NS_PER_S)
        assert child.is_hung(5 * NS_PER_S + NS_PER_S + 1)
        row.report(ProcessState.STARTING)
        assert not child.is_hung(20 * NS_PER_S)
    finally:
        child.stop(5)
        board.close()


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import os,subprocess,sys,time\n"
        "from inspection.children import die_with_parent\n"
        "p=subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)'],"
        "preexec_fn=die_with_parent(os.getpid()))\n"
        "print(p.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while time.monotonic() < until and _alive(pid):
        time.sleep(0.01)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"
