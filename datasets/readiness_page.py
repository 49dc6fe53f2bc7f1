# SPDX-License-Identifier: AGPL-3.0-or-later
"""A readiness report as one HTML page with thumbnails, for a person; it needs nothing beside itself."""

from __future__ import annotations

import base64
import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2

from datasets.labels import Picture
from datasets.readiness import Report
from datasets.readiness_remarks import Remark
from inspection.types import StationFault

_SIDE_PX = 160
_SHOWN = 24  # thumbnails a remark: a page is to be read
_OF_A_GROUP = 4  # of a group of twins so many are shown
_OTHER, _MEANT = (0, 80, 255), (0, 230, 255)  # colours of boxes, BGR
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
section{border-left:6px solid #8aa;padding:.2rem 1rem;margin:1.6rem 0}
.forbids{border-color:#b3261e}.warns{border-color:#c77700}.tells{border-color:#5b7a99}
h3{margin:.2rem 0}.pictures{display:flex;flex-wrap:wrap;gap:.8rem;align-items:flex-start}
figure{margin:0;min-width:12.5rem;padding:.4rem;background:#f3f5f7;border-radius:4px}
figure>div{display:flex;gap:.3rem;align-items:flex-end}img{display:block}
figcaption{font-size:12px;overflow-wrap:anywhere}.several{width:0;min-width:100%}
ol{padding-left:1.4rem}a{color:inherit;text-decoration:none}a:hover{text-decoration:underline}.weight{font-weight:600}
"""
_WORD = {"forbids": "forbids training", "warns": "warns", "tells": "tells"}
_WORDS = {"forbids": "forbid training", "warns": "warn", "tells": "tell"}
_Pictures = Mapping[str, Picture]


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
    sections = "".join(_section(number, remark, pictures) for number, remark in enumerate(report.remarks, 1))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Data readiness</title>'
        f"<style>{_STYLE}</style>"
        f"<h1>Data readiness</h1><p><strong>{verdict}.</strong> Pictures were compared with: "
        f"{_text(report.features)}.</p><table><tr><th>part</th><th>pictures</th><th>good</th><th>defective</th>"
        f"<th>labels</th></tr>{rows}</table>{_contents(report.remarks)}{sections}</html>\n"
    )


def _contents(remarks: Sequence[Remark]) -> str:
    """Every remark in a line, so that nobody has to scroll to know."""
    counts = Counter(remark.weight.value for remark in remarks)
    words = {weight: _WORD[weight] if count == 1 else _WORDS[weight] for weight, count in counts.items()}
    told = ", ".join(f"{counts[weight]} {words[weight]}" for weight in _WORD if counts[weight])
    lines = "".join(
        f'<li><a href="#r{number}"><span class="weight">{_WORD[remark.weight.value]}</span>: '
        f"{_text(remark.where)}, {_text(remark.topic)}. {_prose(remark.text)}</a></li>"
        for number, remark in enumerate(remarks, 1)
    )
    return f"<h2>{len(remarks)} remarks ({told})</h2><ol>{lines}</ol>" if remarks else "<h2>No remarks</h2>"


def _section(number: int, remark: Remark, pictures: Mapping[str, _Pictures]) -> str:
    sides = [pictures[name] for name in remark.where.split("/") if name in pictures]
    figures = [_figure(name, sides) for name in remark.names[:_SHOWN]]
    rest = "".join(f"<li>{_text(name)}</li>" for name in remark.names[_SHOWN:])
    more = len(remark.names) - _SHOWN
    listed = f"<details><summary>{more} more</summary><ul>{rest}</ul></details>" if more > 0 else ""
    return (
        f'<section id="r{number}" class="{remark.weight.value}"><h3>{number}. {_text(remark.where)}: '
        f"{_text(remark.topic)} ({_WORD[remark.weight.value]})</h3>"
        f"<p>{_prose(remark.text)}<br><em>{_prose(remark.remedy)}</em></p>"
        f'<div class="pictures">{"".join(figures)}</div>{listed}</section>'
    )


def _figure(name: str, sides: Sequence[_Pictures]) -> str:
    """Thumbnails of the pictures that a name speaks of (`a | b`, `a box 3 (...)`, `a: ...`), if any.

    Of a pair across a split the first lies on the first side and the second on the second: names are only
    unique within a side.
    """
    pieces = name.split(" | ")
    across = len(sides) == len(pieces) > 1
    found = [
        shown
        for place, piece in enumerate(pieces[:_OF_A_GROUP])
        if (shown := _meant(piece, [sides[place]] if across else sides)) is not None
    ]
    images = "".join(_thumbnail(picture, box) for picture, box in found)
    if not images:
        return f"<code>{_text(name)}</code>"
    more = len(pieces) - _OF_A_GROUP
    told = "<br>".join(_text(piece) for piece in pieces[:_OF_A_GROUP])
    told += f"<br>and {more} more like these" if more > 0 else ""
    return f'<figure><div>{images}</div><figcaption class="several">{told}</figcaption></figure>'


def _meant(piece: str, sides: Sequence[_Pictures]) -> tuple[Picture, int | None] | None:
    """The picture that a piece of a name begins with, and the number of the box that it goes on to name."""
    before = piece.rsplit(": ", 1)[0]
    for side in sides:
        for word in (piece, before, before.rsplit(" box ", 1)[0]):
            if word in side:
                box = re.match(r" box (\d+)", piece[len(word) :])
                return side[word], int(box[1]) if box else None
    return None


def _thumbnail(picture: Picture, meant: int | None) -> str:
    """The picture with its boxes; the one that is meant stands out, however small it is."""
    pixels = cv2.imread(str(picture.path), cv2.IMREAD_COLOR)
    if pixels is None:
        return ""
    scale = _SIDE_PX / max(pixels.shape[:2])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    for number, label in sorted(enumerate(picture.labels), key=lambda one: one[0] == meant):
        corners = label.box.x0_px, label.box.y0_px, label.box.x1_px, label.box.y1_px
        x0, y0, x1, y1 = (round(corner * scale) for corner in corners)
        if number == meant:
            cv2.rectangle(small, (x0 - 3, y0 - 3), (x1 + 3, y1 + 3), _MEANT, 2)
        else:
            cv2.rectangle(small, (x0, y0), (x1, y1), _OTHER, 1)
    written, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not written:
        return ""
    text = base64.b64encode(data.tobytes()).decode("ascii")
    return f'<img alt="{_text(picture.name)}" src="data:image/jpeg;base64,{text}"> '


def _prose(value: str) -> str:
    """A sentence, with what stands between backticks shown as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(value))


def _text(value: str) -> str:
    return html.escape(value, quote=True)
