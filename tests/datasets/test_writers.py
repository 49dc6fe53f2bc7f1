# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several writers and sudden ends: what was acknowledged is there, and nothing is there by half.

kill -9 says nothing about power: that is `synchronous=FULL` and the synced folders, which are checked here as
settings; what they are worth was measured once with a simulated power cut (docs/adr/0002 tells of the journal).
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from datasets import labelling
from datasets.adding import add
from datasets.beliefs import history, read
from datasets.database import MIGRATIONS
from datasets.store import DatasetHome, open_home
from inspection.types import StationFault
from tests.datasets.homes import WHO, WHY, box, labelled_set, picture


def start(repository: Path, folder: Path, name: str, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.datasets.writer", str(folder), name, *more]
    return subprocess.Popen(words, cwd=repository, stdout=subprocess.PIPE, text=True)


def acknowledged(process: subprocess.Popen[str], pairs: int, then_s: float) -> list[str]:
    """What a writer said until some time after its first pairs; then it is killed."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(pairs)]
    time.sleep(then_s)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    whole = [line for line in [*lines, *rest.splitlines(keepends=True)] if line.endswith("\n")]
    return " ".join(whole).split()  # a line without its end was not acknowledged yet


def halves(names: list[str]) -> int:
    """Pictures whose partner of the same act is missing."""
    numbers = {name: int(name.split("/p")[1].removesuffix(".png")) for name in names}
    partners = {f"{name.split('/')[0]}/p{number ^ 1:04d}.png" for name, number in numbers.items()}
    return len(partners - set(names))


def survey(folder: Path) -> list[str]:
    """Names in the home; every picture of it is whole, labelled and linked."""
    with open_home(folder) as home:
        pictures = read(home).pictures
        for one in pictures:
            assert one.labels, f"{one.name} has no label"
            assert one.path.read_bytes()
        with home.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    return [one.name for one in pictures]


def test_of_two_writing_processes_a_kill_costs_nothing_acknowledged(repository: Path, tmp_path: Path) -> None:
    folder, draw = tmp_path / "home", random.Random(3)
    said: list[str] = []
    for turn in range(2):
        writers = [start(repository, folder, f"{name}{turn}") for name in "ab"]
        for writer in writers:
            said += acknowledged(writer, 2, draw.uniform(0.0, 0.15))
        names = survey(folder)
        assert set(said) <= set(names)
        assert halves(names) == 0
    assert {name.split("/")[0] for name in said} == {"a0", "b0", "a1", "b1"}


@pytest.mark.soak
def test_many_kills_cost_nothing_and_the_control_is_torn(repository: Path, tmp_path: Path) -> None:
    draw, torn = random.Random(4), 0
    for turn in range(12):
        for folder, more in ((tmp_path / "home", ()), (tmp_path / "control", ("torn",))):
            said = acknowledged(start(repository, folder, f"w{turn}", *more), 1, draw.uniform(0.0, 0.1))
            names = survey(folder)
            assert set(said) <= set(names)
            if more:
                torn = halves(names)
            else:
                assert halves(names) == 0
    assert torn > 0, "the control must be able to fail"


def test_facts_are_synced_before_they_are_acknowledged(home: DatasetHome) -> None:
    with home.acting("label", WHO, WHY) as act:
        ask = act.connection.exec_driver_sql
        settings = [ask(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]  # 2: FULL


def test_threads_that_correct_the_same_label_do_not_both_win(home: DatasetHome, tmp_path: Path) -> None:
    add(home, labelled_set(picture(tmp_path, 1, box())), who=WHO, why=WHY)
    won: list[str] = []
    together = threading.Barrier(4)

    def correct(name: str, x0: float) -> None:
        together.wait()
        try:
            labelling.correct(home, 1, box(x0=x0), who=name, why="mine is right")
        except StationFault:
            return
        won.append(name)

    threads = [threading.Thread(target=correct, args=(f"person {n}", 1.5 + n / 4)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = history(home, "p0001.png")
    assert [record.who for record in records[1:]] == won
    assert len(won) == 1


def test_a_reader_sees_one_moment_while_others_write(home: DatasetHome, tmp_path: Path) -> None:
    add(home, labelled_set(picture(tmp_path, 1)), who=WHO, why=WHY)
    with home.reading() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM pictures").scalar
        before = count()
        add(home, labelled_set(picture(tmp_path, 2)), who=WHO, why=WHY)
        assert connection.exec_driver_sql("SELECT count(*) FROM pictures").scalar() == before == 1
    assert len(read(home).pictures) == 2


def test_a_migration_killed_half_way_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from datasets import database, store\n"
        "name, real = database.MIGRATIONS[0]\n"
        "def kill(op):\n"
        "    real(op)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "database.MIGRATIONS[0] = (name, kill)\n"
        "store.open_home(Path(sys.argv[1]), create=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "home")], check=False)
    assert done.returncode == -signal.SIGKILL
    with open_home(tmp_path / "home", create=True) as home:
        assert read(home).pictures == ()


def test_a_home_of_a_newer_version_is_refused(home: DatasetHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.database.MIGRATIONS", [("0000", MIGRATIONS[0][1])])
    with pytest.raises(StationFault, match=f"newer version.*schema {MIGRATIONS[-1][0]}"):
        open_home(home.folder)


def test_a_damaged_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/dataset.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(StationFault, match="cannot be used"):
        open_home(tmp_path / "home")
