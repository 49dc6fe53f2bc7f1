# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera worker under test: its configuration, board, ring and link, and the feed of its simulated camera."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from cameras.pfnc import bytes_per_frame, code_of
from cameras.ring import Ring
from cameras.simulator.feed import Feed
from inspection.board import Board, CameraCounter, ProcessState
from inspection.config import CameraTable, load_config
from inspection.link import Link, link_pair
from inspection.messages import FrameFault, FrameReady, Message

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 64, 48
_CONFIG = """
[station]
name = "test"
data_dir = "data"
recipe = "recipe.json"
bundle = "bundle"
[line]
pulses_per_mm = 10
min_pitch_mm = 50
max_speed_mm_s = 100
travel_mm = 500
gate_window_mm = 10
deadline_ms = 300
{line}
[[camera]]
serial = "{serial}"
producer = "{producer}"
width_px = {width}
height_px = {height}
pixel_format = "{pixel_format}"
slots = {slots}
trigger = "{trigger}"
settings = {settings}
{more}
"""
_RECIPE = {"name": "test", "version": 1, "id": 1, "views": [{"name": "top"}]}


def wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Poll until true; fails the test when it never is."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.002)


class WorkerLine:
    """One worker process and everything around it. Close it, or use `with`."""

    def __init__(
        self,
        folder: Path,
        *,
        serial: str = "LS0001",
        producer: str = "linesim",
        width: int = WIDTH,
        height: int = HEIGHT,
        pixel_format: str = "Mono8",
        slots: int = 4,
        trigger: str = "line",
        settings: str = '[["ExposureTime", 1], ["SimReadoutTime", 0]]',
        more: str = "",
        line: str = "",
        health: dict[str, object] | None = None,
        cameras_of: WorkerLine | None = None,
    ) -> None:
        self.folder = folder
        text = _CONFIG.format(
            **{k: v for k, v in locals().items() if k not in {"self", "folder", "health", "cameras_of"}}
        )
        self.config_path = folder / "station.toml"
        self.config_path.write_text(text)
        (folder / "recipe.json").write_text(json.dumps(_RECIPE | ({"health": health} if health else {})))
        self.config = load_config(self.config_path)
        self.table: CameraTable = self.config.camera[0]
        shutil.rmtree(self.config.shm_dir, ignore_errors=True)
        self.config.shm_dir.mkdir(parents=True)
        self.board = Board.create(self.config.board_path, self.config.board_rows())
        self.row = self.board.row(f"camera:{serial}")
        frame_bytes = bytes_per_frame(code_of(pixel_format), width, height)
        self.ring = Ring.create(self.config.ring_path(serial), slots, frame_bytes)
        self._ends = link_pair()
        self.link = Link(self._ends[0])
        self._environment = os.environ | {
            "LINESIM_DIR": str((cameras_of or self).config.shm_dir),
            "LINESIM_WIDTH": str(width),
            "LINESIM_HEIGHT": str(height),
        }
        self.feed = (
            Feed(self.config.shm_dir, serial, width, height, slots=32) if producer == "linesim" else None
        )
        self.process: subprocess.Popen[str] | None = None

    def start(self, program: str | None = None) -> None:
        """Start (again); `program` is Python that becomes the worker in the end."""
        with (self.folder / "stderr.txt").open("w") as words:
            self.process = self._spawn(words, ("-c", program) if program else ("-m", "cameras.worker"))

    def _spawn(self, words: IO[str], program: tuple[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, *program, "--config", str(self.config_path)),
                *("--camera", "0", "--links", f"inspector={self._ends[1].fileno()}"),
            ],
            cwd=ROOT,
            env=self._environment,
            pass_fds=(self._ends[1].fileno(),),
            stderr=words,
            text=True,
        )

    def wait_ready(self) -> None:
        """Until the worker says READY and the simulated camera acquires."""
        process = self.process
        assert process is not None

        def ready() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"the worker ended with {process.returncode}: {self.error()}")
            return self.row.pid == process.pid and self.row.state == ProcessState.READY

        wait_until(ready, 20.0)
        if self.feed is not None:
            wait_until(lambda: self.feed is not None and self.feed.acquiring)

    def next_message(self, limit_s: float = 5.0) -> Message:
        """Next message of the worker."""
        select.select([self.link], [], [], limit_s)
        message = self.link.receive()
        assert message is not None, "no message came"
        return message

    def next_frame(self) -> FrameReady:
        """Next message, which must be a frame."""
        message = self.next_message()
        assert isinstance(message, FrameReady), message
        return message

    def next_fault(self) -> FrameFault:
        """Next message, which must be a fault of a frame."""
        message = self.next_message()
        assert isinstance(message, FrameFault), message
        return message

    def count(self, counter: CameraCounter) -> int:
        """One counter of the worker's row."""
        return self.row.get(counter)

    def push(self, grey: int, encoder: int, **flags: bool) -> None:
        """One trigger edge with an evenly grey picture; waits for room."""
        assert self.feed is not None
        picture = np.full((self.table.height_px, self.table.width_px), grey, np.uint8)
        assert self.feed.push(picture, encoder, wait_s=5.0, **flags)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10.0)

    def error(self) -> str:
        """What the ended worker wrote to stderr."""
        return (self.folder / "stderr.txt").read_text()

    def close(self) -> None:
        """End the worker and release everything."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        if self.feed is not None:
            self.feed.close()
        self.link.close()
        self._ends[1].close()
        self.ring.close()
        self.board.close()
        shutil.rmtree(self.config.shm_dir, ignore_errors=True)

    def __enter__(self) -> WorkerLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
