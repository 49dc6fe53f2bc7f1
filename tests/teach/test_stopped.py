# SPDX-License-Identifier: AGPL-3.0-or-later
"""kill -9 while more good parts are taken in: the bundle is the old one or the new one, whole, and goes on."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inspection.types import StationFault
from training.anomaly.adding import add_good
from training.anomaly.exchange import alone_in, changed_whole, settle
from training.anomaly.state import load_state
from training.teach import main
from weights.bundle import load_bundle

COMMON = ["--least-separation", "0.5", "--bank", "100", "--threads", "1", "--scale", "1", "--overkill", "0.1"]

# Imports once; then one child a moment, each on a copy of its own: it dies in its Nth change of a folder.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from training.anomaly.adding import add_good

folder, more, keys, moments = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
changes = 0
CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link"}

def run(copy, last):
    seen = 0
    def watch(event, arguments):
        nonlocal seen
        if event in CHANGES and str(copy) in str(arguments[0]):
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    add_good(more, copy, forgive=False, threads=1, key_dir=keys)
    os._exit(min(seen, 99))

for moment in [999, *map(int, moments)]:  # the first outlives all its changes, and counts them
    moment = moment if moment > 0 else changes + moment
    copy = folder.with_name(f"killed-{moment}")
    shutil.copytree(folder, copy)
    child = os.fork()
    if not child:
        try:
            run(copy, moment)
        finally:
            os._exit(100)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    changes = changes or code
    print(moment, code, flush=True)
"""


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def small(parts: Path, backbone: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teaching of few parts."""
    root = tmp_path_factory.mktemp("small")
    (root / "good").mkdir()
    for path in sorted((parts / "good" / "a").iterdir()):
        shutil.copy(path, root / "good" / path.name)
    order = ["--good", str(root / "good"), "--out", str(root / "t"), "--backbone", str(backbone), *COMMON]
    assert main([*order, "--key-dir", str(keys), "--json"]) == 0
    return root / "t"


def killed_at(small: Path, more: Path, keys: Path, moments: list[int]) -> dict[int, int]:
    """Exit code of the child of each moment, those below 1 counted from the last change; 999 outlives them."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(small), str(more), str(keys), *map(str, moments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return {int(a): int(b) for a, b in (line.split() for line in done.stdout.splitlines())}


def stands(folder: Path, before: str, keys: Path) -> bool:
    """Whether the new bundle stands; all that must hold of either."""
    found = load_bundle(folder / "bundle", [keys]).sha256  # whole, before anybody mends anything
    settle(folder)
    assert load_bundle(folder / "bundle", [keys]).sha256 in {found, load_state(folder).facts["bundle_sha256"]}
    found = load_bundle(folder / "bundle", [keys]).sha256
    assert load_state(folder).facts["bundle_sha256"] == found
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    if found != before:
        assert load_bundle(folder / "history" / before[:12], [keys]).sha256 == before
        assert len(load_state(folder).names) == 23
        return True
    assert len(load_state(folder).names) == 15
    return False


def check_moments(small: Path, parts: Path, keys: Path, moments: list[int]) -> None:
    before = load_bundle(small / "bundle", [keys]).sha256
    ended = killed_at(small, parts / "unseen", keys, moments)
    changes = ended.pop(999)
    assert 15 < changes < 99, "the moments of this test no longer fit what a call does"
    assert stands(small.with_name("killed-999"), before, keys)
    news: list[bool] = []
    for moment, code in ended.items():
        assert code == -signal.SIGKILL, moment
        news.append(stands(small.with_name(f"killed-{moment}"), before, keys))
        shutil.rmtree(small.with_name(f"killed-{moment}"))
    shutil.rmtree(small.with_name("killed-999"))
    assert news == sorted(news), "a later moment fell back behind an earlier one"
    assert news[0] is False
    assert news[-1] is True


def test_a_call_killed_at_any_of_its_last_steps_leaves_the_old_bundle_or_the_new_one(
    small: Path, parts: Path, keys: Path
):
    check_moments(small, parts, keys, [-7, -5, -2])


@pytest.mark.soak
def test_a_call_killed_at_any_of_all_its_steps_leaves_the_old_bundle_or_the_new_one(
    small: Path, parts: Path, keys: Path
):
    check_moments(small, parts, keys, [*range(1, 10), *range(-9, 1)])


def test_what_a_stopped_call_left_does_not_keep_the_next_one_from_its_work(
    small: Path, parts: Path, keys: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(small, tmp_path / "t"))
    (folder / ".adding" / "bundle").mkdir(parents=True)
    add_good(parts / "unseen", folder, forgive=False, threads=1, key_dir=keys)
    assert stands(folder, load_bundle(small / "bundle", [keys]).sha256, keys)


@pytest.mark.parametrize("fault", [StationFault("no"), KeyboardInterrupt()])
def test_a_change_that_ends_early_leaves_nothing(tmp_path: Path, fault: BaseException):
    def fail(folder: Path) -> None:
        with alone_in(folder, make=True), changed_whole(folder) as staged:
            (staged / "half.json").write_text("{")
            raise fault

    (tmp_path / "old").mkdir()
    for folder, stays in ((tmp_path / "old", True), (tmp_path / "new", False)):
        with pytest.raises(type(fault)):
            fail(folder)
        assert folder.exists() == stays
    assert list((tmp_path / "old").iterdir()) == []


def test_where_the_system_cannot_exchange_two_renames_do(
    small: Path, parts: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    refuse: Callable[[Path, Path], bool] = lambda one, other: False  # noqa: E731
    monkeypatch.setattr("training.anomaly.exchange._exchanged", refuse)
    folder = Path(shutil.copytree(small, tmp_path / "t"))
    add_good(parts / "unseen", folder, forgive=False, threads=1, key_dir=keys)
    assert stands(folder, load_bundle(small / "bundle", [keys]).sha256, keys)


def test_two_calls_on_one_folder_do_not_lose_each_others_parts(
    small: Path, parts: Path, keys: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(small, tmp_path / "t"))
    (folder / ".adding").mkdir()  # what the other call is writing
    with alone_in(folder), pytest.raises(StationFault, match="another call is teaching in"):
        add_good(parts / "unseen", folder, forgive=False, threads=1, key_dir=keys)
    assert (folder / ".adding").is_dir()
    assert load_bundle(folder / "bundle", [keys]).sha256 == load_bundle(small / "bundle", [keys]).sha256
    add_good(parts / "unseen", folder, forgive=False, threads=1, key_dir=keys)
    assert stands(folder, load_bundle(small / "bundle", [keys]).sha256, keys)


def test_a_second_teaching_into_one_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--good", str(tmp_path / "good"), "--out", str(tmp_path / "t")]
    with alone_in(tmp_path / "t", make=True):
        assert main(words) == 3
        said = capsys.readouterr().err
        assert "another call is teaching in" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "t").exists()
    (tmp_path / "t").write_text("a file")
    assert main(words) == 3
    assert "is no folder: choose another one" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EBADF])
def test_a_share_without_locks_is_one_sentence_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert main(["--good", str(tmp_path / "good"), "--out", str(tmp_path / "t")]) == 3
    said = capsys.readouterr().err
    assert f"{tmp_path / 't'} cannot be locked against other calls ({os.strerror(number)})" in said
    assert "choose a folder on a local disk" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "t").exists()
