# SPDX-License-Identifier: AGPL-3.0-or-later
"""The documents say everything: each configuration key, each decision; and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from inspection.config import StationConfig


def _tables() -> dict[str, type[BaseModel]]:
    tables = {}
    for name, field in StationConfig.model_fields.items():
        annotation = field.annotation
        inner = typing.get_args(annotation)
        tables[name] = inner[0] if inner else annotation
    return tables


@pytest.mark.parametrize("table", sorted(_tables()))
def test_every_key_of_station_toml_is_documented(repository: Path, table: str) -> None:
    text = (repository / "docs/station-toml.md").read_text()
    heading = f"## [[{table}]]" if table == "camera" else f"## [{table}]"
    section = text.split(heading, 1)[1].split("\n## ", 1)[0]
    missing = [key for key in _tables()[table].model_fields if f"`{key}`" not in section]
    assert not missing, f"docs/station-toml.md does not explain {missing} in [{table}]"


def test_every_local_link_leads_somewhere(repository: Path) -> None:
    broken = [
        f"{path.name}: {target}"
        for path in _documents(repository)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert not broken


def test_every_source_file_is_short_and_licensed(repository: Path) -> None:
    faults = []
    for name in _tracked(repository, "*.py", "*.c", "*.h", "*.ts"):
        lines = (repository / name).read_text().splitlines()
        if len(lines) > 400:
            faults.append(f"{name} has {len(lines)} lines: a noun is missing")
        if lines and "SPDX-License-Identifier: AGPL-3.0-or-later" not in "\n".join(lines[:3]):
            faults.append(f"{name} does not name its licence")
    assert not faults


def test_broad_excepts_stand_only_at_the_top_of_a_thread_or_process(repository: Path) -> None:
    """Ruff's BLE forbids them; whoever silences it must say on the line that it is such a top."""
    silent = []
    for name in _tracked(repository, "*.py", ":!tests"):
        for number, line in enumerate((repository / name).read_text().splitlines(), 1):
            if re.search(r"noqa: ?[A-Z0-9, ]*BLE001", line) and not re.search(
                r"BLE001.*(thread|process)", line
            ):
                silent.append(f"{name}:{number}")
    assert not silent


def test_nothing_names_the_place_where_it_was_written(repository: Path) -> None:
    """No machine path and no registry host in the repository."""
    forbidden = re.compile(
        r"/work/(?:main|shared|\.library)|/opt/(?:wheels|pypi)|farm-bench|https?://pypi\.org|registry\.npmjs"
    )
    found = []
    for name in _tracked(repository):
        path = repository / name
        if path.suffix in {".png", ".onnx", ".sig", ".pub", ".jpg"} or path == Path(__file__).resolve():
            continue
        if forbidden.search(path.read_text(errors="replace")):
            found.append(name)
    assert not found


def _documents(repository: Path) -> list[Path]:
    return [repository / name for name in _tracked(repository, "*.md")]


def _tracked(repository: Path, *patterns: str) -> list[str]:
    command = ["git", "ls-files", "-z", "--", *patterns]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (repository / name).exists()]
