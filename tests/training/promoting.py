# SPDX-License-Identifier: AGPL-3.0-or-later
"""As a quality engineer does it: evaluate a bundle on golden parts, add it to a registry, ask to promote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from training.evaluate import main as evaluate
from weights.models import main as models


def golden_set(path: Path, good: list[Path], bad: list[Path]) -> Path:
    """A COCO file of whole-picture judgements over pictures that lie anywhere."""
    images = []
    for number, picture in enumerate([*good, *bad]):
        height, width = cv2.imread(str(picture)).shape[:2]
        judged = "good" if number < len(good) else "defect"
        image = {"id": number, "file_name": str(picture), "width": width, "height": height}
        images.append(image | {"image_class": judged, "part": f"{judged} {number}"})
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return path


def promote(
    out: Path, golden: Path, keys: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """What `gatesight evaluate` and `gatesight promote --json` say of OUT, one after the other."""
    figures = folder / f"{out.name}.json"
    order = ["--bundle", str(out), "--data", str(golden), "--trusted", str(keys), "--json", str(figures)]
    assert evaluate(order) == 0
    capsys.readouterr()
    words = ["promote", str(out), "--evaluation", str(figures), "--who", "Ada", "--why", "first model"]
    models([*words, "--registry", str(folder / "registry"), "--trusted", str(keys), "--json"])
    return json.loads(capsys.readouterr().out)
