# SPDX-License-Identifier: AGPL-3.0-or-later
"""A newcomer with a folder of pictures and a table follows docs/first-model.md to the letter."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.coco import read_coco
from tests.training import drawn
from weights.bundle import load_bundle

COMMANDS = 4


def _commands(repository: Path) -> list[list[str]]:
    text = (repository / "docs" / "first-model.md").read_text()
    block = text.split("<!-- a test runs exactly these lines -->\n```sh\n", 1)[1].split("```", 1)[0]
    return [shlex.split(line) for line in block.splitlines()]


def _as_the_page_says(repository: Path, folder: Path) -> None:
    """Pictures and a labels.csv with the columns that the page shows."""
    text = (repository / "docs" / "first-model.md").read_text()
    header = re.search(r"```csv\n(.*)\n", text)
    assert header is not None
    columns = header.group(1).split(",")
    pictures = read_coco(drawn.draw(folder, 40, 9)).pictures
    (folder / "coco.json").unlink()
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, columns)
        table.writeheader()
        for number, picture in enumerate(pictures):
            row = {"file": f"images/{picture.name}", "part": f"P{number}", "class": "good"}
            for label in picture.labels:
                box = label.box
                corners = {"x0": box.x0_px, "y0": box.y0_px, "x1": box.x1_px, "y1": box.y1_px}
                row |= {"class": label.class_name, **{key: str(round(value)) for key, value in corners.items()}}
            table.writerow(row)


@pytest.mark.serial
@pytest.mark.timeout(290)
def test_four_commands_lead_from_a_folder_and_a_table_to_a_signed_bundle(repository: Path, tmp_path: Path):
    pytest.importorskip("ultralytics", reason="training extras are not installed")
    _as_the_page_says(repository, tmp_path / "pictures")
    recipe = drawn.write_recipe(tmp_path / "recipe.toml", epochs=1)
    commands = _commands(repository)
    assert len(commands) == COMMANDS
    for command in commands:
        assert command[0] == "gatesight"
        words = [str(recipe) if word == "detect" else word for word in command[1:]]  # one that takes seconds
        more = ["--nice", "0", "--threads", "1"] if words[0] == "train" else []
        done = subprocess.run(
            [sys.executable, "-m", "station_app.cli", *words, *more],
            cwd=tmp_path,
            env={**drawn.surroundings(tmp_path), "PYTHONPATH": str(repository)},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    bundle = load_bundle(tmp_path / "first" / "bundle", [tmp_path / "keys"])
    assert set(bundle.card.classes) == {"bar", "spot"}
    report = json.loads((tmp_path / "first" / "bundle" / "report.json").read_text())
    part = report["test"]["part"]
    assert part["defective"] + part["good"] > 0  # the test side was shown
    assert part["escape_upper_95"] <= 1
    assert bundle.card.data["snapshot"] == json.loads((tmp_path / "first" / "job.json").read_text())["snapshot"]
