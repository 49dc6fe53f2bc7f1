# SPDX-License-Identifier: AGPL-3.0-or-later
"""A picture or archive made to harm is refused in one sentence that names it; nothing changes."""

from __future__ import annotations

import io
import stat
import struct
import subprocess
import sys
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
from datasets.hostile import PictureCheck, unpack
from inspection.types import StationFault
from tests.datasets.one_mark import HEIGHT_PX, WIDTH_PX, coco


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
