# SPDX-License-Identifier: AGPL-3.0-or-later
"""The station's processes, their wiring and their supervision.

`python -m inspection.station --config station.toml` is the *launcher*: it checks the configuration, prints the
timing arithmetic, starts the *supervisor* and starts it again should it die. The supervisor makes the status
board, the rings and the links, starts one process a job and restarts what dies or hangs. Its children die with
it. Neither decides anything about a part: while they repair, the PLC sees silence, and silence is reject.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cameras.pfnc import bytes_per_frame, code_of
from cameras.ring import Ring, SlotOwner
from inspection.board import Board, GateCounter, ProcessState
from inspection.child import EXIT_FAULT
from inspection.children import NS_PER_S, Child, ProcessSpec, StallWatch
from inspection.config import StationConfig, load_config
from inspection.launcher import exit_words, launch, only_station_on, say
from inspection.link import Link, link_pair
from inspection.pins import Pins
from inspection.shadow_feed import SHADOW_SLOTS
from inspection.succession import Succession
from inspection.types import StationFault, StationState

_WATCH_S = 0.02
_STALE_S = 3.0
"""The gate declares parts NOT_INSPECTED after 150 ms of a silent inspector, and the PLC diverts after 200 ms of
a silent gate, whatever is done here. Killing is only the way back from a loop that is stuck for good, and costs
a cold start: a process that got no processor for a second must not pay for it.
"""
_LOG_LOOK_NS = 5_000_000_000
_PATIENCE_S = {"recorder": 10.0, "shadow": 0.5, "watch": 0.5}
"""With a process that was asked to stop: the recorder brings the database up to date, the shadow has nothing to
finish, and where nobody leaves it a processor it would never hear.
"""


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
        self.shadow_rings = {
            c.serial: Ring.create(
                config.shadow_ring_path(c.serial),
                SHADOW_SLOTS,
                bytes_per_frame(code_of(c.pixel_format), c.width_px, c.height_px),
            )
            for c in config.camera
        }
        self.ends: dict[tuple[str, str], socket.socket] = {}
        self._join("gate", "inspector")
        self._join("inspector", "recorder")
        self._join("supervisor", "inspector")
        self._join("inspector", "shadow")
        self._join("shadow", "recorder")
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
        for ring in self.shadow_rings.values():  # there the inspector fills and the shadow reads
            if role == "inspector":
                ring.reclaim(SlotOwner.WORKER)
            elif role == "shadow":
                ring.reclaim(SlotOwner.INSPECTOR)

    def close(self) -> None:
        """Unmap and close everything."""
        for end in self.ends.values():
            end.close()
        for ring in (*self.rings.values(), *self.shadow_rings.values()):
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
            links={"inspector": fd["recorder", "inspector"], "shadow": fd["recorder", "shadow"]},
            stale_s=20.0,
        ),
        ProcessSpec(
            role="gate",
            module="inspection.gate",
            links={"inspector": fd["gate", "inspector"]},
            stale_s=_STALE_S,
        ),
        ProcessSpec(
            role="inspector",
            module="inspection.inspector",
            links={
                **inspector_links,
                "gate": fd["inspector", "gate"],
                "recorder": fd["inspector", "recorder"],
                "supervisor": fd["inspector", "supervisor"],
                "shadow": fd["inspector", "shadow"],
            },
            stale_s=_STALE_S,
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
        ProcessSpec(
            role="shadow",
            module="inspection.shadow",
            links={"inspector": fd["shadow", "inspector"], "recorder": fd["shadow", "recorder"]},
            stale_s=600.0,  # it runs when nobody else wants to: silence says little
            start_limit_s=600.0,
            needed=False,
        ),
        *_watch(config),
    ]


def _watch(config: StationConfig) -> list[ProcessSpec]:
    """The watch has no link to anybody: reviews, records and registry are all that it knows."""
    if config.watch.dataset is None:
        return []
    return [ProcessSpec(role="watch", module="inspection.watcher", links={}, stale_s=600.0, needed=False)]


class Supervisor:
    """Starts the process table, watches it on the monotonic clock, restarts with a budget."""

    def __init__(
        self, config: StationConfig, config_path: Path, *, again: bool = False, on_ready: Callable[[], None]
    ) -> None:
        """`again`: the station was ready before in this launcher's life, so that no refusal is final any more.
        `on_ready` is called once, when it is ready.
        """
        log_dir = config.run_dir / "log"
        pins = Pins.of(config)
        log_dir.mkdir(parents=True, exist_ok=True)
        self._wiring = Wiring(config)
        self._succession = Succession(config, pins, Link(self._wiring.ends["supervisor", "inspector"]), say)
        self._me = self._wiring.board.row("supervisor")
        self._children = [
            Child(spec, self._wiring.board.row(spec.role), config_path, log_dir, ("--pins", pins.text))
            for spec in process_table(config, self._wiring)
        ]
        self._config = config
        self._stopping = False
        self._was_ready: set[str] = set()
        self._again = again
        self._on_ready = on_ready
        self._stall = StallWatch(time.monotonic_ns())
        self._next_log_look_ns = 0
        self._last_state = 0

    def request_stop(self, *_: object) -> None:
        """Signal handler: finish in order."""
        self._stopping = True

    def run(self) -> int:
        """Until asked to stop; 0, or EXIT_FAULT when a process cannot start at the station's first start."""
        self._me.claim(ProcessState.READY)
        try:
            while not self._stopping:
                now_ns = time.monotonic_ns()
                self._me.beat(now_ns)
                self._stall.look(now_ns)
                for child in self._children:
                    if not self._watch(child, now_ns):
                        return EXIT_FAULT
                if self._succession.look(now_ns):
                    self._pin_anew()
                self._tell_state()
                if now_ns >= self._next_log_look_ns:
                    self._next_log_look_ns = now_ns + _LOG_LOOK_NS
                    for child in self._children:
                        child.log.bound()
                time.sleep(_WATCH_S)
            return 0
        finally:
            for child in reversed(self._children):
                child.stop(patience_s=_PATIENCE_S.get(child.spec.role, 4.0))
                self._me.beat()
            self._wiring.close()
            shutil.rmtree(self._config.shm_dir, ignore_errors=True)

    def _pin_anew(self) -> None:
        """Whoever starts from now on runs by the bundle that is in use now."""
        for child in self._children:
            child.more = ("--pins", self._succession.pins.text)

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
            if child.is_hung(now_ns, self._stall.awake_since_ns):
                say(f"{role} does not answer; it is stopped and started again.")
                child.kill()
            return True
        # a full disk takes no log: what stands on the board is the same sentence
        words = child.last_words() or (child.row.text if child.row.state == ProcessState.FAULT else "")
        first = child.spec.needed and not self._again and role not in self._was_ready
        if code == EXIT_FAULT and first:
            say(words or f"{role} cannot start; see {child.log.path}.")
            return False
        said = code == EXIT_FAULT and words
        child.row.report(ProcessState.DOWN, words if said else f"ended with {code}")
        self._wiring.clear_after(role)
        if role == "inspector" and self._succession.inspector_died(refused_to_start=code == EXIT_FAULT):
            self._pin_anew()
        child.start_at_ns = child.budget.next_start_ns(now_ns)
        wait_s = (child.start_at_ns - now_ns) / NS_PER_S
        say(f"{role} ended with {exit_words(code)}; starting again in {wait_s:.2f} s. {words}".rstrip())
        return True

    def _tell_state(self) -> None:
        gate = self._wiring.board.row("gate")
        state = gate.get(GateCounter.STATION_STATE)
        if not self._again and state in (StationState.READY, StationState.CONTINUOUS_EXECUTION):
            # everybody: a recorder that will refuse its database is still starting when the gate is ready
            self._again = self._was_ready >= {c.spec.role for c in self._children if c.spec.needed}
            if self._again:
                self._on_ready()
        if state != self._last_state and state in set(StationState):
            self._last_state = state
            port = gate.get(GateCounter.MODBUS_PORT)
            say(f"state {StationState(state).name.lower()}, Modbus port {port}. {gate.text}".rstrip())


def supervise(config: StationConfig, config_path: Path, ready_fd: int | None, *, again: bool) -> int:
    """The supervisor process: one a data_dir, enforced by a lock that the kernel drops with the process.

    One byte on `ready_fd` tells the launcher that the station was ready once.
    """

    def on_ready() -> None:
        if ready_fd is not None:
            os.write(ready_fd, b"R")

    with only_station_on(config.station.data_dir):
        supervisor = Supervisor(config, config_path, again=again, on_ready=on_ready)
        signal.signal(signal.SIGTERM, supervisor.request_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher, which asks us properly
        return supervisor.run()


def main(argv: list[str] | None = None) -> int:
    """Entry point of launcher and supervisor; 0 stopped on request, 3 cannot work like this, 1 unexpected."""
    parser = argparse.ArgumentParser(prog="inspection.station", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--supervise", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--again", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    path: Path = arguments.config.resolve()
    try:
        config = load_config(path)
        if arguments.supervise:
            return supervise(config, path, arguments.ready_fd, again=arguments.again)
        return launch(config, path)
    except StationFault as e:
        say(str(e))
        return EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main())
