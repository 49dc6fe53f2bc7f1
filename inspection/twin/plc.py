# SPDX-License-Identifier: AGPL-3.0-or-later
"""The soft PLC as a process: a fixed program scan, a Modbus connection, a log of raw facts. It draws nothing.

    python -m inspection.twin.plc --plan plan.json --log plc.jsonl

One line of JSON on stdin, {"t0_ns": N}, starts the belt; {"stop": true} lowers Arm and ends. Status lines of
JSON go to stdout. Each scan sends one FC16 (0..55) and, when that is answered, one FC04 (80); a slow answer
delays reading, never the scan, and so never a move of the gate.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from inspection.twin import contract as c
from inspection.twin.belt import Belt, BeltPlan
from inspection.twin.modbus_client import READ_INPUT, ModbusClient, ModbusFault
from inspection.twin.soft_plc import PlcPlan, SoftPlc

RECONNECT_NS = 50_000_000
STATUS_NS = 250_000_000
FLUSH_NS = 500_000_000
LATE_SCAN_NS = 20_000_000
DISARM_NS = 300_000_000  # after a stop: long enough for the station to see Arm lowered


class FactLog:
    """Lines of JSON; buffered, so that a slow disk does not meet the scan at every fact."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", buffering=1 << 16)

    def __call__(self, fact: str, **fields: Any) -> None:
        """Append one fact."""
        self._file.write(json.dumps({"fact": fact, **fields}, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


class PlcRun:
    """The shell around `SoftPlc`: clock, socket, pipes."""

    def __init__(self, plan: dict[str, Any], log: FactLog) -> None:
        belt = Belt(BeltPlan(**plan["belt"]))
        self.plc = SoftPlc(belt, PlcPlan(**plan["plc"]), log)
        self._client = ModbusClient(plan["host"], plan["port"])
        self._log = log
        self._scan_ns = int(plan["scan_ms"] * 1e6)
        self._connect_ns = 0
        self._outputs = [0] * c.HOLDING_WRITTEN
        self._stop_ns: int | None = None
        self._commands = b""
        self.late_scans = 0
        self.worst_scan_ns = 0
        self.reconnects = 0

    def run(self) -> None:
        """Scan until stopped and the station has seen Arm lowered."""
        tick = time.monotonic_ns()
        status_ns = flush_ns = tick
        while self._stop_ns is None or tick < self._stop_ns + DISARM_NS:
            tick += self._scan_ns
            self._serve_until(tick)
            now = time.monotonic_ns()
            self.worst_scan_ns = max(self.worst_scan_ns, now - tick)
            if now - tick > LATE_SCAN_NS:
                self.late_scans += 1
                self._log("late_scan", ns=now, late_ns=now - tick)
                tick = now - (now - tick) % self._scan_ns
            self._cycle(now)
            if now - status_ns >= STATUS_NS:
                status_ns = now
                self._say()
            elif now - flush_ns >= FLUSH_NS:
                flush_ns = now
                self._log.flush()
        self._client.close()
        self.plc.end(time.monotonic_ns())
        self._say()

    def _cycle(self, now: int) -> None:
        self._answer(now, readable=False)  # also where a time-out is noticed
        self._outputs = self.plc.scan(now)
        if self._stop_ns is not None:
            self._outputs[c.OUT_CONTROL] = 0
        try:
            if not self._client.connected and now - self._connect_ns >= RECONNECT_NS:
                self._connect_ns = now
                self._client.connect()
                self.reconnects += 1
            if self._client.idle:
                self._client.request_write(now, 0, self._outputs)
        except ModbusFault as e:
            self.plc.lost(now, str(e))

    def _serve_until(self, tick: int) -> None:
        """Answers and commands until the next scan is due."""
        stdin = sys.stdin.fileno()
        while (left := tick - time.monotonic_ns()) > 0:
            watched = [stdin] if self._stop_ns is None else []
            if self._client.connected:
                watched.append(self._client.fileno())
            readable, _, _ = select.select(watched, [], [], left / 1e9)
            if stdin in readable:
                self._command(stdin)
            if self._client.fileno() in readable:
                self._answer(time.monotonic_ns(), readable=True)

    def _answer(self, now: int, *, readable: bool) -> None:
        try:
            answer = self._client.answer(now)
            if answer is None:
                if readable and self._client.idle:  # with nothing asked: the other side has closed
                    self._client.close()
                    raise ModbusFault("the station closed the connection")
                return
            function, words = answer
            if function == READ_INPUT:
                if len(words) != c.INPUT_REGISTERS:
                    raise ModbusFault("a read answer has the wrong length")
                self.plc.received(now, words)
            else:
                self._client.request_read_input(now, 0, c.INPUT_REGISTERS)
        except ModbusFault as e:
            self._client.close()
            self.plc.lost(now, str(e))

    def _command(self, stdin: int) -> None:
        data = os.read(stdin, 4096)
        if not data:
            self._stop_ns = time.monotonic_ns()  # whoever started us is gone
            return
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "t0_ns" in command:
                self.plc.t0_ns = command["t0_ns"]
                self._log("start", t0_ns=command["t0_ns"])
            if command.get("stop"):
                self._stop_ns = time.monotonic_ns()

    def _say(self) -> None:
        counts = self.plc.counts
        status = {
            "phase": self.plc.phase.value,
            "finished": self.plc.finished,
            "parts": counts.parts,
            "told": counts.told,
            "skipped": counts.skipped,
            "untracked": counts.untracked,
            "bins": counts.bins,
            "late_scans": self.late_scans,
            "worst_scan_ms": round(self.worst_scan_ns / 1e6, 1),
            "connections": self.reconnects,
            "crowded_scans": counts.crowded_scans,
        }
        with contextlib.suppress(OSError):  # nobody reads: the scan does not wait for them
            os.write(sys.stdout.fileno(), json.dumps(status).encode() + b"\n")


def main(argv: list[str] | None = None) -> int:
    """Run the PLC until told to stop; 1 with one sentence when its plan or log cannot be used."""
    parser = argparse.ArgumentParser(prog="inspection.twin.plc", description="the simulated line's soft PLC")
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        plan = json.loads(arguments.plan.read_text(encoding="utf-8"))
        log = FactLog(arguments.log)
    except (OSError, ValueError) as e:
        sys.stderr.write(f"The soft PLC cannot start: {e}.\n")
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to whoever started us
    with contextlib.suppress(OSError):
        os.nice(-10)  # a PLC does not share its scan; without the right it runs as it is
    os.set_blocking(sys.stdout.fileno(), False)
    gc.collect()
    gc.freeze()
    try:
        PlcRun(plan, log).run()
    finally:
        log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
