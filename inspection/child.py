# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every child process of the station does the same way: arguments, links, board row, last words."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inspection.board import Board, ProcessState, Row
from inspection.config import StationConfig, load_config
from inspection.link import Link
from inspection.types import StationFault

EXIT_FAULT = 3
"""Configuration or equipment is wrong: starting again alone does not help."""


@dataclass(slots=True)
class ChildContext:
    """What a child was given. `stop` is set by SIGTERM; SIGINT is the launcher's business."""

    config: StationConfig
    row: Row
    board: Board
    links: dict[str, Link]
    camera: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)


def run_child(role: str, body: Callable[[ChildContext], int], argv: list[str] | None = None) -> int:
    """Parse the arguments, claim the row, run `body`, and turn a fault into one sentence and an exit code.

    `role` is the board row, or "camera" (then `--camera INDEX` names which).
    """
    parser = argparse.ArgumentParser(prog=f"inspection {role}")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--links", default="", help="name=fd,name=fd: inherited descriptors")
    parser.add_argument("--camera", type=int)
    arguments = parser.parse_args(argv)
    row: Row | None = None
    try:
        config = load_config(arguments.config)
        board = Board.attach(config.board_path)
        name = f"camera:{config.camera[arguments.camera].serial}" if role == "camera" else role
        row = board.row(name)
        row.claim()
        pairs = (item.split("=") for item in arguments.links.split(",") if item)
        context = ChildContext(
            config=config,
            row=row,
            board=board,
            links={key: Link.from_fd(int(fd)) for key, fd in pairs},
            camera=arguments.camera,
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: context.stop.set())
        return body(context)
    except StationFault as e:
        if row is not None:
            row.report(ProcessState.FAULT, str(e))
        with contextlib.suppress(BrokenPipeError):
            sys.stderr.write(f"{e}\n")
        return EXIT_FAULT
