# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data import` and `export`: a newcomer's folder in one command, all or nothing, and out again."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from datasets.beliefs import read
from datasets.cli import main
from datasets.coco import read_coco
from datasets.formats.table import FORMATS
from datasets.labels import LabelledSet
from datasets.outlet import export
from datasets.store import open_home
from inspection.types import StationFault
from tests.datasets.labelled_sets import draw_picture, plain, tree_hash
from tests.datasets.rich import rich_set


def believed_in(folder: Path) -> LabelledSet:
    with open_home(folder) as home:
        return read(home)


def test_a_newcomers_folder_and_table_are_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my parts"
    for i in range(6):
        draw_picture(folder / f"teil {i}.png", 20, 20, i)
    rows = ["Filename;Label;Lot;Remark", *(f"teil {i}.png;{'OK' if i % 2 else 'crack'};7;hi" for i in range(6))]
    (folder / "labels.csv").write_text("\r\n".join(rows), encoding="utf-8-sig")  # as Excel saves it
    arguments = ["import", str(folder), "--into", str(tmp_path / "home"), "--json"]
    assert main(arguments) == 3
    assert "add --good 'OK'" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "home").exists()
    assert main([*arguments, "--good", "OK"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["pictures"], answer["good"], answer["image_classes"]) == (6, 3, {"crack": 3, "good": 3})
    pictures = {p.name: p for p in believed_in(tmp_path / "home").pictures}
    assert pictures["teil 1.png"].good
    assert not pictures["teil 2.png"].good
    assert {p.lot for p in pictures.values()} == {"7"}


def test_coco_keeps_everything_on_its_way_through_a_home(tmp_path: Path) -> None:
    labelled = rich_set(tmp_path / "in")
    export({"": labelled}, tmp_path / "coco", "coco")
    assert main(["import", str(tmp_path / "coco"), "--into", str(tmp_path / "home")]) == 0
    assert plain(believed_in(tmp_path / "home")) == plain(labelled)
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "home"), "--to", str(out), "--format", "coco"]) == 0
    assert plain(read_coco(out / "annotations.json")) == plain(labelled)


@pytest.mark.parametrize("name", FORMATS)
def test_no_machine_path_and_no_stranger_leaves_with_an_export(name: str, tmp_path: Path) -> None:
    export({"": rich_set(tmp_path / "in")}, tmp_path / "out", name)
    for path in (tmp_path / "out").rglob("*"):
        assert str(tmp_path).encode() not in (path.read_bytes() if path.is_file() else b"")
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}  # no staging left


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", FORMATS)
def test_an_export_packed_in_an_archive_is_imported_like_its_folder(
    name: str, kind: str, tmp_path: Path
) -> None:
    export({"": rich_set(tmp_path / "in")}, tmp_path / "out", name)
    packed = tmp_path / f"set.{kind}"
    files = [p for p in sorted((tmp_path / "out").rglob("*")) if p.is_file()]
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            for path in files:
                archive.write(path, "top/" + path.relative_to(tmp_path / "out").as_posix())
    else:
        with tarfile.open(packed, "w:gz") as archive:
            archive.add(tmp_path / "out", "top")
    for source, home in ((tmp_path / "out", "a"), (packed, "b")):
        assert main(["import", str(source), "--into", str(tmp_path / home), "--good", "none"]) == 0
    one, two = believed_in(tmp_path / "a"), believed_in(tmp_path / "b")
    assert plain(one) == plain(two)
    assert len(one.pictures) == 4
    assert not list(tmp_path.glob(".gatesight-*"))


def test_the_second_import_of_the_same_adds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export({"": rich_set(tmp_path / "in")}, tmp_path / "coco", "coco")
    arguments = ["import", str(tmp_path / "coco"), "--into", str(tmp_path / "home"), "--json"]
    assert main(arguments) == 0
    before = plain(believed_in(tmp_path / "home"))
    capsys.readouterr()
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["pictures"], answer["known"], answer["labels"]) == (0, 4, 0)
    assert plain(believed_in(tmp_path / "home")) == before


def test_an_export_needs_a_new_folder_and_leaves_a_full_one_alone(tmp_path: Path) -> None:
    labelled = rich_set(tmp_path / "in")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    before = tree_hash(tmp_path / "full")
    with pytest.raises(StationFault, match="holds something already"):
        export({"": labelled}, tmp_path / "full", "coco")
    assert tree_hash(tmp_path / "full") == before
    (tmp_path / "in/3.png").unlink()
    with pytest.raises(StationFault, match="cannot be copied"):
        export({"": labelled}, tmp_path / "new", "yolo")
    assert {p.name for p in tmp_path.iterdir()} == {"in", "full"}


def test_two_pictures_that_a_format_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    one = rich_set(tmp_path / "in", 1).pictures[0]
    from dataclasses import replace

    pictures = (replace(one, name="a.png"), replace(one, name="a.jpg"))
    labelled = LabelledSet(classes=(), pictures=pictures, source=tmp_path)
    for name in ("yolo", "voc"):
        with pytest.raises(StationFault, match="written twice in this format"):
            export({"": labelled}, tmp_path / name, name)
    assert len(read_coco(export({"": labelled}, tmp_path / "coco", "coco")[""]).pictures) == 2


def test_cells_that_a_spreadsheet_would_run_are_guarded(tmp_path: Path) -> None:
    one = rich_set(tmp_path / "in", 1).pictures[0]
    from dataclasses import replace

    evil = ('=HYPERLINK("http://x")', "+1", "-1", "@SUM(1)", "'quoted", "\u200b=1")
    pictures = tuple(replace(one, name=f"={i}.png", part=text, labels=()) for i, text in enumerate(evil))
    labelled = LabelledSet(classes=(), pictures=pictures, source=tmp_path)
    written = export({"": labelled}, tmp_path / "out", "csv")[""]
    import csv

    with written.open(newline="") as file:
        for row in csv.reader(file):
            assert not [cell for cell in row if cell[:1] in tuple("=+-@\t\r")]
    assert main(["import", str(tmp_path / "out"), "--into", str(tmp_path / "home")]) == 0
    assert {p.part for p in believed_in(tmp_path / "home").pictures} == set(evil)


def test_a_folder_with_two_sets_asks_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export({"": rich_set(tmp_path / "in")}, tmp_path / "set", "coco")
    (tmp_path / "set/labels.csv").write_text("file,class\n")
    assert main(["import", str(tmp_path / "set"), "--into", str(tmp_path / "home")]) == 3
    said = capsys.readouterr().err
    assert "several would do: set/annotations.json (coco), set/labels.csv (csv)" in said
    assert main(["import", str(tmp_path / "set"), "--into", str(tmp_path / "home"), "--format", "coco"]) == 0
    assert main(["import", str(tmp_path / "set"), "--into", str(tmp_path / "home"), "--format", "cooc"]) == 3
    assert "--format cooc: no such format; there are coco, yolo" in capsys.readouterr().err


@pytest.mark.data
def test_real_sets_go_in_and_come_out_the_same(tmp_path: Path, data_root: Path) -> None:
    for name in ("magnetic_tile", "bsdata_pitting"):
        source = data_root / name / "val.json"
        assert main(["import", str(source), "--into", str(tmp_path / name)]) == 0
        assert (
            main(["export", str(tmp_path / name), "--to", str(tmp_path / f"{name} out"), "--format", "coco"])
            == 0
        )
        assert plain(read_coco(tmp_path / f"{name} out/annotations.json")) == plain(read_coco(source))
