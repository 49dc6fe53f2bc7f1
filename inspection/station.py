# SPDX-License-Identifier: AGPL-3.0-or-later
"""The station's processes, their wiring and their supervision.

`python -m inspection.station --config station.toml` is the *launcher*: it checks the configuration, prints the
timing arithmetic, starts the *supervisor* and starts it again should it die. The supervisor makes the status
board, the rings and the links, starts one process a job and restarts what dies or hangs. Its children die with
it. Neither decides anything about a part: while they repair, the PLC sees silence, and silence is reject.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cameras.pfnc import bytes_per_frame, code_of
from cameras.ring import Ring, SlotOwner
from inspection.board import Board, GateCounter, ProcessState
from inspection.child import EXIT_FAULT
from inspection.children import NS_PER_S, Budget, Child, ProcessSpec, die_with_parent
from inspection.config import StationConfig, load_config
from inspection.link import link_pair
from inspection.recipe import load_recipe
from inspection.timing import check_timing
from inspection.types import StationFault, StationState

_WATCH_S = 0.02
_SUPERVISOR_STALE_S = 5.0


class Wiring:
    """Board, rings and links of one supervisor life; both ends of every link stay open here."""

    def __init__(self, config: StationConfig) -> None:
        shutil.rmtree(
            config.shm_dir, ignore_errors=True
        )  # what a killed supervisor left; nobody else lives here
        config.previews_dir.mkdir(parents=True)
        (config.shm_dir / "data_dir").write_text(f"{config.station.data_dir}\n")  # whose memory this is
        self.board = Board.create(config.board_path, config.board_rows())
        self.rings = {
            c.serial: Ring.create(
                config.ring_path(c.serial),
                c.slots,
                bytes_per_frame(code_of(c.pixel_format), c.width_px, c.height_px),
            )
            for c in config.camera
        }
        self.ends: dict[tuple[str, str], socket.socket] = {}
        self._join("gate", "inspector")
        self._join("inspector", "recorder")
        for c in config.camera:
            self._join(f"camera:{c.serial}", "inspector")

    def _join(self, a: str, b: str) -> None:
        self.ends[a, b], self.ends[b, a] = link_pair()

    def clear_after(self, role: str) -> None:
        """A process died: what it had not read is void, and the slots it owned are free again."""
        for (owner, _), end in self.ends.items():
            if owner == role:
                _drain(end)
        for serial, ring in self.rings.items():
            if role == "inspector":
                ring.reclaim(SlotOwner.INSPECTOR)
            elif role == "recorder":
                ring.reclaim(SlotOwner.RECORDER)
            elif role == f"camera:{serial}":
                ring.reclaim(SlotOwner.WORKER)

    def close(self) -> None:
        """Unmap and close everything."""
        for end in self.ends.values():
            end.close()
        for ring in self.rings.values():
            ring.close()
        self.board.close()


def _drain(end: socket.socket) -> None:
    end.setblocking(False)
    while True:
        try:
            if not end.recv(1):  # a datagram is discarded whole
                return
        except BlockingIOError:
            return


def process_table(config: StationConfig, wiring: Wiring) -> list[ProcessSpec]:
    """Who runs, in the order of starting; stopping goes the other way round."""
    fd = {pair: end.fileno() for pair, end in wiring.ends.items()}
    cameras = {f"camera{i}": f"camera:{c.serial}" for i, c in enumerate(config.camera)}
    inspector_links = {name: fd["inspector", role] for name, role in cameras.items()}
    return [
        ProcessSpec(
            role="recorder",
            module="inspection.recorder",
            links={"inspector": fd["recorder", "inspector"]},
            stale_s=20.0,
        ),
        ProcessSpec(
            role="gate", module="inspection.gate", links={"inspector": fd["gate", "inspector"]}, stale_s=1.0
        ),
        ProcessSpec(
            role="inspector",
            module="inspection.inspector",
            links={
                **inspector_links,
                "gate": fd["inspector", "gate"],
                "recorder": fd["inspector", "recorder"],
            },
            stale_s=1.0,
        ),
        *(
            ProcessSpec(
                role=role,
                module="cameras.worker",
                links={"inspector": fd[role, "inspector"]},
                stale_s=2.0,
                extra=("--camera", name.removeprefix("camera")),
            )
            for name, role in cameras.items()
        ),
    ]


class Supervisor:
    """Starts the process table, watches it on the monotonic clock, restarts with a budget."""

    def __init__(self, config: StationConfig, config_path: Path) -> None:
        log_dir = config.run_dir / "log"
        log_dir.mkdir(parents=True, exist_ok=True)
        self._wiring = Wiring(config)
        self._me = self._wiring.board.row("supervisor")
        self._children = [
            Child(spec, self._wiring.board.row(spec.role), config_path, log_dir)
            for spec in process_table(config, self._wiring)
        ]
        self._config = config
        self._stopping = False
        self._was_ready: set[str] = set()
        self._last_state = 0

    def request_stop(self, *_: object) -> None:
        """Signal handler: finish in order."""
        self._stopping = True

    def run(self) -> int:
        """Until asked to stop; 0, or EXIT_FAULT when a process can never start with this configuration."""
        self._me.claim(ProcessState.READY)
        try:
            while not self._stopping:
                now_ns = time.monotonic_ns()
                self._me.beat(now_ns)
                for child in self._children:
                    if not self._watch(child, now_ns):
                        return EXIT_FAULT
                self._tell_state()
                time.sleep(_WATCH_S)
            return 0
        finally:
            for child in reversed(self._children):
                child.stop(patience_s=10.0 if child.spec.role == "recorder" else 4.0)
                self._me.beat()
            self._wiring.close()
            shutil.rmtree(self._config.shm_dir, ignore_errors=True)

    def _watch(self, child: Child, now_ns: int) -> bool:
        if child.start_at_ns is not None:
            if now_ns >= child.start_at_ns:
                child.start(now_ns)
            return True
        role = child.spec.role
        code = child.exit_code()
        if code is None:
            if child.row.state == ProcessState.READY and child.row.pid == child.pid:
                self._was_ready.add(role)
            if child.is_hung(now_ns):
                _say(f"{role} does not answer; it is stopped and started again.")
                child.kill()
            return True
        if code == EXIT_FAULT and role not in self._was_ready:
            _say(child.last_words() or f"{role} cannot start; see {child.log}.")
            return False
        child.row.report(ProcessState.DOWN, f"ended with {code}")
        self._wiring.clear_after(role)
        child.start_at_ns = child.budget.next_start_ns(now_ns)
        wait_s = (child.start_at_ns - now_ns) / NS_PER_S
        _say(f"{role} ended with {_exit_words(code)}; starting again in {wait_s:.2f} s. {child.last_words()}")
        return True

    def _tell_state(self) -> None:
        gate = self._wiring.board.row("gate")
        state = gate.get(GateCounter.STATION_STATE)
        if state != self._last_state and state in set(StationState):
            self._last_state = state
            port = gate.get(GateCounter.MODBUS_PORT)
            _say(f"state {StationState(state).name.lower()}, Modbus port {port}. {gate.text}".rstrip())


def _exit_words(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _say(text: str) -> None:
    sys.stderr.write(f"gatesight: {text}\n")
    sys.stderr.flush()


def supervise(config: StationConfig, config_path: Path) -> int:
    """The supervisor process: one a data_dir, enforced by a lock that the kernel drops with the process."""
    config.station.data_dir.mkdir(parents=True, exist_ok=True)
    with (config.station.data_dir / "station.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise StationFault(
                f"Another station already runs on {config.station.data_dir}: stop it, or give station.data_dir "
                "another folder."
            ) from e
        supervisor = Supervisor(config, config_path)
        signal.signal(signal.SIGTERM, supervisor.request_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher, which asks us properly
        return supervisor.run()


class Launcher:
    """The outer loop: keeps a supervisor alive."""

    def __init__(self, config: StationConfig, config_path: Path) -> None:
        self._config = config
        self._command = [
            sys.executable,
            "-m",
            "inspection.station",
            "--supervise",
            "--config",
            str(config_path),
        ]
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None

    def request_stop(self, *_: object) -> None:
        """Signal handler: pass the wish on."""
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def run(self) -> int:
        """Until the supervisor ends by itself or we are asked to stop; its exit code."""
        budget = Budget()
        while True:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - the launcher has one thread
            )
            code = self._await_end(self._process)
            if self._stopping or code in {0, EXIT_FAULT}:
                return 0 if self._stopping else code
            now_ns = time.monotonic_ns()
            at_ns = budget.next_start_ns(now_ns)
            _say(f"the supervisor ended with {_exit_words(code)}; starting it again.")
            time.sleep((at_ns - now_ns) / NS_PER_S)

    def _await_end(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait(0.5)
            except subprocess.TimeoutExpired:
                if self._is_frozen(process.pid):
                    _say("the supervisor does not answer; it is stopped and started again.")
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
        _say(line)
    load_recipe(config.station.recipe)
    if not config.station.bundle.exists():
        raise StationFault(
            f"{config_path}: station.bundle: no model bundle at {config.station.bundle}; correct the path."
        )
    launcher = Launcher(config, config_path)
    signal.signal(signal.SIGTERM, launcher.request_stop)
    signal.signal(signal.SIGINT, launcher.request_stop)
    return launcher.run()


def main(argv: list[str] | None = None) -> int:
    """Entry point of launcher and supervisor; 0 stopped on request, 3 cannot work like this, 1 unexpected."""
    parser = argparse.ArgumentParser(prog="inspection.station", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--supervise", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    path: Path = arguments.config.resolve()
    try:
        config = load_config(path)
        return supervise(config, path) if arguments.supervise else launch(config, path)
    except StationFault as e:
        _say(str(e))
        return EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main())
