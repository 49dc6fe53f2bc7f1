# SPDX-License-Identifier: AGPL-3.0-or-later
"""The same home in PostgreSQL: same facts, refusals and snapshot ids. A server of its own, without network."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import DatabaseError

from datasets import labelling, review, schema
from datasets.adding import add
from datasets.beliefs import history, read
from datasets.database import database_url
from datasets.diffs import diff
from datasets.review import Answer
from datasets.snapshots import read_snapshot, take
from datasets.store import DatasetHome, open_home
from inspection.types import StationFault
from tests.datasets.homes import WHO, WHY, box, labelled_set, picture

MISSING = [name for name in ("initdb", "pg_ctl") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"PostgreSQL is not installed here ({', '.join(MISSING)})"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed here"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """Folder with the socket of a PostgreSQL server; it refuses to run as root, so root lends it a user."""
    as_whom = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="gatesight-pg-"))
    if as_whom:
        shutil.chown(folder, "postgres", "postgres")

    def call(*words: str) -> None:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, **as_whom)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        call("initdb", "-D", str(folder / "db"), "-U", "gatesight", "--auth=trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        call("pg_ctl", "-D", str(folder / "db"), "-l", str(folder / "log"), "-o", options, "-w", "start")
        yield folder
    finally:
        if (folder / "db/postmaster.pid").exists():
            call("pg_ctl", "-D", str(folder / "db"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def home(server: Path, tmp_path: Path) -> Iterator[DatasetHome]:
    import psycopg

    name = f"test_{abs(hash(str(tmp_path)))}"
    with psycopg.connect(f"host={server} user=gatesight dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dataset.toml").write_text(
        f'database = "postgresql+psycopg://gatesight@/{name}?host={server}"\n', encoding="utf-8"
    )
    with open_home(folder) as home:
        yield home


def test_it_is_kept_where_the_settings_say(home: DatasetHome) -> None:
    assert database_url(home.folder).startswith("postgresql")
    assert not (home.folder / "dataset.sqlite").exists()


def test_facts_go_in_come_out_and_cannot_be_changed(home: DatasetHome, tmp_path: Path) -> None:
    given = labelled_set(picture(tmp_path, 1, box(), part="P"), picture(tmp_path, 2, image_class="good"))
    add(home, given, who=WHO, why=WHY)
    got = read(home)
    assert [p.labels for p in got.pictures] == [p.labels for p in given.pictures]
    labelling.correct(home, 1, box(x0=2.0), who="Bo", why="further right")
    assert read(home, as_of=1).pictures[0].labels == (box(),)
    assert [r.replaces for r in history(home, "p0001.png")] == [None, 1]
    for statement in (update(schema.labels).values(body="{}"), delete(schema.labels)):
        with pytest.raises(DatabaseError, match="only grows"), home.acting("label", WHO, WHY) as act:
            act.connection.execute(statement)
    with pytest.raises(StationFault, match="meanwhile"):
        labelling.take_away(home, 1, who="Cy", why="late")


def test_the_snapshot_is_the_same_as_in_sqlite(home: DatasetHome, tmp_path: Path) -> None:
    pictures = [picture(tmp_path, n, box(), lot=f"lot {n % 7}") for n in range(14)]
    ids = []
    with open_home(tmp_path / "sqlite", create=True) as other:
        for one in (home, other):
            add(one, labelled_set(*pictures), who=WHO, why=WHY)
            first = take(one, who=WHO, why=WHY)
            labelling.judge(one, "p0003.png", "bad", who="Bo", why="scratched")
            second = take(one, who=WHO, why=WHY)
            ids.append((first.id, second.id))
            assert [change.what for change in diff(one, first.id, second.id).labels] == ["added"]
            assert sum(len(side.pictures) for side in read_snapshot(one, second.id).values()) == 14
    assert ids[0] == ids[1]


def test_review_works_there_too(home: DatasetHome, tmp_path: Path) -> None:
    add(home, labelled_set(picture(tmp_path, 1)), who=WHO, why=WHY, unlabelled=True)
    (task,) = review.ask(home, ["p0001.png"], ["Ann", "Bo"], who="Lead", why=WHY)
    assert review.answer(home, task, "Ann", Answer(labels=(box(),))).answers == {}
    assert review.answer(home, task, "Bo", Answer(labels=(box(x0=1.2),))).state == "agreed"
    assert read(home).pictures[0].labels == (box(),)


def test_writers_take_turns(home: DatasetHome, tmp_path: Path) -> None:
    sets = [labelled_set(*(picture(tmp_path / str(t), 10 * t + n, box()) for n in range(5))) for t in range(4)]
    threads = [
        threading.Thread(target=add, args=(home, one), kwargs={"who": f"person {i}", "why": WHY})
        for i, one in enumerate(sets)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(home).pictures) == 20
    with home.reading() as connection:
        ids = connection.exec_driver_sql("SELECT id, act_id FROM pictures ORDER BY id").all()
    assert [row.id for row in ids] == list(range(1, 21))
    assert [row.act_id for row in ids] == sorted(row.act_id for row in ids)
