# SPDX-License-Identifier: AGPL-3.0-or-later
"""A COCO file of one picture and one mark, to spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WIDTH_PX, HEIGHT_PX = 40, 30


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
