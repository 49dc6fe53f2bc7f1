# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the line saw comes into a dataset home with its part, unlabelled, once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from datasets import labelling
from datasets.beliefs import read
from datasets.cli import main
from datasets.from_line import kept_views, take_from_line
from datasets.store import DatasetHome, open_home
from inspection.records import schema as t
from inspection.records.database import open_writer
from inspection.storage.images import ImageStore
from inspection.types import StationFault
from tests.datasets.homes import WHO, WHY, box, draw

AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Records of three parts: passed with two views, rejected with one, and one whose picture was not kept."""
    folder = tmp_path / "station"
    engine, store = open_writer(folder / "records.sqlite"), ImageStore(folder / "images")
    with engine.begin() as c:
        run = {"journal_index": 1, "epoch": 77, "started_utc_ns": 1, "station": "Line 2"}
        c.execute(insert(t.runs).values(recipe_sha256="c" * 64, bundle_sha256="b" * 64, **run))
        for part, (outcome, cameras) in enumerate([("pass", [0, 1]), ("reject", [0]), ("pass", [None])], 1):
            c.execute(
                insert(t.parts).values(
                    run_id=1,
                    epoch=77,
                    ordinal=part,
                    seq=part,
                    outcome=outcome,
                    reason="none",
                    trigger_ns=1,
                    trigger_utc_ns=int(AT.timestamp()) * 1_000_000_000 + part,
                    deadline_ns=1,
                    closed_ns=1,
                    recipe_sha256="c" * 64,
                    bundle_sha256="b" * 64,
                    part_id="SN42" if part == 2 else None,
                )
            )
            for camera in cameras:
                path = draw(tmp_path, "kept.png", 10 * part + (camera or 0))
                digest = None if camera is None else store.put(path.read_bytes(), "png")
                c.execute(
                    insert(t.views).values(
                        part_id=part,
                        camera=camera or 0,
                        serial=f"CAM{camera}",
                        image_sha256=digest,
                        image_type=digest and "png",
                        width=8,
                        height=8,
                    )
                )
    engine.dispose()
    return folder


def test_kept_pictures_come_with_their_part_and_without_a_label(home: DatasetHome, data_dir: Path) -> None:
    taken = take_from_line(home, data_dir, who=WHO, why=WHY, lot="L9")
    assert (taken.added.pictures, taken.added.labels, taken.gone, taken.altered) == (3, 0, (), ())
    pictures = read(home).pictures
    assert [(p.name, p.part, p.lot) for p in pictures] == [
        ("line/2026-11-20/77-000001-0.png", "2026-11-20 77-1", "L9"),
        ("line/2026-11-20/77-000001-1.png", "2026-11-20 77-1", "L9"),
        ("line/2026-11-20/77-000002-0.png", "SN42", "L9"),
    ]
    assert pictures[2].facts["outcome"] == "reject"
    assert pictures[2].facts["bundle"] == "b" * 64
    assert read(home, unlabelled=False).pictures == (), "what the station said is no label"


def test_taking_twice_keeps_what_was_labelled_between(home: DatasetHome, data_dir: Path) -> None:
    take_from_line(home, data_dir, who=WHO, why=WHY)
    labelling.mark(home, "line/2026-11-20/77-000002-0.png", box(), who="Ann", why="seen")
    again = take_from_line(home, data_dir, who=WHO, why=WHY)
    assert (again.added.pictures, again.added.known) == (0, 3)
    assert read(home).pictures[2].labels == (box(),)


def test_what_the_station_lost_or_somebody_altered_is_named(home: DatasetHome, data_dir: Path) -> None:
    first, second, _ = sorted((data_dir / "images").rglob("*.png"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-4])
    taken = take_from_line(home, data_dir, who=WHO, why=WHY)
    assert (len(taken.gone), len(taken.altered), taken.added.pictures) == (1, 1, 1)


def test_some_outcomes_and_the_newest_parts_only(home: DatasetHome, data_dir: Path) -> None:
    assert kept_views(data_dir, outcomes=["pass"], newest=1) == []
    assert len(kept_views(data_dir, outcomes=["reject"])) == 1
    with pytest.raises(StationFault, match="perhaps"):
        kept_views(data_dir, outcomes=["perhaps"])


def test_a_folder_without_records_is_refused(home: DatasetHome, tmp_path: Path) -> None:
    with pytest.raises(StationFault, match="data folder of a station"):
        take_from_line(home, tmp_path, who=WHO, why=WHY)
    (tmp_path / "records.sqlite").write_bytes(b"nothing of the kind" * 50)
    with pytest.raises(StationFault, match="cannot be read as records"):
        take_from_line(home, tmp_path, who=WHO, why=WHY)


def test_the_command_takes_them(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["import", str(data_dir), "--from-line", "--into", str(tmp_path / "new"), "--lot", "L1", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 3
    with open_home(tmp_path / "new") as home:
        assert {p.lot for p in read(home).pictures} == {"L1"}
    assert main(["import", str(tmp_path), "--from-line", "--into", str(tmp_path / "other")]) == 3
    assert "data folder of a station" in capsys.readouterr().err


def test_a_refusal_leaves_no_new_home_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = ["import", str(tmp_path / "nowhere"), "--from-line", "--into", str(tmp_path / "home"), "--json"]
    assert main(order) == 3
    assert "data_dir" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "home").exists()
