# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is broken or made to harm is refused in one sentence that names file and line or field."""

from __future__ import annotations

import io
import json
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datasets.archive import Limits, Refused
from datasets.archive import unpack as unpack_here
from datasets.cli import main
from datasets.hostile import PictureCheck, unpack
from inspection.types import StationFault
from tests.datasets.labelled_sets import draw_picture, tree_hash

WIDTH_PX, HEIGHT_PX = 40, 30


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A dataset home with one good picture in it."""
    draw_picture(tmp_path / "first/good/one.png", 8, 8, 3)
    folder = tmp_path / "home"
    assert main(["import", str(tmp_path / "first"), "--into", str(folder)]) == 0
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    draw_picture(tmp_path / "source/p.png", WIDTH_PX, HEIGHT_PX, 9)
    return tmp_path / "source"


@pytest.fixture
def refused(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Import, see it refused with exit code 3 and one sentence, and nothing changed or left anywhere."""

    def check(path: Path, *more: str) -> str:
        capsys.readouterr()
        before = tree_hash(tmp_path)
        assert main(["import", str(path), "--into", str(home), *more]) == 3
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert tree_hash(tmp_path) == before
        return said

    return check


def coco(source: Path, **change: Any) -> Path:
    """A COCO file of one picture and one mark; `change` replaces keys of the mark."""
    mark = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 8]} | change
    document = {
        "images": [{"id": 1, "file_name": "p.png", "width": WIDTH_PX, "height": HEIGHT_PX}],
        "categories": [{"id": 1, "name": "scratch"}],
        "annotations": [mark],
    }
    path = source / "set.json"
    path.write_text(json.dumps(document, indent=1))
    return path


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
    assert f"set.json, line {whole[: len(whole) // 2].count(chr(10)) + 1}: not JSON" in refused(path)
    path.write_text("[" * 200_000)
    assert "set.json: not JSON that can be read (RecursionError)" in refused(path)
    path.write_bytes(b'{"images": [],\n"x": "\xff"}')
    assert "set.json, line 2: not UTF-8" in refused(path)


@pytest.mark.parametrize("name", ["../first/good/one.png", "/etc/hostname.png", "C:/x.png", "a\\..\\..\\x.png"])
def test_a_picture_outside_the_set_is_not_read(source: Path, refused: Callable[..., str], name: str) -> None:
    path = coco(source)
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = name
    path.write_text(json.dumps(document))
    assert "images[0].file_name: picture" in (said := refused(path))
    assert "lies outside the set's folder" in said


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
        ("train: ../../first\nnames: [x]\n", "data.yaml, train: '../../first' lies outside"),
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
VOC = "<annotation>\n<filename>p.png</filename>\n<size><width>40</width><height>30</height></size>\n{}</annotation>\n"


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
            "labels.csv, line 2.file: picture '../first/good/one.png' lies outside",
        ),
        ('file,class\np.png,"a\n', "labels.csv, line 2: not CSV"),
        ("file,class\np.png,OK\n", "which may mean good: add --good 'OK'"),
    ],
)
def test_rows_of_a_table_are_named_by_line(
    source: Path, refused: Callable[..., str], text: str, says: str
) -> None:
    (source / "labels.csv").write_text(text)
    assert says in refused(source)


def _chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    body = kind + data
    return (
        struct.pack(">I", len(data) if length is None else length) + body + struct.pack(">I", zlib.crc32(body))
    )


def _png(width: int = WIDTH_PX, height: int = HEIGHT_PX) -> tuple[bytes, bytes, bytes, bytes]:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = (
        zlib.compress(b"\0" + b"\7" * WIDTH_PX)
        if height > 10_000
        else zlib.compress((b"\0" + b"\7" * width) * height)
    )
    return b"\x89PNG\r\n\x1a\n", header, _chunk(b"IDAT", rows), _chunk(b"IEND", b"")


def _false_length(before_pixels: bool) -> bytes:
    sign, header, pixels, end = _png()
    false = _chunk(b"tEXt", b"k\0v", length=0x7FFFFFF0)
    return sign + header + (false + pixels if before_pixels else pixels + false) + end


def _many_frames() -> bytes:
    out = io.BytesIO()
    frames = [Image.new("L", (WIDTH_PX, HEIGHT_PX), shade) for shade in (0, 200)]
    frames[0].save(out, "TIFF", save_all=True, append_images=frames[1:])
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_false_length(before_pixels=True), "broken"),
        (_false_length(before_pixels=False), "broken"),  # Pillow's own load() lets this one pass
        (b"".join(_png(60_000, 60_000)), "60000 x 60000 pixels, more than 128 million"),
        (b"".join(_png())[:-20], "broken"),
        (b"GIF89a" + bytes(40), "not a picture of a kind that is taken"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture of a kind that is taken"),
        (b"", "not a picture of a kind that is taken"),
        (_many_frames(), "2 pictures in one file"),
    ],
)
def test_a_picture_made_to_harm_is_refused_by_name(
    source: Path, refused: Callable[..., str], data: bytes, says: str
) -> None:
    path = coco(source)
    (source / "p.png").write_bytes(data)
    begun = time.monotonic()
    said = refused(path)
    assert f"{source / 'p.png'}: not a picture that can be taken: " in said
    assert says in said
    assert time.monotonic() - begun < 30


def test_a_decoder_that_dies_or_hangs_is_one_sentence_too(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is replaced by ones that never answer and that die at once."""
    for program in ("import time; time.sleep(60)", "raise SystemExit(9)"):
        monkeypatch.setattr("datasets.hostile._start", lambda module, program=program: _child(program))
        with PictureCheck(time_s=0.3) as pictures, pytest.raises(StationFault, match="more time or memory"):
            pictures.examine(source / "p.png")


def _child(program: str) -> Any:
    import subprocess
    import sys

    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_picture_check_goes_on_after_a_refusal(source: Path) -> None:
    (source / "bad.png").write_bytes(_false_length(before_pixels=True))
    with PictureCheck() as pictures:
        with pytest.raises(StationFault, match=r"bad\.png"):
            pictures.examine(source / "bad.png")
        assert pictures.examine(source / "p.png").width_px == WIDTH_PX


def _zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members:
            out.writestr(name, data)
    return path


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _zip_link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def _bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out, out.open("p.bmp", "w") as member:
        for _ in range(100):
            member.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("a.zip", _bomb, "member 'p.bmp' unpacks to more than 200 times what the archive has: a bomb"),
        ("a.zip", lambda p: _zip(p, ("../evil.png", b"x")), "member '../evil.png' would lie outside"),
        ("a.zip", lambda p: _zip(p, ("/etc/evil.png", b"x")), "member '/etc/evil.png' would lie outside"),
        ("a.zip", lambda p: _zip(p, ("a\\..\\evil.png", b"x")), "member 'a\\\\..\\\\evil.png' has a backslash"),
        ("a.zip", lambda p: _zip(p, (_zip_link(), b"/etc/passwd")), "member 'link.png' is a link or a device"),
        (
            "a.zip",
            lambda p: p.write_bytes(_zip(p, ("a.txt", b"hello" * 99)).read_bytes()[:60]) and p,
            "not a whole zip",
        ),
        (
            "a.tgz",
            lambda p: _tar(p, (_link("l.png", "/etc/passwd"), b"")),
            "member 'l.png' is a link or a device",
        ),
        ("a.tgz", lambda p: _tar(p, (_link("h.png", "x", tarfile.LNKTYPE), b"")), "member 'h.png' is a link"),
        (
            "a.tgz",
            lambda p: _tar(p, (_link("f.png", "", tarfile.FIFOTYPE), b"")),
            "member 'f.png' is a link or",
        ),
        (
            "a.tar",
            lambda p: _tar(p, (tarfile.TarInfo("../x.png"), b"x"), mode="w"),
            "member '../x.png' would lie outside",
        ),
        (
            "a.tar.gz",
            lambda p: (
                p.write_bytes(_tar(p, (tarfile.TarInfo("x.png"), bytes(range(256)) * 400)).read_bytes()[:600])
                and p
            ),
            "not a whole zip or tar archive",
        ),
        ("a.tar.xz", lambda p: p.write_bytes(b"no archive at all") and p, "not a whole zip or tar archive"),
    ],
)
def test_an_archive_made_to_harm_is_refused_by_member(
    tmp_path: Path, refused: Callable[..., str], name: str, make: Callable[[Path], Path], says: str
) -> None:
    path = make(tmp_path / name)
    said = refused(path)
    assert says in said
    assert str(path) in said


def test_a_tar_header_that_asks_for_memory_is_refused(tmp_path: Path) -> None:
    """A PAX header of gigabytes would be read whole into memory: the unpacking child has a limit of its own."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 3 << 30
    path = tmp_path / "a.tar"
    with path.open("wb") as out:
        out.write(header.tobuf(tarfile.PAX_FORMAT))
        out.truncate(3 << 30)  # sparse on disk
    (tmp_path / "into").mkdir()
    with pytest.raises(StationFault, match="more memory than an archive may"):
        unpack(path, tmp_path / "into")
    path.unlink()


def test_limits_count_what_comes_out_not_what_is_said(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", *((f"{i}.txt", b"x" * 100) for i in range(5)))
    for limits, says in (
        (Limits(members=4), "more than 4 members"),
        (Limits(total_bytes=450), "brings it over"),
        (Limits(free_bytes=0, ratio=0), "a bomb"),
    ):
        into = tmp_path / says.replace(" ", "")
        into.mkdir()
        with pytest.raises(Refused, match=says):
            unpack_here(path, into, limits)
    double = tmp_path / "double.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        _zip(double, ("a.png", b"1"), ("a.png", b"2"))
    (tmp_path / "into").mkdir()
    with pytest.raises(Refused, match=r"'a\.png' is in it twice"):
        unpack_here(double, tmp_path / "into", Limits())


def test_a_member_of_an_archive_is_named_within_it(
    tmp_path: Path, source: Path, refused: Callable[..., str]
) -> None:
    files = [(f"set/{p.name}", p.read_bytes()) for p in (source / "p.png", coco(source, bbox=[1, 1, -2, 3]))]
    path = _zip(tmp_path / "set.zip", *files)
    said = refused(path)
    assert said.startswith(f"{path}: set/set.json, annotations[0].bbox: ")
    assert ".gatesight-import" not in said
