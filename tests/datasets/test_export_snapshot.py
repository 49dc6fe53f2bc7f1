# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data export --snapshot ID`: each side in a folder of its own, as it was, in every format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.cli import main
from datasets.coco import read_coco
from datasets.formats.table import FORMATS
from datasets.intake import opened
from datasets.labels import Label, LabelledSet, Picture
from datasets.outlet import export
from datasets.snapshots import find, read_snapshot
from datasets.store import open_home
from tests.datasets.labelled_sets import box, draw_picture, expected, plain

TRIANGLE = ((4.0, 5.0), (12.0, 5.0), (12.0, 15.0))
MARKS = (
    Label(class_name="dent", box=box(4, 5, 12, 15), polygons=(TRIANGLE,)),
    Label(class_name="scratch", box=box(1, 2, 30, 9)),
)


def one(folder: Path, number: int) -> Picture:
    return Picture(
        name=f"lot {number % 6}/{number}.png",
        path=draw_picture(folder / f"{number}.png", 32, 24, number),
        width_px=32,
        height_px=24,
        labels=MARKS[: number % 3],
        image_class=None if number % 3 else "good",
        lot=f"lot {number % 6}",
    )


@pytest.fixture
def taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """A home and a snapshot of it, after which every label was changed."""
    labelled = LabelledSet(
        classes=("dent", "scratch"),
        pictures=tuple(one(tmp_path / "in", n) for n in range(18)),
        source=tmp_path / "in",
    )
    changed = replace(
        labelled,
        pictures=tuple(replace(p, labels=(MARKS[1],), image_class=None) for p in labelled.pictures),
    )
    home = tmp_path / "home"
    for name, given in (("first", labelled), ("changed", changed)):
        export({"": given}, tmp_path / name, "coco")
    assert main(["import", str(tmp_path / "first"), "--into", str(home)]) == 0
    assert main(["split", str(home), "--train", "0.5", "--val", "0.2", "--test", "0.3", "--quick"]) == 0
    assert main(["golden", str(home), "--side", "test"]) == 0
    capsys.readouterr()
    assert main(["snapshot", str(home), "--quick", "--json"]) == 0
    number = json.loads(capsys.readouterr().out)["snapshot"]
    assert main(["import", str(tmp_path / "changed"), "--into", str(home), "--replace"]) == 0
    capsys.readouterr()
    return home, number


def defects(labelled: LabelledSet) -> dict[bytes, tuple[bool, bytes]]:
    """By the picture's bytes: is it good, and which pixels are defective; all that folders with masks carry."""
    return {
        p.path.read_bytes(): (
            p.good,
            np.any([np.zeros((24, 32), bool), *(x.pixels(24, 32) for x in p.labels)], axis=0).tobytes(),
        )
        for p in labelled.pictures
    }


@pytest.mark.parametrize("name", FORMATS)
def test_every_side_comes_back_as_the_snapshot_has_it(
    name: str, taken: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, number = taken
    out = tmp_path / "out"
    words = ["export", str(home), "--snapshot", number[:8], "--to", str(out), "--format", name]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    features = [text.split(" (")[0] for text in answer["lost"]]
    assert len(set(features)) == len(features), "one sentence over all sides"
    with open_home(home) as opened_home:
        sides = {side: s for side, s in read_snapshot(opened_home, number).items() if s.pictures}
        assert set(sides) >= {"train", "val", "golden"}
        assert answer["sides"] == {side: len(s.pictures) for side, s in sides.items()}
        assert {path.name for path in out.iterdir()} == set(sides)
        for side, labelled in sides.items():
            written = Path(answer["written"][side])
            assert written.is_relative_to(out / side)
            with opened(written, beside=tmp_path / "beside", good=("none",)) as intake:
                came = intake.labelled
                if "name" not in FORMATS[name].carries:
                    assert defects(came) == defects(labelled)
                    continue
                wanted = expected(labelled, FORMATS[name].carries)
                if "classes" not in FORMATS[name].carries:
                    came = replace(came, classes=wanted.classes)
                assert plain(came) == plain(wanted)


def test_latest_is_the_newest_snapshot_wherever_one_is_named(
    taken: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, first = taken
    assert main(["snapshot", str(home), "--quick", "--json"]) == 0
    newest = json.loads(capsys.readouterr().out.splitlines()[-1])["snapshot"]
    assert newest != first, "the labels were changed in between"
    assert find("latest", [home]) == (home, newest)
    words = ["export", str(home), "--to", str(tmp_path / "out"), "--format", "coco", "--snapshot", "latest"]
    assert main(words) == 0
    with open_home(home) as opened_home:
        sides = read_snapshot(opened_home, newest)
    for side in (name for name, labelled in sides.items() if labelled.pictures):
        assert plain(read_coco(tmp_path / "out" / side / "annotations.json")) == plain(sides[side])
    empty = tmp_path / "empty"
    with open_home(empty, create=True):
        pass
    capsys.readouterr()
    assert (
        main(["export", str(empty), "--to", str(tmp_path / "no"), "--format", "coco", "--snapshot", "latest"])
        == 3
    )
    assert "has no snapshot yet" in capsys.readouterr().err


def test_what_cannot_be_exported_leaves_no_folder(
    taken: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, number = taken
    before = {path.name for path in tmp_path.iterdir()}
    for words, said in (
        (["--snapshot", "0123abcd"], "No snapshot begins with 0123abcd"),
        (["--snapshot", "xyz"], "is no id of a snapshot"),
    ):
        assert main(["export", str(home), "--to", str(tmp_path / "out"), "--format", "coco", *words]) == 3
        assert said in capsys.readouterr().err
    source = tmp_path / "first"
    words = ["export", str(source), "--to", str(tmp_path / "out"), "--format", "coco", "--snapshot", number]
    assert main(words) == 3
    assert "is no dataset home" in capsys.readouterr().err
    with open_home(home) as opened_home:
        picture = next(iter(read_snapshot(opened_home, number)["train"].pictures))
    picture.path.write_bytes(b"other bytes")
    words = ["export", str(home), "--to", str(tmp_path / "out"), "--format", "coco", "--snapshot", number]
    assert main(words) == 3
    assert "was altered since it was imported" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == before
