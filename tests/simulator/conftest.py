# SPDX-License-Identifier: AGPL-3.0-or-later
"""The built producer, a folder in shared memory, and child processes with a clean environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cameras.simulator.build import build

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

Results = dict[str, str]


@pytest.fixture(scope="session")
def producer() -> Path:
    """Path of linesim.cti, built when something changed."""
    return build()


def _shared_folder() -> Iterator[Path]:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="linesim-test-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def line_dir() -> Iterator[Path]:
    """A folder for feeds and locks, removed afterwards."""
    yield from _shared_folder()


def child_environment(folder: Path, **more: str) -> dict[str, str]:
    """Environment of a child that loads the producer with the small test sensor."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("LINESIM_")}
    small = {"LINESIM_DIR": str(folder), "LINESIM_WIDTH": "64", "LINESIM_HEIGHT": "48", "LINESIM_CAMERAS": "3"}
    return {**inherited, **small, "PYTHONPATH": str(ROOT), **more}


def run_scenarios(producer: Path, folder: Path, **environment: str) -> tuple[Results, str]:
    """Run every scenario in one child: name -> failure text (empty when it held), and the child's stderr."""
    command = [sys.executable, str(HERE / "scenarios.py"), str(producer), str(folder)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=child_environment(folder, **environment),
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    results = {line["name"]: line["failure"] for line in lines}
    if done.returncode != 0 or "done" not in results:
        results["done"] = f"the child ended with {done.returncode}:\n{done.stderr[-4000:]}"
    return results, done.stderr


@pytest.fixture(scope="session")
def scenario_results(producer: Path) -> Iterator[Results]:
    """All scenarios on the plain build, run once."""
    for folder in _shared_folder():
        yield run_scenarios(producer, folder)[0]


@pytest.fixture
def child(line_dir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python snippet as a child with pipes; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(line_dir, **environment),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)
