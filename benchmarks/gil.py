# SPDX-License-Identifier: AGPL-3.0-or-later
"""A 1 ms timer beside four waiting cameras: `python -m benchmarks.gil --json FILE`.

The GenICam binding holds the interpreter's lock while it waits for a frame, so a camera in the deciding process
would stop its clock. Ours wait in processes of their own. The timer is measured alone (the workers are stopped
by SIGSTOP) and beside them, in turn within one run; for comparison also with one camera waiting on a thread of
the same process, the way of most programs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cameras.base import CameraSpec
from cameras.ring import Ring
from cameras.simulator.build import build
from cameras.simulator.feed import Feed
from inspection.board import Board, ProcessState
from inspection.config import StationConfig, load_config
from inspection.link import link_pair
from inspection.types import StationFault

_CAMERAS = 4
_SIZE_PX = 64
_PERIOD_S = 0.001
_READY_S = 60.0
_NAIVE_WAIT_MS = 100  # how long the naive program waits for a frame at a time; many wait for seconds


def lateness_us(seconds: float) -> np.ndarray:
    """Run a 1 ms timer for so long; how late each tick was, microseconds."""
    late: list[float] = []
    start = time.perf_counter()
    due = start + _PERIOD_S
    while due - start < seconds:
        left = due - time.perf_counter()
        if left > 0:
            time.sleep(left)
        now = time.perf_counter()
        late.append((now - due) * 1e6)
        # ticks that were slept through are one lateness, not a burst of catching up
        due += _PERIOD_S * max(1, int((now - due) / _PERIOD_S))
    return np.array(late)


def summary(late_us: np.ndarray) -> dict[str, float]:
    """Percentiles of the lateness, microseconds, and the number of ticks."""
    p50, p99, p999 = np.percentile(late_us, [50, 99, 99.9])
    return {
        "p50_us": float(p50),
        "p99_us": float(p99),
        "p99_9_us": float(p999),
        "max_us": float(late_us.max()),
        "ticks": len(late_us),
    }


def _write_station(folder: Path) -> Path:
    views = [{"name": f"v{i}"} for i in range(_CAMERAS)]
    (folder / "recipe.json").write_text(json.dumps({"name": "gil", "version": 1, "id": 1, "views": views}))
    tables = "".join(
        f'[[camera]]\nserial = "LS{i + 1:04d}"\nproducer = "linesim"\n'
        f'width_px = {_SIZE_PX}\nheight_px = {_SIZE_PX}\nslots = 4\ntrigger = "line"\n'
        for i in range(_CAMERAS)
    )
    path = folder / "station.toml"
    path.write_text(
        '[station]\nname = "gil"\ndata_dir = "data"\nrecipe = "recipe.json"\nbundle = "none"\n'
        "[line]\npulses_per_mm = 10\nmin_pitch_mm = 50\nmax_speed_mm_s = 100\ntravel_mm = 500\n"
        f"gate_window_mm = 10\ndeadline_ms = 300\n{tables}"
    )
    return path


@contextmanager
def waiting_workers(folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Four real camera workers that wait for a trigger which never comes."""
    config_path = _write_station(folder)
    config = load_config(config_path)
    shutil.rmtree(config.shm_dir, ignore_errors=True)
    config.shm_dir.mkdir(parents=True)
    workers: list[subprocess.Popen[bytes]] = []
    with ExitStack() as held:
        held.callback(shutil.rmtree, config.shm_dir, ignore_errors=True)
        board = Board.create(config.board_path, config.board_rows())
        held.callback(board.close)
        held.callback(_stop_all, workers)
        for i, camera in enumerate(config.camera):
            held.callback(Ring.create(config.ring_path(camera.serial), camera.slots, _SIZE_PX**2).close)
            held.callback(Feed(config.shm_dir, camera.serial, _SIZE_PX, _SIZE_PX).close)
            ours, theirs = link_pair()
            held.callback(ours.close)
            with theirs:
                workers.append(_start(config, config_path, i, theirs.fileno()))
        _wait_ready(board, config, workers)
        yield workers


def _environment(config: StationConfig) -> dict[str, str]:
    size = {"LINESIM_WIDTH": str(_SIZE_PX), "LINESIM_HEIGHT": str(_SIZE_PX)}
    return os.environ | size | {"LINESIM_DIR": str(config.shm_dir), "LINESIM_CAMERAS": str(_CAMERAS)}


def _start(config: StationConfig, config_path: Path, index: int, link_fd: int) -> subprocess.Popen[bytes]:
    worker = [sys.executable, "-m", "cameras.worker", "--config", str(config_path), "--camera", str(index)]
    return subprocess.Popen(
        [*worker, "--links", f"inspector={link_fd}"],
        pass_fds=[link_fd],
        env=_environment(config),
    )


def _wait_ready(board: Board, config: StationConfig, workers: list[subprocess.Popen[bytes]]) -> None:
    until_s = time.monotonic() + _READY_S
    rows = [board.row(f"camera:{camera.serial}") for camera in config.camera]
    while any(row.state != ProcessState.READY for row in rows):
        if time.monotonic() > until_s or any(worker.poll() is not None for worker in workers):
            raise StationFault(f"The cameras do not become ready: {[row.text for row in rows]}.")
        time.sleep(0.01)


def _stop_all(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.send_signal(signal.SIGCONT)
        worker.terminate()
    for worker in workers:
        worker.wait(20)


def measure(folder: Path, *, seconds: float, rounds: int) -> dict[str, Any]:
    """Alone and beside the workers in turn, then the naive way in a child process."""
    alone, beside = [], []
    with waiting_workers(folder) as workers:
        for _ in range(rounds):
            for late, order in ((alone, signal.SIGSTOP), (beside, signal.SIGCONT)):
                for worker in workers:
                    worker.send_signal(order)
                time.sleep(0.05)
                late.append(lateness_us(seconds))
    return {
        "cameras": _CAMERAS,
        "alone": summary(np.concatenate(alone)),
        "beside_four_waiting_cameras": summary(np.concatenate(beside)),
        "camera_in_same_process": _naive_child(folder, seconds),
    }


def _naive_child(folder: Path, seconds: float) -> dict[str, float]:
    """The same timer with one camera waiting on a thread of the same process."""
    shared = folder / "naive"
    shared.mkdir()
    environment = os.environ | {
        "LINESIM_WIDTH": str(_SIZE_PX),
        "LINESIM_HEIGHT": str(_SIZE_PX),
        "LINESIM_DIR": str(shared),
        "LINESIM_CAMERAS": "1",
    }
    command = [sys.executable, "-m", "benchmarks.gil", "--naive", str(shared), "--seconds", str(seconds)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if child.returncode:
        raise StationFault(f"The naive variant failed: {child.stderr.strip().splitlines()[-1:]}.")
    return json.loads(child.stdout.strip().splitlines()[-1])


def _naive(folder: Path, seconds: float) -> int:
    from cameras.genicam import GenicamCamera  # noqa: PLC0415 - only this child may hold the binding

    feed = Feed(folder, "LS0001", _SIZE_PX, _SIZE_PX)
    camera = GenicamCamera.open(
        CameraSpec(
            serial="LS0001", producer="linesim", width_px=_SIZE_PX, height_px=_SIZE_PX, pixel_format="Mono8"
        )
    )
    camera.start()
    stop = threading.Event()

    def wait_for_frames() -> None:
        while not stop.is_set():
            camera.fetch(_NAIVE_WAIT_MS)

    thread = threading.Thread(target=wait_for_frames)
    thread.start()
    late = lateness_us(seconds)
    stop.set()
    thread.join()
    camera.close()
    feed.close()
    sys.stdout.write(json.dumps(summary(late)) + "\n")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write the report; 0 unless the cameras cannot be started (3)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gil", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--naive", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.naive:
        return _naive(arguments.naive, arguments.seconds)
    try:
        build()
        with tempfile.TemporaryDirectory(prefix="gatesight-bench-") as folder:
            report = measure(Path(folder), seconds=arguments.seconds, rounds=arguments.rounds)
    except StationFault as e:
        sys.stderr.write(f"{e}\n")
        return 3
    print("lateness of a 1 ms timer, microseconds     p50      p99    p99.9      max")
    for name in ("alone", "beside_four_waiting_cameras", "camera_in_same_process"):
        row = report[name]
        figures = "".join(f"{row[key]:9.0f}" for key in ("p50_us", "p99_us", "p99_9_us", "max_us"))
        print(f"{name.replace('_', ' '):37s}{figures}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
