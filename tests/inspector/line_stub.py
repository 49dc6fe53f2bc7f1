# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real board, rings and links around a real inspector process: the test plays cameras, gate and recorder."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cameras.pfnc import code_of
from cameras.ring import Ring
from inspection.board import Board, ProcessState
from inspection.config import StationConfig, load_config
from inspection.link import Link, link_pair
from inspection.messages import FrameReady, ImageHandOver, Message, PartJudged, PartTriggered
from inspection.types import Epoch, FrameRef, Ordinal, PartRef, Seq

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTH_PX, HEIGHT_PX, STRIP_PX = 64, 72, 8
PULSES_A_PART = 1000
M = TypeVar("M")


def write_station(
    folder: Path,
    *,
    cameras: int = 2,
    script: dict[str, Any] | None = None,
    engine: str = "",
    deadline_ms: float = 300,
) -> Path:
    """A station.toml with a scripted engine in `folder`."""
    (folder / "script.json").write_text(json.dumps(script or {}))
    recipe = {
        "name": "stub",
        "version": 1,
        "id": 1,
        "views": [{"name": f"v{i}"} for i in range(cameras)],
        "classes": {"defect": {"min_score": 0.5}},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    tables = "".join(
        f"""
[[camera]]
serial = "cam{i}"
width_px = {WIDTH_PX}
height_px = {HEIGHT_PX}
view_px = [0, 0, {WIDTH_PX}, {HEIGHT_PX - STRIP_PX}]
strip_px = [0, {HEIGHT_PX - STRIP_PX}, {WIDTH_PX}, {STRIP_PX}]
slots = 9
"""
        for i in range(cameras)
    )
    path = folder / "station.toml"
    path.write_text(
        f"""
[station]
name = "stub"
data_dir = "data"
recipe = "recipe.json"
bundle = "bundle"
[line]
pulses_per_mm = 10
min_pitch_mm = 50
max_speed_mm_s = 500
travel_mm = 900
gate_window_mm = 60
deadline_ms = {deadline_ms}
[engine]
{engine or 'kind = "scripted"'}
script = "script.json"
[records]
pass_share = 0.0
{tables}
"""
    )
    return path


class LineStub:
    """Cameras, gate and recorder of one inspector, played by the test."""

    def __init__(
        self,
        config_path: Path,
        config: StationConfig,
        board: Board,
        rings: list[Ring],
        pairs: dict[str, tuple[socket.socket, socket.socket]],
    ) -> None:
        self._config_path = config_path
        self.theirs = {name: end for name, (_, end) in pairs.items()}
        self.config = config
        self.board = board
        self.row = board.row("inspector")
        self.rings = rings
        self.links = {name: Link(ours) for name, (ours, _) in pairs.items()}
        self.process: subprocess.Popen[bytes] | None = None
        self.frames_sent = 0

    def start(self) -> None:
        """Start the inspector (again) and wait until it is ready."""
        links = ",".join(f"{name}={end.fileno()}" for name, end in self.theirs.items())
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "inspection.inspector",
                "--config",
                str(self._config_path),
                "--links",
                links,
            ],
            pass_fds=[end.fileno() for end in self.theirs.values()],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONWARNINGS": "default"},
            stderr=subprocess.PIPE,
        )
        self.wait_ready()

    def close(self) -> None:
        """End the inspector and close the links."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        for end in (*self.links.values(), *self.theirs.values()):
            end.close()

    def trigger(self, ordinal: int, *, deadline_ms: float | None = None, encoder: int | None = None) -> PartRef:
        """Announce a part as the gate does."""
        now_ns = time.monotonic_ns()
        budget_ms = self.config.line.deadline_ms if deadline_ms is None else deadline_ms
        part = PartRef(
            ordinal=Ordinal(ordinal),
            epoch=Epoch(77),
            seq=Seq(ordinal),
            encoder_pulses=ordinal * PULSES_A_PART if encoder is None else encoder,
            trigger_ns=now_ns,
            deadline_ns=now_ns + int(budget_ms * 1e6),
        )
        assert self.links["gate"].send(PartTriggered(part=part))
        return part

    def expose(
        self,
        camera: int,
        ordinal: int,
        *,
        grey: int = 50,
        unhealthy: tuple[str, ...] = (),
        encoder: int | None = None,
    ) -> FrameRef:
        """Put a picture into the ring and tell the inspector; the strip carries the ordinal."""
        ring = self.rings[camera]
        slot = ring.acquire()
        assert slot is not None, "no free slot: the inspector keeps them"
        picture = ring.pixels(slot)[: WIDTH_PX * HEIGHT_PX].reshape(HEIGHT_PX, WIDTH_PX)
        picture[:] = grey
        picture[HEIGHT_PX - STRIP_PX :] = ordinal % 251
        self.frames_sent += 1
        now_ns = time.monotonic_ns()
        frame = FrameRef(
            camera=camera,
            slot=slot,
            generation=ring.publish(slot),
            frame_id=ordinal,
            encoder_pulses=ordinal * PULSES_A_PART if encoder is None else encoder,
            exposure_ns=now_ns,
            ready_ns=now_ns,
            width_px=WIDTH_PX,
            height_px=HEIGHT_PX,
            pixel_format=code_of("Mono8"),
            unhealthy=unhealthy,
        )
        assert self.links[f"camera{camera}"].send(FrameReady(frame=frame))
        return frame

    def expose_all(self, ordinal: int, **more: Any) -> None:
        """One picture of every camera."""
        for camera in range(len(self.rings)):
            self.expose(camera, ordinal, **more)

    def receive(self, link: str, kind: type[M], *, timeout_s: float = 10.0) -> M:
        """Next message of this kind on a link; others are skipped."""
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            select.select([self.links[link]], [], [], left_s)
            message: Message | None = self.links[link].receive()
            if isinstance(message, ImageHandOver) and not message.keep:
                self.rings[message.frame.camera].free(message.frame.slot, message.frame.generation)
            elif isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} on {link} within {timeout_s} s")

    def judged(self, **more: Any) -> PartJudged:
        """Next verdict."""
        return self.receive("gate", PartJudged, **more)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Until the inspector's row says READY."""
        end_s = time.monotonic() + timeout_s
        assert self.process is not None
        while self.row.state != ProcessState.READY:
            assert self.process.poll() is None, f"the inspector ended with {self.process.returncode}"
            assert time.monotonic() < end_s, "the inspector does not become ready"
            time.sleep(0.005)

    def wait_slots_free(self, timeout_s: float = 10.0) -> None:
        """Until every slot of every ring is free again; pictures that are only shown are freed here."""
        end_s = time.monotonic() + timeout_s
        while any(ring.state(slot) for ring in self.rings for slot in range(ring.slots)):
            shown = self.links["recorder"].receive()
            if isinstance(shown, ImageHandOver):
                assert not shown.keep
                self.rings[shown.frame.camera].free(shown.frame.slot, shown.frame.generation)
            assert time.monotonic() < end_s, [ring.state(s) for ring in self.rings for s in range(ring.slots)]
            time.sleep(0.005)


@contextmanager
def inspector_line(config_path: Path, *, start: bool = True) -> Iterator[LineStub]:
    """Everything set up, the inspector started and ready; all of it taken down afterwards."""
    config = load_config(config_path)
    shutil.rmtree(config.shm_dir, ignore_errors=True)
    config.shm_dir.mkdir(parents=True)
    board = Board.create(config.board_path, config.board_rows())
    rings = [Ring.create(config.ring_path(c.serial), c.slots, c.width_px * c.height_px) for c in config.camera]
    names = ["gate", "recorder", *(f"camera{i}" for i in range(len(rings)))]
    pairs = {name: link_pair() for name in names}
    stub = LineStub(config_path, config, board, rings, pairs)
    try:
        if start:
            stub.start()
        yield stub
    finally:
        stub.close()
        for ring in rings:
            ring.close()
        board.close()
        shutil.rmtree(config.shm_dir, ignore_errors=True)
