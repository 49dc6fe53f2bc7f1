# SPDX-License-Identifier: AGPL-3.0-or-later
"""A readiness report as one HTML page with thumbnails, for a person; it needs nothing beside itself."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from datasets.labels import Picture
from datasets.readiness import Report
from datasets.readiness_remarks import Remark
from inspection.types import StationFault

_SIDE_PX = 160
_SHOWN = 24  # thumbnails a remark: a page is to be read
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left}
section{border-left:6px solid #8aa;padding:.2rem 1rem;margin:1.2rem 0}
.forbids{border-color:#b3261e}.warns{border-color:#c77700}.tells{border-color:#5b7a99}
h3{margin:.2rem 0}figure{display:inline-block;margin:.4rem .8rem .4rem 0;vertical-align:top}
figcaption{font-size:12px;max-width:22rem;overflow-wrap:anywhere}img{max-width:100%}
"""


def write_page(path: Path, report: Report) -> None:
    """Write the page. Raises StationFault when the file cannot be written."""
    try:
        path.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise StationFault(f"{path}: cannot be written ({error.strerror}); name another file") from None


def page(report: Report) -> str:
    """The page as text."""
    pictures = {
        name: {picture.name: picture for picture in part.data.pictures} for name, part in report.parts.items()
    }
    verdict = "Ready to train" if report.ready else "Not ready: something below forbids training"
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{len(part.data.pictures)}</td><td>{part.good}</td><td>{part.defective}</td>"
        f"<td>{_text(', '.join(f'{k} {n}' for k, n in part.classes.items()))}</td></tr>"
        for name, part in report.parts.items()
    )
    sections = "".join(_section(remark, pictures) for remark in report.remarks)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Data readiness</title>'
        f"<style>{_STYLE}</style>"
        f"<h1>Data readiness</h1><p><strong>{verdict}.</strong> Pictures were compared with: "
        f"{_text(report.features)}.</p><table><tr><th>part</th><th>pictures</th><th>good</th><th>defective</th>"
        f"<th>labels</th></tr>{rows}</table>{sections}</html>\n"
    )


def _section(remark: Remark, pictures: dict[str, dict[str, Picture]]) -> str:
    known: dict[str, Picture] = {}
    for name in remark.where.split("/"):
        known |= pictures.get(name, {})
    shown = "".join(_figure(name, known) for name in remark.names[:_SHOWN])
    more = len(remark.names) - _SHOWN
    rest = "".join(f"<li>{_text(name)}</li>" for name in remark.names[_SHOWN:])
    listed = f"<details><summary>{more} more</summary><ul>{rest}</ul></details>" if more > 0 else ""
    return (
        f'<section class="{remark.weight.value}"><h3>{_text(remark.where)}: {_text(remark.topic)} '
        f"({remark.weight.value})</h3><p>{_text(remark.text)}<br><em>{_text(remark.remedy)}</em></p>"
        f"{shown}{listed}</section>"
    )


def _figure(name: str, known: dict[str, Picture]) -> str:
    """Thumbnails of the pictures that a name speaks of (`a | b`, `a box 3 (...)`, `a: ...`), if any."""
    found = [known[word] for word in _words(name) if word in known]
    images = "".join(_thumbnail(picture) for picture in found[:4])
    if not images:
        return f"<p><code>{_text(name)}</code></p>"
    return f"<figure>{images}<figcaption>{_text(name)}</figcaption></figure>"


def _words(name: str) -> Iterable[str]:
    for piece in name.split(" | "):
        yield piece
        yield piece.rsplit(": ", 1)[0]
        yield piece.rsplit(": ", 1)[0].rsplit(" box ", 1)[0]


def _thumbnail(picture: Picture) -> str:
    pixels = cv2.imread(str(picture.path), cv2.IMREAD_COLOR)
    if pixels is None:
        return ""
    scale = _SIDE_PX / max(pixels.shape[:2])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    for label in picture.labels:
        box = np.round(
            np.array([label.box.x0_px, label.box.y0_px, label.box.x1_px, label.box.y1_px]) * scale
        ).astype(int)
        cv2.rectangle(small, (int(box[0]), int(box[1])), (int(box[2]), int(box[3])), (0, 80, 255), 1)
    written, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not written:
        return ""
    text = base64.b64encode(data.tobytes()).decode("ascii")
    return f'<img alt="{_text(picture.name)}" src="data:image/jpeg;base64,{text}"> '


def _text(value: str) -> str:
    return html.escape(value, quote=True)
