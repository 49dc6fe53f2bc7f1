# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every child process of the station does the same way: arguments, links, board row, last words."""

from __future__ import annotations

import argparse
import contextlib
import errno
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inspection.board import Board, ProcessState, Row
from inspection.config import StationConfig, load_config
from inspection.link import Link
from inspection.messages import Message
from inspection.pins import Pins, bundle_path, manifest_sha256
from inspection.recipe import Recipe, load_recipe
from inspection.types import StationFault

EXIT_FAULT = 3
"""Configuration or equipment is wrong: starting again alone does not help."""
EXIT_OTHER = 1
"""Something that nobody foresaw; the log has the trace."""

_ROOM_S = 0.01


@dataclass(slots=True)
class ChildContext:
    """What a child was given. `stop` is set by SIGTERM; SIGINT is the launcher's business."""

    config: StationConfig
    row: Row
    board: Board
    links: dict[str, Link]
    camera: int | None = None
    pins: Pins | None = None  # None: started by hand, with nobody to agree with
    stop: threading.Event = field(default_factory=threading.Event)

    def recipe(self) -> Recipe:
        """The station's recipe; StationFault when it is not the one that the supervisor started with."""
        path = self.config.station.recipe
        recipe = load_recipe(path)
        if self.pins is not None:
            self.pins.check_recipe(recipe, path)
        return recipe

    def bundle_path(self) -> Path:
        """Where the bundle lies that this process is to run by."""
        return bundle_path(self.config, (self.pins or Pins.of(self.config)).bundle)

    def bundle_sha256(self) -> str:
        """Hash of that bundle's manifest as it stands; StationFault when it is not the pinned one."""
        path = self.bundle_path()
        sha256 = manifest_sha256(path)
        if self.pins is not None:
            self.pins.check_bundle(sha256, path)
        return sha256

    def check_bundle(self, sha256: str) -> None:
        """StationFault when the bundle that was loaded is not the pinned one."""
        if self.pins is not None:
            self.pins.check_bundle(sha256, self.bundle_path())

    def tell(self, link: str, message: Message) -> None:
        """Send at the start, waiting for room; gives up only when asked to stop. The row keeps beating."""
        while not self.links[link].send(message) and not self.stop.is_set():
            self.row.beat()
            time.sleep(_ROOM_S)


def run_child(role: str, body: Callable[[ChildContext], int], argv: list[str] | None = None) -> int:
    """Parse the arguments, claim the row, run `body`, and turn a fault into one sentence and an exit code.

    `role` is the board row, or "camera" (then `--camera INDEX` names which).
    """
    parser = argparse.ArgumentParser(prog=f"inspection {role}")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--links", default="", help="name=fd,name=fd: inherited descriptors")
    parser.add_argument("--camera", type=int)
    parser.add_argument("--pins", type=Pins.parse, help="station,recipe,bundle: hashes that must be found")
    arguments = parser.parse_args(argv)
    row: Row | None = None
    links: dict[str, Link] = {}
    place = arguments.config.parent
    try:
        config = load_config(arguments.config)
        if arguments.pins is not None:
            arguments.pins.check_station(config, arguments.config)
        place = config.station.data_dir
        board = Board.attach(config.board_path)
        name = f"camera:{config.camera[arguments.camera].serial}" if role == "camera" else role
        row = board.row(name)
        row.claim()
        pairs = (item.split("=") for item in arguments.links.split(",") if item)
        links = {key: Link.from_fd(int(fd)) for key, fd in pairs}
        context = ChildContext(
            config=config, row=row, board=board, links=links, camera=arguments.camera, pins=arguments.pins
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: context.stop.set())
        return body(context)
    except StationFault as e:
        _last_words(row, str(e))
        return EXIT_FAULT
    except Exception as e:  # noqa: BLE001 - top of every child process
        if _is_full(e):
            _last_words(row, f"{role}: the disk of {place} is full ({e}): free some space there.")
            return EXIT_FAULT
        with contextlib.suppress(OSError):
            traceback.print_exc()
        _last_words(row, f"{role}: {type(e).__name__}: {e}")
        return EXIT_OTHER
    finally:
        for link in links.values():
            link.close()


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind it, directly or through SQLite's driver (not imported here)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return True
        if type(error).__name__ == "OperationalError" and "disk is full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _last_words(row: Row | None, sentence: str) -> None:
    """On the board for the gate and the console, and as the last line of the log."""
    if row is not None:
        row.report(ProcessState.FAULT, sentence)
    with contextlib.suppress(OSError):  # nobody reads, or no room: the board has it
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()
