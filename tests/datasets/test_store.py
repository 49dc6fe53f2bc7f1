# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dataset home keeps pictures and labels for good: facts only grow, and the past can be asked."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, update
from sqlalchemy.exc import DatabaseError

from datasets import labelling, schema
from datasets.adding import add
from datasets.beliefs import history, read
from datasets.labels import Rle
from datasets.store import DatasetHome, open_home
from inspection.types import StationFault
from tests.datasets.homes import WHO, WHY, box, labelled_set, picture


def test_what_goes_in_comes_out(home: DatasetHome, tmp_path: Path) -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3] = True
    pictures = (
        picture(tmp_path, 1, box(), box("dent", 3.25, polygons=(((1.0, 2.0), (3.5, 2.0), (3.0, 4.0)),))),
        picture(
            tmp_path, 2, box(mask=Rle.from_mask(mask)), image_class="bad", part="P1", lot="L1", sequence="S"
        ),
        picture(tmp_path, 3),
        picture(tmp_path, 4, image_class="good", facts={"camera": "2"}, template=tmp_path / "p0001.png"),
    )
    given = labelled_set(*pictures)
    assert add(home, given, who=WHO, why=WHY).pictures == 4
    got = read(home)
    assert got.classes == given.classes
    for before, after in zip(given.pictures, got.pictures, strict=True):
        assert after.labels == before.labels
        for field in (
            "name",
            "width_px",
            "height_px",
            "image_class",
            "part",
            "lot",
            "sequence",
            "facts",
            "good",
        ):
            assert getattr(after, field) == getattr(before, field)
        assert after.path.read_bytes() == before.path.read_bytes()
    assert got.pictures[3].template is not None
    assert got.pictures[3].template.read_bytes() == pictures[0].path.read_bytes()


AUDIT = {"station": "x", "pass_share": 0.1, "reject_share": 1.0, "kept_share": 1.0, "key": "00"}
REVIEW = {
    "station": "x",
    "epoch": 1,
    "ordinal": 1,
    "trigger_utc_ns": 1,
    "said": "good",
    "outcome": "pass",
    "bundle_sha256": "b" * 64,
    "probability": 0.1,
}


@pytest.mark.parametrize("table", schema.FACTS)
def test_no_fact_can_be_changed_or_deleted(home: DatasetHome, tmp_path: Path, table: str) -> None:
    filled(home, tmp_path)
    facts = schema.metadata.tables[table]
    for statement in (update(facts).values(id=facts.c.id), delete(facts)):
        with home.acting("label", WHO, WHY) as act:
            assert act.connection.execute(facts.select()).first() is not None
            with pytest.raises(DatabaseError, match="only grows"):
                act.connection.execute(statement)
    raw = sqlite3.connect(home.folder / "dataset.sqlite")  # neither our pragmas nor our code
    with pytest.raises(sqlite3.IntegrityError, match="only grows"):
        raw.execute(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")  # noqa: S608 - a table of ours
    raw.close()


def filled(home: DatasetHome, tmp_path: Path) -> None:
    """One row in every table at least."""
    add(home, labelled_set(picture(tmp_path, 1, box())), who=WHO, why=WHY)
    labelling.lock_golden(home, ["p0001.png"], who=WHO, why=WHY)
    with home.acting("review", WHO, WHY) as act:
        act.insert(schema.splits, [{"settings": "{}"}])
        act.insert(schema.sides, [{"split_id": 1, "picture_id": 1, "side": "train"}])
        act.insert(schema.snapshots, [{"sha256": "0" * 64}])
        act.insert(schema.tasks, [{"picture_id": 1}])
        act.insert(schema.assignments, [{"task_id": 1, "reviewer": "Bo"}])
        act.insert(schema.answers, [{"task_id": 1, "reviewer": "Bo", "body": "{}"}])
        act.insert(schema.audits, [AUDIT])
        act.insert(schema.reviews, [REVIEW])
        act.insert(schema.outcomes, [{"task_id": 1, "how": "agreed", "body": "{}"}])


def test_the_schema_is_what_the_migrations_make(home: DatasetHome) -> None:
    with home.reading() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == [("remove_table", table) for table in ()]


def test_what_was_believed_on_a_day_is_a_query(tmp_path: Path) -> None:
    days = iter(range(1, 100))
    day_ns = 86_400 * 1_000_000_000
    with open_home(tmp_path / "home", create=True, clock=lambda: next(days) * day_ns) as home:
        add(home, labelled_set(picture(tmp_path, 1, box(x0=1.0))), who="Ann", why="first look")  # day 1
        (first,) = history(home, "p0001.png")
        second = labelling.correct(home, first.id, box(x0=2.0), who="Bo", why="it lies further right")  # day 2
        labelling.judge(home, "p0001.png", "bad", who="Bo", why="scratched")  # day 3
        labelling.take_away(home, second, who="Cy", why="that is dust")  # day 4

        def on(day: int):
            return read(home, as_of=datetime.fromtimestamp(day * 86_400 + 1, UTC)).pictures

        assert on(0) == ()
        assert [label.box.x0_px for label in on(1)[0].labels] == [1.0]
        assert on(1)[0].image_class is None
        assert [label.box.x0_px for label in on(2)[0].labels] == [2.0]
        assert on(3)[0].image_class == "bad"
        assert on(4)[0].labels == ()
        records = history(home, "p0001.png")
        assert [(r.shape, r.who, r.why, r.replaces) for r in records] == [
            ("box", "Ann", "first look", None),
            ("box", "Bo", "it lies further right", 1),
            ("whole", "Bo", "scratched", None),
            ("gone", "Cy", "that is dust", 2),
        ]


def test_a_second_correction_of_the_same_record_is_refused(home: DatasetHome, tmp_path: Path) -> None:
    add(home, labelled_set(picture(tmp_path, 1, box())), who=WHO, why=WHY)
    labelling.correct(home, 1, box(x0=2.0), who="Ann", why="a")
    with pytest.raises(StationFault, match="meanwhile"):
        labelling.correct(home, 1, box(x0=3.0), who="Bo", why="b")
    assert [label.box.x0_px for label in read(home).pictures[0].labels] == [2.0]


def test_the_same_import_twice_adds_nothing_other_labels_need_a_word(home: DatasetHome, tmp_path: Path) -> None:
    first = labelled_set(picture(tmp_path, 1, box()), picture(tmp_path, 2))
    add(home, first, who=WHO, why=WHY)
    again = add(home, first, who=WHO, why=WHY)
    assert (again.pictures, again.known, again.labels) == (0, 2, 0)
    other = labelled_set(picture(tmp_path, 1, box(x0=1.5), box("dent", 4.0)), picture(tmp_path, 3))
    with pytest.raises(StationFault, match=r"p0001\.png.*--replace"):
        add(home, other, who=WHO, why=WHY)
    assert len(read(home).pictures) == 2
    assert add(home, other, who=WHO, why=WHY, replace=True).replaced == 1
    records = history(home, "p0001.png")
    assert [(r.class_name, r.replaces) for r in records] == [("scratch", None), ("scratch", 1), ("dent", None)]


def test_a_second_import_that_knows_the_lot_links_it(home: DatasetHome, tmp_path: Path) -> None:
    add(home, labelled_set(picture(tmp_path, 1, part="P")), who=WHO, why=WHY)
    add(home, labelled_set(picture(tmp_path, 1, lot="L")), who=WHO, why=WHY, replace=True)
    (one,) = read(home).pictures
    assert (one.part, one.lot) == ("P", "L")
    assert add(home, labelled_set(picture(tmp_path, 1, lot="L")), who=WHO, why=WHY, replace=True).known == 1


def test_an_import_that_fails_leaves_no_fact(home: DatasetHome, tmp_path: Path) -> None:
    good, bad = picture(tmp_path, 1, box()), picture(tmp_path, 2, box())
    bad.path.write_bytes(b"no picture at all")
    with pytest.raises(StationFault, match="not a JPEG"):
        add(home, labelled_set(good, bad), who=WHO, why=WHY)
    add(home, labelled_set(good), who=WHO, why=WHY)
    impostor = picture(tmp_path / "other", 1, box())
    impostor.path.write_bytes(picture(tmp_path, 5).path.read_bytes())
    with pytest.raises(StationFault, match="another picture named"):
        add(home, labelled_set(picture(tmp_path, 6), impostor), who=WHO, why=WHY)
    assert [p.name for p in read(home).pictures] == ["p0001.png"]


def test_a_picture_nobody_looked_at_is_not_good(home: DatasetHome, tmp_path: Path) -> None:
    add(home, labelled_set(picture(tmp_path, 1)), who=WHO, why=WHY, unlabelled=True)
    add(home, labelled_set(picture(tmp_path, 2)), who=WHO, why=WHY)
    assert [p.name for p in read(home, unlabelled=False).pictures] == ["p0002.png"]


@pytest.mark.parametrize(("who", "why"), [("", "x"), ("  ", "x"), ("Ann\nBo", "x"), ("Ann", " ")])
def test_every_act_has_a_name_and_a_reason(home: DatasetHome, tmp_path: Path, who: str, why: str) -> None:
    with pytest.raises(StationFault, match=r"Who does this|Why is this"):
        add(home, labelled_set(picture(tmp_path, 1)), who=who, why=why)
    assert read(home).pictures == ()


def test_a_folder_of_other_things_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(StationFault, match="other things"):
        open_home(tmp_path, create=True)
    with pytest.raises(StationFault, match="no dataset home"):
        open_home(tmp_path / "none")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt"]
