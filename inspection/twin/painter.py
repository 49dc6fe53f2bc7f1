# SPDX-License-Identifier: AGPL-3.0-or-later
"""The painter process: draws (or loads) the frames of coming parts into the buffer, at low priority.

    python -m inspection.twin.painter --plan plan.json

It ends when all parts are painted or its stdin closes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import cv2

from inspection.twin.frames_ahead import FramesAhead
from inspection.twin.source import PartSource, make_source
from inspection.types import StationFault

_WAIT_S = 0.01


def source_of(plan: dict[str, Any]) -> PartSource:
    """The source that a camera-side plan names."""
    coco = None if plan["coco"] is None else Path(plan["coco"])
    return make_source(coco=coco, seed=plan["seed"], views=plan["views"], colour=plan["colour"])


def buffer_of(plan: dict[str, Any], *, create: bool = False) -> FramesAhead:
    """The buffer that a camera-side plan names."""
    return FramesAhead(
        Path(plan["buffer"]),
        depth=plan["depth"],
        views=plan["views"],
        shape=tuple(plan["shape"]),
        create=create,
    )


def paint(plan: dict[str, Any]) -> None:
    """Paint until the last part, or until nobody holds the other end of stdin."""
    source, ahead = source_of(plan), buffer_of(plan)
    part_no = 0
    while plan["parts"] is None or part_no < plan["parts"]:
        free = ahead.next_to_paint(part_no)
        if select.select([sys.stdin], [], [], _WAIT_S if free is None else 0)[0]:
            return
        if free is None or (plan["parts"] is not None and free >= plan["parts"]):
            continue
        for view in range(plan["views"]):
            ahead.frame(free, view)[:] = source.render(free, view)
        ahead.painted(free)
        part_no = free + 1
    select.select([sys.stdin], [], [])


def main(argv: list[str] | None = None) -> int:
    """Entry point; 3 with one sentence when a picture cannot be used."""
    parser = argparse.ArgumentParser(prog="inspection.twin.painter", description="draws parts ahead")
    parser.add_argument("--plan", type=Path, required=True)
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(5)
    cv2.setNumThreads(1)
    try:
        paint(json.loads(arguments.plan.read_text(encoding="utf-8")))
    except StationFault as e:
        sys.stderr.write(f"{e}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
