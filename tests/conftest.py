# SPDX-License-Identifier: AGPL-3.0-or-later
"""Shared by all tests: no thread, child process or shared-memory file may outlive the test that made it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image


def _threads() -> set[str]:
    # daemon pools of native libraries (openvino, onnxruntime, torch) belong to the process, not to a test
    return {t.name for t in threading.enumerate() if not t.daemon}


def _children() -> set[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    alive = set()
    for text in path.read_text().split():
        try:
            state = Path(f"/proc/{text}/stat").read_text().rsplit(")", 1)[1].split()[0]
            command = Path(f"/proc/{text}/cmdline").read_bytes()
        except OSError:
            continue
        if state != "Z" and b"resource_tracker" not in command:  # Python's own, lives with the process
            alive.add(int(text))
    return alive


def _shared_memory(within: Path) -> set[str]:
    """Folders of stations whose data lie below `within`; other stations of this machine are not ours."""
    found = set()
    for owner in Path("/dev/shm").glob("gatesight-*/data_dir"):
        try:
            mine = Path(owner.read_text().strip()).is_relative_to(within)
        except OSError:
            continue
        if mine:
            found.add(owner.parent.name)
    return found


@pytest.fixture(autouse=True)
def nothing_leaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the test that leaves a thread, a child process or a shared-memory folder behind."""
    base = tmp_path_factory.getbasetemp()
    threads, children, memory = _threads(), _children(), _shared_memory(base)
    yield
    assert not _threads() - threads, f"threads left behind: {_threads() - threads}"
    assert not _children() - children, f"child processes left behind: {_children() - children}"
    left = _shared_memory(base) - memory
    assert not left, f"shared memory left behind: {left}"


@pytest.fixture(autouse=True)
def pillow_opens_pictures_itself() -> None:
    """ultralytics puts an opener of its own into Pillow, which wants another package for what is no picture.

    In the product no process has both; the tests of a worker share one.
    """
    patches = sys.modules.get("ultralytics.utils.patches")
    if patches is not None:
        Image.open = patches._image_open


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_root(repository: Path) -> Path:
    """The real data sets; skips where they are absent."""
    root = Path(os.environ.get("GATESIGHT_DATA", repository.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip("real data sets are not here: set GATESIGHT_DATA to their folder")
    return root
