# SPDX-License-Identifier: AGPL-3.0-or-later
"""The camera side as a process: at each part's trigger instant it pulls the trigger line of every camera.

    python -m inspection.twin.world --plan plan.json --log world.jsonl

It draws nothing: the painter has the frames ready before their instant. A part that was not painted in time
gets no pictures, is counted as `world_late`, and the report says so. One line of JSON on stdin, {"t0_ns": N},
starts the belt; {"stop": true} or a closed stdin ends it. Status lines of JSON go to stdout.
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
from typing import Any

from cameras.simulator.feed import Feed
from inspection.twin.belt import Belt, BeltPlan
from inspection.twin.chance import frame_dropped
from inspection.twin.painter import buffer_of
from inspection.twin.plc import FactLog
from inspection.types import StationFault

_STATUS_NS = 250_000_000
_FINE_NS = 1_500_000  # the last stretch before an instant is slept through without looking at stdin
_LATE_NS = 5_000_000
FEED_SLOTS = 8


class World:
    """The feeds of all cameras, the buffer of painted parts, and the belt's clock."""

    def __init__(self, plan: dict[str, Any], log: FactLog) -> None:
        self._plan = plan
        self._log = log
        self._belt = Belt(BeltPlan(**plan["belt"]))
        self._ahead = buffer_of(plan, create=True)
        colour = len(plan["shape"]) == 3
        self._feeds = [
            Feed(
                plan["feed_dir"],
                serial,
                plan["shape"][1],
                plan["shape"][0],
                samples="rgb8" if colour else "grey8",
                slots=FEED_SLOTS,
            )
            for serial in plan["serials"]
        ]
        self._t0_ns: int | None = None
        self._stopping = False
        self._commands = b""
        self._said_ns = 0
        self.next_part = 0
        self.world_late = 0  # parts that were not painted at their instant
        self.late_pushes = 0  # more than 5 ms after their instant
        self.worst_push_ns = 0
        self.dropped = 0
        self.refused = 0

    def run(self) -> None:
        """Push every part at its instant until the last one, then wait for the end."""
        parts = self._plan["parts"]
        while not self._stopping:
            if self._t0_ns is None or (parts is not None and self.next_part >= parts):
                self._listen(time.monotonic_ns() + 50_000_000)
                continue
            at_ns = self._t0_ns + self._belt.trigger_ns(self.next_part)
            self._listen(at_ns - _FINE_NS)
            if self._stopping:
                break
            left_ns = at_ns - time.monotonic_ns()
            if left_ns > 0:
                time.sleep(left_ns / 1e9)
            self._trigger(self.next_part, at_ns)
            self.next_part += 1
            self._ahead.done(self.next_part - 1)
        self._say()

    def _trigger(self, part_no: int, at_ns: int) -> None:
        """All cameras' edges of one part."""
        if not self._ahead.is_painted(part_no):
            self.world_late += 1
            self._log("world_late", number=part_no)
            return
        now_ns = time.monotonic_ns()
        dropped = [
            view
            for view in range(self._plan["views"])
            if frame_dropped(self._plan["seed"], part_no, view, self._plan["drop_share"])
        ]
        for view, feed in enumerate(self._feeds):
            encoder = self._belt.camera_encoder_pulses(part_no, view)
            pushed = feed.push(self._ahead.frame(part_no, view), encoder, drop=view in dropped)
            self.refused += not pushed
        self.dropped += len(dropped)
        self.worst_push_ns = max(self.worst_push_ns, now_ns - at_ns)
        self.late_pushes += now_ns - at_ns > _LATE_NS
        self._log("pushed", number=part_no, ns=now_ns, late_ns=now_ns - at_ns, dropped=dropped)

    def _listen(self, until_ns: int) -> None:
        """Commands and status lines until an instant."""
        while not self._stopping:
            now_ns = time.monotonic_ns()
            if now_ns - self._said_ns >= _STATUS_NS:
                self._say()
            left_ns = until_ns - now_ns
            if left_ns <= 0:
                return
            if select.select([sys.stdin], [], [], min(left_ns, _STATUS_NS) / 1e9)[0]:
                self._command()

    def _command(self) -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            self._stopping = True
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            self._t0_ns = command.get("t0_ns", self._t0_ns)
            self._stopping = self._stopping or bool(command.get("stop"))

    def _say(self) -> None:
        self._said_ns = time.monotonic_ns()
        ahead = self._ahead
        last = self.next_part + ahead.depth - 1
        if self._plan["parts"] is not None:
            last = min(last, self._plan["parts"] - 1)
        status = {
            "ready": last < self.next_part or ahead.is_painted(last),
            "pushed_parts": self.next_part,
            "acquiring": [feed.acquiring for feed in self._feeds],
            "world_late": self.world_late,
            "late_pushes": self.late_pushes,
            "worst_push_ms": round(self.worst_push_ns / 1e6, 2),
            "dropped": self.dropped,
            "edges_refused": [feed.edges_refused for feed in self._feeds],
            "edges_accepted": [feed.edges_accepted for feed in self._feeds],
            "edges_missed": [feed.edges_missed for feed in self._feeds],
            "edges_lost": [feed.edges_lost for feed in self._feeds],
        }
        self._log.flush()
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), json.dumps(status).encode() + b"\n")

    def close(self) -> None:
        """Remove the feeds."""
        for feed in self._feeds:
            feed.close()


def main(argv: list[str] | None = None) -> int:
    """Run the camera side until told to stop; 3 with one sentence when its feeds cannot be made."""
    parser = argparse.ArgumentParser(prog="inspection.twin.world", description="the simulated cameras' world")
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = FactLog(arguments.log)
    try:
        world = World(json.loads(arguments.plan.read_text(encoding="utf-8")), log)
    except StationFault as e:
        sys.stderr.write(f"{e}\n")
        return 3
    with contextlib.suppress(OSError):
        os.nice(-10)
    os.set_blocking(sys.stdout.fileno(), False)
    gc.collect()
    gc.freeze()
    try:
        world.run()
    finally:
        world.close()
        log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
