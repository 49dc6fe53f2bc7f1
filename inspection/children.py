# SPDX-License-Identifier: AGPL-3.0-or-later
"""Child processes of the supervisor: how one is started, judged stale, and how often it may come back.

`Budget` is pure (time is passed in); `Child` is the thin shell around subprocess.Popen.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inspection.board import ProcessState, Row
from inspection.child_log import ChildLog

_PR_SET_PDEATHSIG = 1
NS_PER_S = 1_000_000_000


def die_with_parent(parent_pid: int) -> Callable[[], None]:
    """A preexec function: the kernel kills the child when its parent dies, however it dies (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:  # the parent died between fork and prctl
            os._exit(1)

    return arm


@dataclass(slots=True)
class Budget:
    """How soon a dead process may start again: quickly at first, with back-off once it keeps dying.

    Up to `burst` restarts within `window_s` cost `first_delay_s` each; beyond that the delay doubles
    up to `longest_delay_s`. Nothing is ever given up: a station that waits is safe, it rejects.
    """

    burst: int = 8
    window_s: float = 60.0
    first_delay_s: float = 0.05
    longest_delay_s: float = 15.0
    _deaths_ns: list[int] = field(default_factory=list)

    def next_start_ns(self, now_ns: int) -> int:
        """Record a death at now_ns; the monotonic instant at which the process may start again."""
        self._deaths_ns = [t for t in self._deaths_ns if now_ns - t < self.window_s * NS_PER_S]
        self._deaths_ns.append(now_ns)
        over = len(self._deaths_ns) - self.burst
        delay_s = self.first_delay_s if over <= 0 else min(self.longest_delay_s, 0.5 * 2**over)
        return now_ns + int(delay_s * NS_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One line of the station's process table."""

    role: str  # row on the status board
    module: str
    links: dict[str, int]  # name the child knows the link by -> inherited descriptor
    stale_s: float  # once READY: a heartbeat older than this means hung: kill and restart
    start_limit_s: float = 60.0  # loading a model or waiting for a camera may take this long
    extra: tuple[str, ...] = ()
    needed: bool = True  # False: the station is ready without it, and its refusal stops nothing


class StallWatch:
    """Since when the watcher itself has been awake: what it could not see in its sleep it must not judge.

    After a box that stood still, or a watcher that got no processor, every heartbeat looks old although nobody
    hangs. From then on each child has its full time again. Pure.
    """

    def __init__(self, now_ns: int, stall_ns: int = 500_000_000) -> None:
        self.awake_since_ns = self._last_ns = now_ns
        self._stall_ns = stall_ns

    def look(self, now_ns: int) -> bool:
        """Call every turn; True when the watcher had stood still since the last one."""
        stalled = now_ns - self._last_ns > self._stall_ns
        if stalled:
            self.awake_since_ns = now_ns
        self._last_ns = now_ns
        return stalled


class Child:
    """One supervised process and its log file."""

    def __init__(
        self, spec: ProcessSpec, row: Row, config: Path, log_dir: Path, more: tuple[str, ...] = ()
    ) -> None:
        """`more`: arguments that every child of this supervisor gets."""
        self.spec = spec
        self.row = row
        self.budget = Budget()
        self.start_at_ns: int | None = 0
        self.log = ChildLog(log_dir / f"{spec.role.replace(':', '-')}.log")
        self._config = config
        self.more = more
        self._process: subprocess.Popen[bytes] | None = None
        self._started_ns = 0
        self.restarts = -1

    @property
    def pid(self) -> int | None:
        """Process id while running."""
        return self._process.pid if self._process else None

    def start(self, now_ns: int) -> None:
        """Start it; stderr and stdout go to its own log."""
        arguments = [sys.executable, "-m", self.spec.module, "--config", str(self._config), *self.spec.extra]
        arguments += self.more
        links = ",".join(f"{name}={fd}" for name, fd in self.spec.links.items())
        if links:
            arguments += ["--links", links]
        with self.log.open() as log:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=tuple(self.spec.links.values()),
                preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - the supervisor has one thread
            )
        self._started_ns = now_ns
        self.start_at_ns = None
        self.restarts += 1

    def exit_code(self) -> int | None:
        """Exit status if it has ended since the last look, else None."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None:
            self._process = None
        return code

    def is_hung(self, now_ns: int, awake_since_ns: int = 0) -> bool:
        """Alive but silent for longer than its row of the process table allows.

        Silence counts from `awake_since_ns` at the earliest (see `StallWatch`).
        """
        if self._process is None:
            return False
        mine = self.row.pid == self._process.pid
        limit_s = self.spec.stale_s
        if not mine or self.row.state == ProcessState.STARTING:
            limit_s = self.spec.start_limit_s
        since_ns = self.row.heartbeat_ns if mine else self._started_ns
        return now_ns - max(since_ns, awake_since_ns) > limit_s * NS_PER_S

    def kill(self) -> None:
        """SIGKILL; the exit is seen by the next `exit_code`."""
        if self._process is not None:
            self._process.kill()

    def stop(self, patience_s: float) -> None:
        """SIGTERM, then SIGKILL after patience_s."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def last_words(self) -> str:
        """The last line of its log: a StationFault is one sentence."""
        return self.log.last_line()
