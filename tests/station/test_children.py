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
from inspection.child_log import ChildLog
from inspection.children import NS_PER_S, Budget, Child, ProcessSpec, StallWatch


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


def test_a_process_that_is_ready_after_a_long_start_is_not_hung(tmp_path: Path) -> None:
    """Loading a model takes seconds without a beat; the running limit must not fall on them at the end."""
    board = Board.create(tmp_path / "board", ["inspector"])
    row = board.row("inspector")
    spec = ProcessSpec(role="inspector", module="http.server", links={}, stale_s=1.0, start_limit_s=60)
    child = Child(spec, row, tmp_path / "x.toml", tmp_path)
    child._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        row._words[0] = child._process.pid
        row.report(ProcessState.STARTING)
        row.beat(time.monotonic_ns() - 20 * NS_PER_S)
        assert not child.is_hung(time.monotonic_ns())
        row.report(ProcessState.READY)  # and then nothing for a moment: it is collecting garbage
        assert not child.is_hung(time.monotonic_ns())
    finally:
        child.stop(5)
        board.close()


def test_a_watcher_that_stood_still_itself_gives_everybody_their_time_again(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", ["gate"])
    row = board.row("gate")
    spec = ProcessSpec(role="gate", module="http.server", links={}, stale_s=1.0)
    child = Child(spec, row, tmp_path / "x.toml", tmp_path)
    child._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    stall = StallWatch(0)
    try:
        row._words[0] = child._process.pid
        row.report(ProcessState.READY)
        row.beat(0)
        for step in range(1, 46):  # the watcher turns every 20 ms, and sees a silence grow
            assert not stall.look(step * NS_PER_S // 50)
        assert not child.is_hung(45 * NS_PER_S // 50, stall.awake_since_ns)
        assert stall.look(9 * NS_PER_S)  # now the whole box stood still for eight seconds
        assert not child.is_hung(9 * NS_PER_S, stall.awake_since_ns)
        assert not child.is_hung(10 * NS_PER_S, stall.awake_since_ns)
        assert child.is_hung(10 * NS_PER_S + 1, stall.awake_since_ns)  # it does hang: seen a limit later
    finally:
        child.stop(5)
        board.close()


def test_a_log_is_bounded_while_its_child_goes_on_writing(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "x.log", limit_bytes=100_000)
    chatter = (
        "import sys\nfor i in range(20000): print(f'line {i} of a child that talks'); sys.stdout.flush()\n"
    )
    with log.open() as f:
        child = subprocess.Popen([sys.executable, "-c", chatter], stdout=f)
    cuts = 0
    while child.poll() is None:
        cuts += log.bound()
        time.sleep(0.001)
    log.bound()
    assert cuts > 1
    assert log.path.stat().st_size <= 100_000
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["x.log", "x.log.1"]
    assert log.path.read_bytes()[:1] != b"\0"  # written in append mode: no hole where the cut was


def test_last_words_are_the_end_of_this_child_and_not_of_the_one_before(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "x.log")
    with log.open() as f:
        f.write(b"x" * 5_000_000 + b"\nThe camera is gone.\n")
    assert log.last_line() == "The camera is gone."
    with log.open() as f:
        f.write(b"The disk is full.\n")
    with log.open():
        pass
    assert log.last_line() == ""
    with log.open():
        pass
    assert log.last_line() == ""  # killed without a word
    assert log.path.stat().st_size < 100
    assert (tmp_path / "x.log.1").stat().st_size > 5_000_000


def test_last_words_read_only_the_end_of_the_log(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "x.log")
    with log.open() as f:
        f.write(b"the only line that matters is too far away\n" + b"\n" * 100_000)
    assert log.last_line() == ""


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
