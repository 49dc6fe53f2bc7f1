# SPDX-License-Identifier: AGPL-3.0-or-later
"""The outer loop of a station: refuse what cannot work, then keep a supervisor alive, whatever happens to it.

It reads the configuration, starts processes and waits; it maps no ring, opens no journal and decides nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from inspection.board import Board
from inspection.child import EXIT_FAULT
from inspection.children import NS_PER_S, Budget, die_with_parent
from inspection.config import StationConfig
from inspection.pins import Pins, bundle_path
from inspection.timing import check_timing
from inspection.types import StationFault

_SUPERVISOR_STALE_S = 5.0


def exit_words(code: int) -> str:
    """An exit status for people."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def say(text: str) -> None:
    """One line to whoever started the station."""
    sys.stderr.write(f"gatesight: {text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def only_station_on(data_dir: Path) -> Iterator[None]:
    """One station a data_dir, enforced by a lock that ends with the process. StationFault if taken."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "station.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise StationFault(
                f"Another station already runs on {data_dir}: stop it, or give station.data_dir another folder."
            ) from e
        yield


class Launcher:
    """The outer loop: keeps a supervisor alive.

    A configuration that is refused at the first start is refused for good: somebody stands there and reads why.
    Once the station has been ready, whatever refuses (a camera that is just booting, a full disk) may pass:
    from then on the launcher tries again for ever, with back-off, and says why each time.
    """

    def __init__(self, config: StationConfig, config_path: Path) -> None:
        self._config = config
        self._command = [
            *(sys.executable, "-m", "inspection.station", "--supervise"),
            *("--config", str(config_path)),
        ]
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._was_ready = False

    def request_stop(self, *_: object) -> None:
        """Signal handler: pass the wish on."""
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def run(self) -> int:
        """Until the supervisor ends for good or we are asked to stop; its exit code."""
        budget = Budget()
        while not self._stopping:
            code = self._one_life()
            if self._stopping:
                break
            if code == 0 or (code == EXIT_FAULT and not self._was_ready):
                return code
            now_ns = time.monotonic_ns()
            at_ns = budget.next_start_ns(now_ns)
            wait_s = (at_ns - now_ns) / NS_PER_S
            say(f"the supervisor ended with {exit_words(code)}; starting it again in {wait_s:.2f} s.")
            while not self._stopping and time.monotonic_ns() < at_ns:  # in steps: a signal ends the wait
                time.sleep(min(0.1, max(0.0, (at_ns - time.monotonic_ns()) / NS_PER_S)))
        self._clear_memory()
        return 0

    def _clear_memory(self) -> None:
        """Stopped between two lives: what a killed supervisor left in memory goes, if it is still ours."""
        with contextlib.suppress(StationFault), only_station_on(self._config.station.data_dir):
            shutil.rmtree(self._config.shm_dir, ignore_errors=True)

    def _one_life(self) -> int:
        """Start a supervisor and wait for its end; its exit code. Learns whether the station got ready."""
        ready, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            command = [*self._command, "--ready-fd", str(theirs), *(["--again"] if self._was_ready else [])]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs,),
                preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - the launcher has one thread
            )
            if self._stopping:  # the signal came before there was anybody to pass it on to
                self._process.terminate()
            code = self._await_end(self._process)
            with contextlib.suppress(BlockingIOError):  # nothing in it: never ready
                self._was_ready |= bool(os.read(ready, 1))
        finally:
            os.close(ready)
            os.close(theirs)
        return code

    def _await_end(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait(0.5)
            except subprocess.TimeoutExpired:
                if self._is_frozen(process.pid):
                    say("the supervisor does not answer; it is stopped and started again.")
                    process.kill()

    def _is_frozen(self, pid: int) -> bool:
        try:
            board = Board.attach(self._config.board_path)
        except StationFault:
            return False
        try:
            row = board.row("supervisor")
            return row.pid == pid and row.age_ns(time.monotonic_ns()) > _SUPERVISOR_STALE_S * NS_PER_S
        finally:
            board.close()


def launch(config: StationConfig, config_path: Path) -> int:
    """The launcher process: refuse what cannot work, then keep a supervisor alive."""
    for line in check_timing(config.line):
        say(line)
    pins = Pins.of(config)  # reads the recipe and the registry
    if not bundle_path(config, pins.bundle).exists():
        raise StationFault(
            f"{config_path}: station.bundle: no model bundle at {bundle_path(config, pins.bundle)}; correct the"
            " path."
        )
    launcher = Launcher(config, config_path)
    signal.signal(signal.SIGTERM, launcher.request_stop)
    signal.signal(signal.SIGINT, launcher.request_stop)
    return launcher.run()
