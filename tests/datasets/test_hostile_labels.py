# SPDX-License-Identifier: AGPL-3.0-or-later
"""A broken or harmful label file is refused in one sentence naming file and line or field; nothing changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.formats import labels_csv
from datasets.hostile import PictureCheck
from tests.datasets.labelled_sets import draw_picture
from tests.datasets.one_mark import HEIGHT_PX, WIDTH_PX, coco

NAN = float("nan")
RLE = {"size": [HEIGHT_PX, WIDTH_PX]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bbox": [NAN, 3, 10, 8]}, "set.json, line 22: NaN is not a number"),
        ({"bbox": [2, 3, 1e999, 8]}, "Infinity is not a number"),
        ({"bbox": [2, 3, 0, 8]}, "annotations[0].bbox: a box from (2, 3) to (2, 11) has no area"),
        ({"bbox": [2, 3, 10]}, "annotations[0].bbox: 3 numbers"),
        ({"bbox": "2 3 10 8"}, "annotations[0].bbox: str where a list is needed"),
        (
            {"bbox": [200, 3, 10, 8]},
            "annotations[0].bbox: a box from (200, 3) to (210, 11) lies outside its 40 x 30",
        ),
        ({"bbox": [2, 3, 4000, 8]}, "sticks out of its 40 x 30 picture"),
        ({"category_id": 9}, "annotations[0].category_id: 9 is not in categories"),
        ({"image_id": 9}, "annotations[0].image_id: 9 is not the id of a picture"),
        ({"segmentation": [[1, 1, 9, 9]]}, "annotations[0].segmentation[0]: a polygon with 2 corners"),
        (
            {"segmentation": [[1, 1, 9, 9, 5]]},
            "annotations[0].segmentation[0]: 5 numbers; every corner needs x and y",
        ),
        (
            {"segmentation": RLE | {"counts": [5, 6]}},
            "annotations[0].segmentation.counts: its run lengths cover 11",
        ),
        ({"segmentation": RLE | {"counts": [1205, -5]}}, "segmentation.counts: '-5' is not a run length"),
        ({"segmentation": RLE | {"counts": [1200]}}, "segmentation.counts: a mask without a single pixel"),
        (
            {"segmentation": RLE | {"counts": "oP`"}},
            "segmentation.counts: its compressed run lengths break off",
        ),
        ({"segmentation": {"size": [10**9, 10**9], "counts": [10**18]}}, "annotations[0].segmentation.size"),
    ],
)
def test_a_wrong_value_in_coco_is_named(
    source: Path, refused: Callable[..., str], change: dict[str, Any], says: str
) -> None:
    said = refused(coco(source, **change))
    assert says in said
    assert "set.json" in said


def test_a_coco_file_that_breaks_off_or_is_too_deep_is_named(source: Path, refused: Callable[..., str]) -> None:
    path = coco(source)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    said = refused(path)
    assert f"set.json, line {whole[: len(whole) // 2].count(chr(10)) + 1}, column " in said
    assert ": not JSON" in said
    path.write_text("[" * 200_000)
    assert "set.json: not JSON that can be read (RecursionError)" in refused(path)
    path.write_bytes(b'{"images": [],\n"x": "\xff"}')
    assert "set.json, line 2: not UTF-8" in refused(path)


@pytest.mark.parametrize(
    "name", ["../first/good/one.png", "/etc/hostname.png", "C:/x.png", "a\\..\\..\\x.png", "."]
)
def test_a_picture_outside_the_set_is_not_read(source: Path, refused: Callable[..., str], name: str) -> None:
    path = coco(source)
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = name
    path.write_text(json.dumps(document))
    assert "images[0].file_name: " in (said := refused(path))
    assert "lies outside the set's folder" in said


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("lot", "x" * 201, "images[0].lot: 201 characters, at most 200"),
        ("part", "half \ud800", "images[0].part: control or broken characters"),
        ("shift", "half \ud800", "images[0].shift: control or broken characters"),
        ("sequence", ["a"], "images[0].sequence: list where a text is needed"),
        ("file_name", "x" * 300 + ".png", "images[0].file_name: "),
    ],
)
def test_texts_that_no_dataset_has_room_for_are_named(
    source: Path, refused: Callable[..., str], key: str, value: Any, says: str
) -> None:
    path = coco(source)
    document = json.loads(path.read_text())
    document["images"][0][key] = value
    path.write_text(json.dumps(document))
    assert says in refused(path)


def test_a_size_that_is_not_the_pictures_own_is_refused(source: Path, refused: Callable[..., str]) -> None:
    draw_picture(source / "p.png", WIDTH_PX, HEIGHT_PX + 1, 9)
    said = refused(coco(source))
    assert "p.png: is 40 x 31 pixels" in said
    assert "says 40 x 30" in said


def test_rows_of_yolo_are_named_by_line(source: Path, refused: Callable[..., str]) -> None:
    draw_picture(source / "images/p.png", WIDTH_PX, HEIGHT_PX, 9)
    (source / "data.yaml").write_text("train: images\nnames: [scratch]\n")
    rows = source / "labels/p.txt"
    rows.parent.mkdir()
    for text, says in (
        ("0 0.5 0.5 0.2 0.2\n0 nan 0.5 0.2 0.2\n", "p.txt, line 2: 'nan' is not a finite number"),
        ("0 0.5 0.5 0.2 0.2\n\n7 0.5 0.5 0.2 0.2\n", "p.txt, line 3: class '7'; data.yaml names 0 to 0"),
        ("-1 0.5 0.5 0.2 0.2\n", "p.txt, line 1: class '-1'"),
        ("0 0.1 0.1 0.2 0.2 0.3\n", "p.txt, line 1: 5 numbers after the class"),
        ("0 0.1 0.1 0.2\n", "p.txt, line 1: 3 numbers after the class"),
        ("0 x 0.1 0.2 0.2\n", "p.txt, line 1: 'x' is not a number"),
    ):
        rows.write_text(text)
        assert says in refused(source)
    rows.write_text("")
    for text, says in (
        ("train: images\nnames: &a [x]\nval: *a\n", "data.yaml, line 3: an alias"),
        ("train: ../../first\nnames: [x]\n", "data.yaml, train: '../first' lies outside"),
        ("train: 5\nnames: [x]\n", "data.yaml, train: int where a list is needed"),
        ("train: images\nnames: {1: x}\n", "data.yaml, names: numbers must run from 0"),
        ("train: [\n", "data.yaml, line 2: not YAML"),
        ("train: !!python/object/apply:os.system [id]\n", "data.yaml, line 1: not YAML"),
        ("train: gone\nnames: [x]\n", "data.yaml, train: no folder 'gone'"),
    ):
        (source / "data.yaml").write_text(text)
        assert says in refused(source)


BOMB = (
    '<?xml version="1.0"?>\n<!DOCTYPE a [\n <!ENTITY a "aaaaaaaaaa">\n'
    + "".join(f' <!ENTITY {chr(98 + i)} "{("&" + chr(97 + i) + ";") * 10}">\n' for i in range(9))
    + "]>\n<annotations>&j;</annotations>\n"
)
CVAT = '<annotations>\n<image id="0" name="p.png" width="40" height="30">\n{}\n</image>\n</annotations>\n'
SIZE_XML = "<size><width>40</width><height>30</height></size>"
VOC = "<annotation>\n<filename>p.png</filename>\n" + SIZE_XML + "\n{}</annotation>\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "annotations.xml, line 2: a document type (DOCTYPE)"),
        (
            '<!DOCTYPE a SYSTEM "file:///etc/passwd">\n<annotations/>',
            "annotations.xml, line 1: a document type",
        ),
        ("<annotations>\n<image></annotations>", "annotations.xml, line 2: not XML (mismatched tag)"),
        ("<a>" * 40, "annotations.xml, line 1: more than"),
        (CVAT.format("<box/>"), "annotations.xml, line 3: <box> has no label"),
        (
            CVAT.format('<box label="a" xtl="nan" ytl="1" xbr="2" ybr="2"/>'),
            "annotations.xml, line 3: 'nan' is not a finite number",
        ),
        (
            CVAT.format('<polygon label="a" points="1,1;2,2"/>'),
            "annotations.xml, line 3.points: a polygon with 2 corners",
        ),
        (
            CVAT.format('<mask label="a" rle="1,2" left="0" top="0" width="3" height="3"/>'),
            "annotations.xml, line 3.rle: its run lengths cover 3 pixels, its box has 9",
        ),
        (
            CVAT.format('<mask label="a" rle="1,2" left="39" top="0" width="3" height="1"/>'),
            "annotations.xml, line 3: a 3 x 1 mask at (39, 0) leaves its 40 x 30 picture",
        ),
        (CVAT.format('<ellipse label="a" cx="1"/>'), "annotations.xml, line 3: <ellipse> is no box"),
        (CVAT.format('<tag label="a"/><tag label="b"/>'), "annotations.xml, line 2: 2 tags"),
        (VOC.format("<object><name>a</name></object>\n"), "annotations.xml, line 4: <object> has 0 <bndbox>"),
        (
            VOC.format(
                "<object><name>a</name>\n<bndbox><xmin>5</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
                "</object>\n"
            ),
            "annotations.xml, line 5.bndbox: a box from (5, 1) to (2, 2) has no area",
        ),
    ],
)
def test_xml_is_named_by_line(source: Path, refused: Callable[..., str], text: str, says: str) -> None:
    (source / "annotations.xml").write_text(text)
    begun = time.monotonic()
    assert says in refused(source / "annotations.xml", "--format", "voc" if "<annotation>" in text else "cvat")
    assert time.monotonic() - begun < 30  # a bomb would take minutes and gigabytes


def _task(result: dict[str, Any] | None, **more: Any) -> str:
    annotations = [] if result is None else [{"result": [result]}]
    return json.dumps([{"data": {"image": "p.png"}, "annotations": annotations} | more])


SIZE = {"original_width": WIDTH_PX, "original_height": HEIGHT_PX}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_task({"type": "keypointlabels"}), "[0].annotations[0].result[0].type: 'keypointlabels' is no"),
        (
            _task(SIZE | {"type": "brushlabels", "value": {"brushlabels": ["a"], "rle": [0, 0, 0, 4]}}),
            "result[0].value.rle: its run lengths break off",
        ),
        (
            _task(SIZE | {"type": "brushlabels", "value": {"brushlabels": ["a"], "rle": [255] * 40}}),
            "result[0].value.rle: it holds 4294967295 values",
        ),
        (
            _task(
                SIZE | {"type": "polygonlabels", "value": {"polygonlabels": ["a"], "points": [[1, 1], [5, 5]]}}
            ),
            "result[0].value: a polygon with 2 corners",
        ),
        (
            _task(
                {
                    "type": "rectanglelabels",
                    "original_width": 10,
                    "original_height": 10,
                    "value": {"rectanglelabels": ["a"]},
                }
            ),
            "drawn on a picture of 10 x 10, the file has 40 x 30",
        ),
        (_task(None), "[0].annotations: nobody has labelled it yet"),
        (_task(None, annotations=[{"result": []}, {"result": []}]), "[0].annotations: 2 people labelled it"),
    ],
)
def test_label_studio_tasks_are_named_by_field(
    source: Path, refused: Callable[..., str], text: str, says: str
) -> None:
    (source / "tasks.json").write_text(text)
    said = refused(source)
    assert says in said
    assert "tasks.json, [0]" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,class,x0,y0,x1,y1\np.png,a,1,1,NaN,5\n", "labels.csv, line 2: 'NaN' is not a finite number"),
        (
            "file,class\np.png,a\n\np.png,b\n",
            "labels.csv, line 4.image_class: 'b', an earlier row of p.png says 'a'",
        ),
        ("file,class,x0,y0,x1,y1\np.png,a,1,1,,5\n", "labels.csv, line 2: a box needs x0, y0, x1 and y1"),
        ("file,class\np.png\n", "labels.csv, line 2: 1 cells, the first row has 2"),
        ("name,class\np.png,a\n", "labels.csv, line 1: columns"),
        ("file,class\ngone.png,a\n", "labels.csv, line 2.file: picture 'gone.png' is not in"),
        (
            "file,class\n../first/good/one.png,a\n",
            "labels.csv, line 2.file: '../first/good/one.png' lies outside",
        ),
        ('file,class\np.png,"a\n', "labels.csv, line 2: not CSV"),
        ("file,class\np.png,OK\n", "which may mean good: add --good 'OK'"),
        ("file,class\np.png, OK\n", "which may mean good: add --good 'OK'"),
        ("name,kind\np.png,a\n", "labels.csv, line 1: columns name, kind; it needs `file`"),
        (
            "file,class,x,y,w,h\np.png,a,1,1,5,5\n",
            "labels.csv, line 1: columns x and y may be a corner or the middle",
        ),
        (
            "filename,width,height,class,xmin,ymin,xmax,ymax\np.png,80,60,a,1,1,9,9\n",
            "labels.csv, line 2.width, height: 80 x 60, its picture has 40 x 30 pixels",
        ),
    ],
)
def test_rows_of_a_table_are_named_by_line(
    source: Path, refused: Callable[..., str], text: str, says: str
) -> None:
    (source / "labels.csv").write_text(text)
    assert says in refused(source)


@pytest.mark.parametrize(
    "columns",
    [
        *(
            "cx,cy,w,h",
            "xc,yc",
            "x_center,y_center,w,h",
            "X Center,Y Center",
            "w,h",
            "bbox",
            "Box",
            "bounding box",
        ),
        *("bbox_x,bbox_y,bbox_width,bbox_height", "x_1,y_1,x_2,y_2", "x (px)", "bbox[0]", "xtl,ytl,xbr,ybr"),
        *("roi", "polygon", "EncodedPixels"),
    ],
)
def test_a_box_that_is_not_read_makes_no_whole_picture_of_a_mark(
    source: Path, refused: Callable[..., str], columns: str
) -> None:
    cells = ",".join(['"[1,2,3,4]"'] * len(columns.split(",")))
    (source / "labels.csv").write_text(f"file,class,{columns}\np.png,a,{cells}\n")
    said = refused(source)
    assert f"labels.csv, line 1: columns {columns.replace(',', ', ')} say where a mark is" in said
    assert "as x0, y0, x1, y1" in said


@pytest.mark.parametrize(
    ("head", "row", "boxes"),
    [
        ("file,class,xmin,ymin,xmax,ymax,w,h,bbox", "p.png,a,1,2,4,6,3,4,whatever", 1),  # the box is read
        ("file,class,width,height,camera,box_id,station,checked_by", "p.png,a,40,30,north,7,3,Ann", 0),
    ],
)
def test_columns_that_take_no_box_away_are_passed_over(source: Path, head: str, row: str, boxes: int) -> None:
    (source / "labels.csv").write_text(f"{head}\n{row}\n")
    with PictureCheck() as pictures:
        (picture,) = labels_csv.read(source / "labels.csv", pictures).pictures
    assert len(picture.labels) == boxes


@pytest.mark.parametrize(("name", "text"), [("set.json", "[]"), ("set.json", "{}"), ("set.xml", "<nothing/>")])
def test_labels_that_nobody_can_read_are_not_passed_over_for_the_names_of_folders(
    source: Path, refused: Callable[..., str], name: str, text: str
) -> None:
    (source / "scratch").mkdir()
    (source / "p.png").rename(source / "scratch/p.png")
    (source / name).write_text(text)
    assert f"{name}: not labels of a known format" in refused(source)


def test_a_picture_beside_the_folders_is_not_left_out_in_silence(
    source: Path, refused: Callable[..., str]
) -> None:
    (source / "scratch").mkdir()
    (source / "scratch/q.png").write_bytes((source / "p.png").read_bytes())
    assert "p.png: lies beside the folders" in refused(source)


def test_a_label_file_that_breaks_off_is_named_by_line_and_column(
    source: Path, refused: Callable[..., str]
) -> None:
    (source / "set.json").write_text('{"images": [{"id": 1, "file_')
    assert "set.json, line 1, column 23: not JSON" in refused(source)
