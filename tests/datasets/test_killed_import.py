# SPDX-License-Identifier: AGPL-3.0-or-later
"""An import that ends in the middle: all of it counts, or nothing, and the next one cleans up.

Moments drawn by chance rarely meet the database, which is written in a blink. So the moments that matter are
chosen: the first instant at which anybody can see a row, and every commit that the database's own log holds.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datasets.beliefs import read
from datasets.cli import main
from datasets.database import SQLITE_NAME
from datasets.outlet import export
from datasets.store import open_home
from tests.datasets.labelled_sets import draw_picture, plain
from tests.datasets.rich import rich_set

NEW = 60
_WAL_HEADER, _FRAME_HEADER = 32, 24  # bytes; sqlite.org/fileformat2.html, "The Write-Ahead Log"
_LONGEST_S = 60.0


@pytest.fixture
def stocked(tmp_path: Path) -> Path:
    """A home with four pictures, and beside it `two`: a set of sixty to import."""
    export({"": rich_set(tmp_path / "first", 4)}, tmp_path / "one", "coco")
    export({"": rich_set(tmp_path / "second", NEW)}, tmp_path / "two", "coco")
    home = tmp_path / "home"
    assert main(["import", str(tmp_path / "one"), "--into", str(home)]) == 0
    return home


def words(source: Path, home: Path) -> list[str]:
    return ["import", str(source), "--into", str(home), "--prefix", "two/"]


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, which does not outlive the block, not even standing still."""
    with subprocess.Popen(
        [sys.executable, "-m", "datasets.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def state(folder: Path) -> dict[str, Any]:
    """What the home says, every picture of it read."""
    with open_home(folder) as home:
        pictures = read(home)
    for one in pictures.pictures:
        assert one.path.read_bytes()
    return plain(pictures)


def expected(stocked: Path, tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the home says before, and what a twin of it says after the import."""
    twin = tmp_path / "twin"
    shutil.copytree(stocked, twin)
    assert main(words(tmp_path / "two", twin)) == 0
    return state(stocked), state(twin)


def rows(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT count(*) FROM pictures WHERE name LIKE 'two/%'").fetchone()[0]


def test_when_a_row_can_be_seen_first_the_whole_import_is_there(stocked: Path, tmp_path: Path) -> None:
    _, whole = expected(stocked, tmp_path)
    with (
        closing(sqlite3.connect(stocked / SQLITE_NAME)) as seen,
        child(*words(tmp_path / "two", stocked)) as importing,
    ):
        end_s = time.monotonic() + _LONGEST_S
        while not rows(seen):
            assert importing.poll() in (None, 0)
            assert time.monotonic() < end_s
        os.killpg(importing.pid, signal.SIGKILL)
    assert state(stocked) == whole


def commits(log: bytes) -> Iterator[int]:
    """Where in a write-ahead log each transaction ends: its last frame says how large the database is then."""
    page = struct.unpack(">I", log[8:12])[0]
    for start in range(_WAL_HEADER, len(log), _FRAME_HEADER + page):
        if struct.unpack(">I", log[start + 4 : start + 8])[0]:
            yield start + _FRAME_HEADER + page


def test_a_crash_at_any_write_of_the_database_leaves_all_or_nothing(stocked: Path, tmp_path: Path) -> None:
    """The log that a whole import leaves, cut after every commit and in every transaction."""
    before, whole = expected(stocked, tmp_path)
    with closing(sqlite3.connect(stocked / SQLITE_NAME)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert rows(other) == 0  # as long as somebody reads, the log of the import is not folded in
        with child(*words(tmp_path / "two", stocked)) as importing:
            assert importing.wait(timeout=_LONGEST_S) == 0
        log = (stocked / f"{SQLITE_NAME}-wal").read_bytes()
        database = (stocked / SQLITE_NAME).read_bytes()
    ends = list(commits(log))
    assert ends
    outcomes = []
    for number, cut in enumerate([0, *(cut for end in ends for cut in (end - 1, end))]):
        crashed = tmp_path / f"crash {number}"
        crashed.mkdir()
        (crashed / "images").symlink_to(stocked / "images")
        (crashed / SQLITE_NAME).write_bytes(database)
        (crashed / f"{SQLITE_NAME}-wal").write_bytes(log[:cut])
        outcomes.append(state(crashed))
    assert all(outcome in (before, whole) for outcome in outcomes)
    assert outcomes[0] == before
    assert outcomes[-1] == whole


def half_written(home: Path) -> list[Path]:
    return list((home / "images").glob("??/??/*.new"))


def test_files_of_a_dead_import_are_swept_and_those_of_a_living_one_are_not(
    stocked: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large/good"
    large.mkdir(parents=True)
    noise = np.random.default_rng(5)
    for number in range(8):
        pixels = noise.integers(0, 255, (1200, 1600), dtype=np.uint8)
        cv2.imwrite(str(large / f"{number}.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    for number in range(2):
        draw_picture(tmp_path / f"small {number}/good/{number}.png", 8, 8, 100 + number)
    with child("import", str(large.parent), "--into", str(stocked)) as importing:
        stop_in_the_middle(importing, stocked)
        left = half_written(stocked)
        assert main(["import", str(tmp_path / "small 0"), "--into", str(stocked)]) == 0
        assert half_written(stocked) == left, "its writer lives"
        os.killpg(importing.pid, signal.SIGKILL)
    assert half_written(stocked) == left
    assert main(["import", str(tmp_path / "small 1"), "--into", str(stocked)]) == 0
    assert half_written(stocked) == []
    assert len(state(stocked)["pictures"]) == 6


def stop_in_the_middle(importing: subprocess.Popen[bytes], home: Path) -> None:
    """Let it stand still while a picture of it is half written."""
    end_s = time.monotonic() + _LONGEST_S
    while True:
        assert importing.poll() is None
        assert time.monotonic() < end_s
        if half_written(home):
            os.killpg(importing.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, importing.pid, os.WSTOPPED)
            if half_written(home):
                return
            os.killpg(importing.pid, signal.SIGCONT)


def test_a_kill_at_any_moment_leaves_all_or_nothing(stocked: Path, tmp_path: Path) -> None:
    """kill -9 at random moments of an import from an archive; the next import removes what was unpacked."""
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for path in sorted(p for p in (tmp_path / "two").rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(tmp_path / "two").as_posix())
    before, whole = expected(stocked, tmp_path)
    chance = random.Random(20261122)
    begun = time.monotonic()
    with child("--help") as helping:
        assert helping.wait() == 0
    start_s = time.monotonic() - begun
    for _ in range(6):
        with child(*words(tmp_path / "two.zip", stocked)) as importing:
            try:
                importing.wait(timeout=chance.uniform(0.5, 6.0) * start_s)
            except subprocess.TimeoutExpired:
                os.killpg(importing.pid, signal.SIGKILL)
        assert state(stocked) in (before, whole)
    assert main(words(tmp_path / "two.zip", stocked)) == 0
    assert state(stocked) == whole
    assert not list(tmp_path.glob(".gatesight-*"))
    assert half_written(stocked) == []


def test_a_half_written_snapshot_of_a_dead_act_goes_with_the_next(stocked: Path) -> None:
    left = stocked / "snapshots/.0123.json.4567.new"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"{")
    assert main(["snapshot", str(stocked), "--quick"]) == 0
    assert [path.suffix for path in left.parent.iterdir()] == [".json"]
