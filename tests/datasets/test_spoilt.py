# SPDX-License-Identifier: AGPL-3.0-or-later
"""Label files spoilt at random: read, or refused in one sentence that names a file; never anything else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.formats.detect import detect
from datasets.formats.table import FORMATS
from datasets.hostile import PICTURE_SUFFIXES, PictureCheck
from datasets.outlet import export
from inspection.types import StationFault
from tests.datasets.rich import rich_set

NASTY = (
    *(
        "",
        "NaN",
        "-1",
        "1e999",
        "1e308",
        "99999999999999999999",
        "null",
        "[]",
        "{}",
        "0",
        "true",
        "\x00",
        "\ud7ff",
    ),
    *(
        '"',
        "<",
        ">",
        "&a;",
        "../",
        "/",
        "\n",
        "\r",
        ",",
        ";",
        "'",
        "=",
        "[" * 2000,
        "<a>" * 50,
        "𝕏",
        "- *a",
        "1.5",
    ),
)


@st.composite
def spoils(draw: st.DrawFn) -> tuple[float, float, str]:
    """Where a piece begins and how long it is, in shares of the file, and what stands there instead."""
    return (
        draw(st.floats(0, 1)),
        draw(st.sampled_from((0.0, 0.001, 0.01, 0.2, 1.0))),
        draw(st.sampled_from(NASTY)),
    )


@pytest.fixture
def pictures() -> Iterator[PictureCheck]:
    """One for all examples: what is spoilt is the labels, never a picture."""
    with PictureCheck() as check:
        yield check


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "folders"])
@settings(
    deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, max_examples=40, database=None
)
@given(data=st.data())
def test_a_spoilt_label_file_is_read_or_refused(
    name: str, tmp_path: Path, pictures: PictureCheck, data: st.DataObject
) -> None:
    clean, folder = tmp_path / "clean", tmp_path / "spoilt"
    if not clean.exists():
        export({"": rich_set(tmp_path / "in")}, clean, name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(clean, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in PICTURE_SUFFIXES)
    path = data.draw(st.sampled_from(files))
    text = path.read_text()
    for start, share, piece in data.draw(st.lists(spoils(), min_size=1, max_size=3)):
        at = int(start * len(text))
        text = text[:at] + piece + text[at + int(share * 200) :]
    path.write_text(text)
    try:
        found, where = detect(folder)
        FORMATS[found].read(where, pictures)
        said = f"{folder}: read"
    except StationFault as fault:
        said = str(fault)
    assert str(folder) in said
    assert "\n" not in said
