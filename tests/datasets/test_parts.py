# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures and templates that share a file name in different folders are different parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datasets.beliefs import read
from datasets.cli import main
from datasets.coco import read_coco
from datasets.formats.table import FORMATS
from datasets.labels import LabelledSet, Picture
from datasets.outlet import export
from datasets.readiness import claim_remarks
from datasets.store import open_home
from tests.datasets.homes import box, draw

LOTS = ("lot a", "lot b")


def two_lots(folder: Path, *, templates: bool) -> LabelledSet:
    """The same file names in two folders, as cameras that number from 1 write them."""
    pictures = []
    for number, lot in enumerate(LOTS):
        template = draw(folder / lot / "templates", "1.png", 10 + number) if templates else None
        pictures.append(
            Picture(
                name=f"{lot}/1.png",
                path=draw(folder / lot, "1.png", number),
                width_px=8,
                height_px=8,
                labels=(box(),),
                template=template,
            )
        )
    return LabelledSet(classes=("scratch",), pictures=tuple(pictures), source=folder)


def claimed(text: str) -> int:
    return int(text.split(" good parts", maxsplit=1)[0].rsplit(" ", 1)[1])


@pytest.mark.parametrize("through_a_home", [False, True])
def test_templates_of_one_file_name_are_parts_of_their_own(tmp_path: Path, through_a_home: bool) -> None:
    labelled = two_lots(tmp_path / "in", templates=True)
    entries = [
        {
            "id": number,
            "file_name": picture.name,
            "template_file": f"{lot}/templates/1.png",
            "width": 8,
            "height": 8,
        }
        for number, (lot, picture) in enumerate(zip(LOTS, labelled.pictures, strict=True))
    ]
    mark = {"id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}
    marks = [mark | {"id": number, "image_id": number} for number in range(2)]
    file = tmp_path / "in/set.json"
    file.write_text(
        json.dumps({"images": entries, "annotations": marks, "categories": [{"id": 1, "name": "scratch"}]})
    )
    if through_a_home:
        assert main(["import", str(file), "--into", str(tmp_path / "home")]) == 0
        with open_home(tmp_path / "home") as home:
            given = read(home)
    else:
        given = read_coco(file)
    goods = given.templates
    assert len({good.path for good in goods}) == 2
    assert len({good.part_name for good in goods}) == 2
    assert not {good.part_name for good in goods} & {picture.part_name for picture in given.pictures}
    # and what can be claimed counts them as two
    remarks = claim_remarks("test", (*given.pictures, *goods))
    assert [claimed(r.text) for r in remarks if "good parts" in r.text] == [2]


@pytest.mark.parametrize("name", FORMATS)
def test_pictures_of_one_file_name_stay_two_parts_in_every_format(name: str, tmp_path: Path) -> None:
    export({"": two_lots(tmp_path / "in", templates=False)}, tmp_path / "out", name)
    assert main(["import", str(tmp_path / "out"), "--into", str(tmp_path / "home"), "--good", "none"]) == 0
    with open_home(tmp_path / "home") as home:
        pictures = read(home).pictures
    assert len(pictures) == 2
    assert len({picture.part_name for picture in pictures}) == 2
