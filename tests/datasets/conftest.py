# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dataset home for each test that asks for one, and a check that a refused import changed nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datasets.cli import main
from datasets.store import DatasetHome, open_home
from tests.datasets.labelled_sets import draw_picture, tree_hash
from tests.datasets.one_mark import HEIGHT_PX, WIDTH_PX


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DatasetHome]:
    with open_home(tmp_path / "home", create=True) as home:
        yield home


@pytest.fixture
def stocked(tmp_path: Path) -> Path:
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
def refused(stocked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Import, see it refused with exit code 3 and one sentence, and nothing changed or left anywhere."""

    def check(path: Path, *more: str) -> str:
        capsys.readouterr()
        before = tree_hash(tmp_path)
        assert main(["import", str(path), "--into", str(stocked), *more]) == 3
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert tree_hash(tmp_path) == before
        return said

    return check
