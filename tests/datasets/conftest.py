# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dataset home for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets.store import DatasetHome, open_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DatasetHome]:
    with open_home(tmp_path / "home", create=True) as home:
        yield home
