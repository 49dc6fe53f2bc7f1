# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files as other tools write them: masks by their own encoders, layouts as they lie on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.cli import main
from datasets.formats import labels_csv
from datasets.formats.brush import pack_mask
from datasets.formats.detect import detect
from datasets.formats.table import FORMATS
from datasets.hostile import PictureCheck
from datasets.labels import LabelledSet, Rle
from inspection.types import StationFault
from tests.datasets.labelled_sets import draw_picture
from training.pictures import read_picture

MASK = np.zeros((7, 9), bool)
MASK[2:5, 3:8] = True
MASK[3, 4] = False
MASK[6, 0] = True
PYCOCOTOOLS = "61`02DNM03200005"  # pycocotools 2.0.11, encode(MASK)
LABEL_STUDIO = [
    *(0, 0, 0, 252, 57, 27, 254, 83, 0, 194, 127, 247, 192, 35, 255, 140),
    *(2, 223, 253, 240, 12, 39, 255, 137, 192, 35, 255, 195, 224, 0),
]  # label-studio-converter 0.0.58, brush.mask2rle(MASK)
CVAT = "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3"

"""The mask in CVAT's manual, "XML annotation format"."""


@pytest.fixture
def check() -> Iterator[PictureCheck]:
    with PictureCheck() as pictures:
        yield pictures


def read(folder: Path, check: PictureCheck) -> tuple[str, LabelledSet]:
    name, where = detect(folder)
    return name, FORMATS[name].read(where, check)


def marks(labelled: LabelledSet) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {
        p.name: [
            (x.class_name, tuple(round(v, 3) for v in (x.box.x0_px, x.box.y0_px, x.box.x1_px, x.box.y1_px)))
            for x in p.labels
        ]
        for p in labelled.pictures
    }


def test_run_lengths_of_pycocotools(tmp_path: Path, check: PictureCheck) -> None:
    """In COCO's own layout: annotations/ and the pictures' folder side by side."""
    draw_picture(tmp_path / "train2017/a.png", 9, 7, 1)
    document = {
        "images": [{"id": 3, "file_name": "a.png", "width": 9, "height": 7}],
        "categories": [{"id": 1, "name": "hole", "supercategory": "defect"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 3,
                "category_id": 1,
                "bbox": [0, 2, 8, 5],
                "segmentation": {"size": [7, 9], "counts": PYCOCOTOOLS},
            }
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(document))
    name, labelled = read(tmp_path, check)
    assert name == "coco"
    assert labelled.pictures[0].labels[0].mask == Rle.from_mask(MASK)


def test_a_brush_and_a_turned_rectangle_of_label_studio(tmp_path: Path, check: PictureCheck) -> None:
    """As uploaded: the server put eight digits before the picture's name."""
    draw_picture(tmp_path / "a b.png", 9, 7, 1)
    size = {"original_width": 9, "original_height": 7, "image_rotation": 0}
    turned = {"x": 50, "y": 0, "width": 400 / 9, "height": 200 / 7, "rotation": 90, "rectanglelabels": ["dent"]}
    results = [
        {"type": "brushlabels", "value": {"format": "rle", "rle": LABEL_STUDIO, "brushlabels": ["hole"]}}
        | size,
        {"type": "rectanglelabels", "value": turned} | size,
        {"type": "choices", "value": {"choices": ["broken"]}},
    ]
    image = "/data/upload/1/0123abcd-a%20b.png"
    task = {"id": 1, "data": {"image": image}, "annotations": [{"result": results, "was_cancelled": False}]}
    cancelled = {"result": [{"type": "nonsense"}], "was_cancelled": True}
    task["annotations"].append(cancelled)  # type: ignore[attr-defined]
    (tmp_path / "project-1.json").write_text(json.dumps([task]))
    name, labelled = read(tmp_path, check)
    assert name == "label-studio"
    picture = labelled.pictures[0]
    assert (picture.name, picture.image_class) == ("a b.png", "broken")
    brush, rectangle = picture.labels
    assert brush.mask == Rle.from_mask(MASK)
    corners = [(round(x, 6), round(y, 6)) for x, y in rectangle.polygons[0]]
    assert corners == [(4.5, 0.0), (4.5, 4.0), (2.5, 4.0), (2.5, 0.0)]  # 4 x 2, a quarter turn clockwise
    assert pack_mask(MASK) == LABEL_STUDIO[: len(pack_mask(MASK))]  # the converter pads with one more byte


def test_a_mask_and_groups_of_cvat(tmp_path: Path, check: PictureCheck) -> None:
    draw_picture(tmp_path / "images/sub/a.png", 30, 25, 1)
    shapes = (
        f'<mask label="car" source="manual" occluded="0" rle="{CVAT}" left="7" top="8" width="13" height="15" '
        'z_order="0"></mask>'
        '<polygon label="car" points="1,1;5,1;5,5" group_id="1"/><polygon label="car" points="6,6;9,6;9,9"/>'
        '<polygon label="car" points="11,1;15,1;15,5" group_id="1"/><tag label="rainy" source="manual"></tag>'
        '<box label="wheel" occluded="0" xtl="1.5" ytl="2.00" xbr="9.25" ybr="8" z_order="4">'
        '<attribute name="brand">x</attribute></box>'
    )
    (tmp_path / "annotations.xml").write_text(
        "<annotations><version>1.1</version><meta><project><labels><label><name>wheel</name></label>"
        "<label><name>rainy</name><type>tag</type></label></labels></project></meta>"
        f'<image id="0" name="sub/a.png" subset="default" width="30" height="25">{shapes}</image></annotations>'
    )
    name, labelled = read(tmp_path, check)
    assert name == "cvat"
    assert labelled.classes == ("wheel", "car")
    picture = labelled.pictures[0]
    assert picture.image_class == "rainy"
    mask = picture.labels[0].pixels(25, 30)
    columns = [np.flatnonzero(row) for row in mask[8:23, 7:20]]
    assert [len(c) for c in columns] == [5, 7, 9, 11, 11, 12, 12, 13, 13, 12, 12, 11, 9, 7, 5]  # round
    assert all(np.array_equal(c, np.arange(c[0], c[-1] + 1)) for c in columns)  # and without a gap
    assert [len(x.polygons) for x in picture.labels] == [0, 2, 1, 0]


def test_labelimg_puts_xml_beside_the_pictures(tmp_path: Path, check: PictureCheck) -> None:
    draw_picture(tmp_path / "p1.png", 30, 25, 1)
    (tmp_path / "p1.xml").write_text(
        "<annotation>\n\t<folder>x</folder><filename>p1.png</filename><path>/home/ann/x/p1.png</path>"
        "<source><database>Unknown</database></source><size><width>30</width><height>25</height><depth>3</depth>"
        "</size><segmented>0</segmented><object><name>dent</name><pose>Unspecified</pose><truncated>0</truncated>"
        "<difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>20</ymax></bndbox>"
        "</object></annotation>"
    )
    name, labelled = read(tmp_path, check)
    assert (name, marks(labelled)) == ("voc", {"p1.png": [("dent", (3, 4, 9, 20))]})


def test_yolo_as_roboflow_and_as_label_studio_lay_it_out(tmp_path: Path, check: PictureCheck) -> None:
    one = tmp_path / "roboflow"
    for side in ("train", "valid"):
        draw_picture(one / side / "images/p.png", 40, 20, 1)
        (one / side / "labels").mkdir()
        (one / side / "labels/p.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    (one / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['a', 'b']\n"
    )
    (one / "test/images").mkdir(parents=True)
    name, labelled = read(one, check)
    assert name == "yolo"
    where = [("b", (15, 5, 25, 15))]
    assert marks(labelled) == {"train/images/p.png": where, "valid/images/p.png": where}
    two = tmp_path / "label studio"
    draw_picture(two / "images/p.png", 40, 20, 1)
    (two / "labels").mkdir()
    (two / "labels/p.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    (two / "classes.txt").write_text("a\nb\n")
    (two / "notes.json").write_text('{"categories_": [], "info": {}}')
    name, labelled = read(two, check)
    assert (name, labelled.classes, marks(labelled)) == ("yolo", ("a", "b"), {"p.png": where})


def test_mvtec_and_plain_class_folders(tmp_path: Path, check: PictureCheck) -> None:
    for name in ("train/good/000.png", "test/good/000.png", "test/thread_top/000.png", "test/bent/000.png"):
        draw_picture(tmp_path / "screw" / name, 9, 7, 1)
    (tmp_path / "screw/ground_truth/bent").mkdir(parents=True)
    Image.fromarray(MASK.astype(np.uint8) * 255).save(tmp_path / "screw/ground_truth/bent/000_mask.png")
    (tmp_path / "screw/readme.txt").write_text("hello")
    (tmp_path / "screw/train/good/._000.png").write_text("left by macOS")
    name, labelled = read(tmp_path / "screw", check)
    found = {p.name: p for p in labelled.pictures}
    assert (name, len(found)) == ("folders", 4)
    assert found["test/good/000.png"].good
    assert found["test/bent/000.png"].labels[0].mask == Rle.from_mask(MASK)
    assert not found["test/thread_top/000.png"].good
    assert not found["test/thread_top/000.png"].labels
    for kind in ("good", "scratch"):
        draw_picture(tmp_path / "plain" / kind / "p.jpg", 9, 7, 1)
    _, labelled = read(tmp_path / "plain", check)
    assert {p.name: p.good for p in labelled.pictures} == {"good/p.jpg": True, "scratch/p.jpg": False}


def test_a_turned_photograph_is_taken_as_every_viewer_shows_it(tmp_path: Path) -> None:
    """EXIF orientation 6: stored 30 x 20, shown 20 x 30, as OpenCV reads it in training too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "p.jpg", exif=exif)
    with PictureCheck() as pictures:
        facts = pictures.examine(tmp_path / "p.jpg")
    assert (facts.width_px, facts.height_px) == (20, 30)
    import cv2

    read_back = cv2.imread(str(tmp_path / "p.jpg"))
    assert read_back is not None
    assert read_back.shape[:2] == (30, 20)


def test_pictures_alone_are_neither_good_nor_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        draw_picture(tmp_path / f"in/day {i}/p.png", 9, 7, i)
    (tmp_path / "in/notes.csv").write_text("whatever\n")
    arguments = ["import", str(tmp_path / "in"), "--into", str(tmp_path / "home"), "--unlabelled", "--json"]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["pictures"], answer["labels"]) == (3, 0)
    assert "good" not in answer
    assert main(["export", str(tmp_path / "home"), "--to", str(tmp_path / "out"), "--format", "coco"]) == 3
    assert "no labelled pictures in it" in capsys.readouterr().err


def test_areas_of_polygons_are_shoelace(tmp_path: Path) -> None:
    from datasets.formats.coco import _area

    circle = tuple((math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 400, endpoint=False))
    assert _area(circle) == pytest.approx(math.pi, abs=1e-3)


@pytest.mark.parametrize("value", [1, 100, 255])
def test_a_mask_of_two_values_marks_the_brighter_one(tmp_path: Path, check: PictureCheck, value: int) -> None:
    (tmp_path / "ground_truth/bent").mkdir(parents=True)
    draw_picture(tmp_path / "test/bent/000.png", 9, 7, 1)
    Image.fromarray(MASK.astype(np.uint8) * value).save(tmp_path / "ground_truth/bent/000_mask.png")
    _, labelled = read(tmp_path, check)
    assert labelled.pictures[0].labels[0].mask == Rle.from_mask(MASK)


def test_a_mask_of_several_dark_values_is_refused_by_name(tmp_path: Path, check: PictureCheck) -> None:
    (tmp_path / "ground_truth/bent").mkdir(parents=True)
    draw_picture(tmp_path / "test/bent/000.png", 9, 7, 1)
    levels = MASK.astype(np.uint8)
    levels[0, 0] = 2
    Image.fromarray(levels).save(tmp_path / "ground_truth/bent/000_mask.png")
    with pytest.raises(StationFault, match=r"000_mask\.png: .*several values, the brightest 2 of 255"):
        read(tmp_path, check)


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("part;y1;x1;y0;x0;class;file", "A;6,5;5;2,25;1;bent;p.png"),
        ("image,label,x1,y1,x2,y2,part", "p.png, bent ,1,2.25,5,6.5,A"),
        (
            "filename\twidth\theight\tclass\tx_min\ty_min\tx_max\ty_max\tpart",
            "p.png\t9\t7\tbent\t1\t2.25\t5\t6.5\tA",
        ),
        ("Path,Left,Top,Right,Bottom,Defect,Part", "p.png,1,2.25,5,6.5,bent,A"),
    ],
)
def test_tables_as_other_tools_and_spreadsheets_write_them(
    tmp_path: Path, check: PictureCheck, head: str, row: str
) -> None:
    draw_picture(tmp_path / "p.png", 9, 7, 1)
    (tmp_path / "labels.csv").write_text(f"{head}\r\n{row}\r\n", encoding="utf-8-sig")
    _, labelled = read(tmp_path, check)
    (picture,) = labelled.pictures
    (label,) = picture.labels
    assert (label.class_name, picture.part) == ("bent", "A")
    assert (label.box.x0_px, label.box.y0_px, label.box.x1_px, label.box.y1_px) == (1, 2.25, 5, 6.5)


def test_spaces_that_belong_to_a_name_survive_a_table() -> None:
    for cell in (" a", "a ", "=1", "'a", "' a", "a b", "'"):
        assert labels_csv._unguarded(labels_csv.guarded(cell)) == cell


def _float_tiff(path: Path) -> None:
    Image.fromarray(np.full((7, 9), 0.5, np.float32)).save(path)


def _turned_tiff(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 7)).save(path, exif=exif)


@pytest.mark.parametrize("make", [_float_tiff, _turned_tiff])
def test_a_picture_that_an_import_takes_can_be_read_to_be_judged(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Pillow opens more kinds of TIFF than OpenCV, which trains and judges."""
    path = tmp_path / "p.tif"
    make(path)
    with PictureCheck() as pictures:
        try:
            facts = pictures.examine(path)
        except StationFault as fault:
            assert "save as PNG" in str(fault)  # noqa: PT017 - either answer will do, but a true one
        else:
            assert read_picture(path, 1).shape == (facts.height_px, facts.width_px)


def test_deep_pictures_that_are_nearly_black_to_the_station_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ramp = np.arange(63, dtype=np.uint16).reshape(7, 9)
    for name, scale in (("twelve.png", 66), ("sixteen.png", 1040)):
        Image.fromarray(ramp * scale).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,class\ntwelve.png,good\nsixteen.png,good\n")
    assert main(["import", str(tmp_path), "--into", str(tmp_path.parent / "home")]) == 0
    assert "1 pictures of 16 bits use at most 12 of them (twelve.png)" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_16_bits_is_taken_in_either_order_of_bytes(tmp_path: Path, order: str) -> None:
    ramp = (np.arange(63, dtype=np.uint16).reshape(7, 9) * 66).astype(f"{order}u2")
    mode = {"<": "I;16", ">": "I;16B"}[order]
    Image.frombytes(mode, (9, 7), ramp.tobytes()).save(tmp_path / "p.tif")
    with Image.open(tmp_path / "p.tif") as saved:
        assert saved.mode == mode
    with PictureCheck() as pictures:
        facts = pictures.examine(tmp_path / "p.tif")
    assert (facts.width_px, facts.height_px, facts.peak_16_bit) == (9, 7, 62 * 66)
