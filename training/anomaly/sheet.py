# SPDX-License-Identifier: AGPL-3.0-or-later
"""The good parts that look worst, for a person to judge: is each of them really good?

DIR/worst-good.png and DIR/worst-good.html. One bad part among the good ones hides all its like, and one hair on
a good part can move the limit, so somebody has to look.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from inspection.storage.files import write_durably
from training.anomaly.taught import scores_of

WORST = 12
_COLUMNS, _CELL_PX, _TITLE_PX = 4, 320, 22


def write_sheet(
    folder: Path,
    *,
    names: Sequence[str],
    scores: Sequence[float],
    pictures: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    limit: float,
) -> list[str]:
    """Write both files for the worst of these good parts; returns their names, worst first.

    pictures: uint8 (h, w, 3) RGB as the network sees them. maps: held-out distances.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")[:WORST]
    worst = [int(i) for i in order]
    cells = [
        _cell(pictures[i], maps[i], f"{scores[i] / limit:.2f} x limit  {names[i][-34:]}", limit) for i in worst
    ]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % _COLUMNS)
    rows = [np.hstack(cells[i : i + _COLUMNS]) for i in range(0, len(cells), _COLUMNS)]
    png = cv2.imencode(".png", np.vstack(rows))[1].tobytes()
    write_durably(folder / "worst-good.png", png)
    write_durably(folder / "worst-good.html", _page(png, names, scores, worst, limit).encode())
    return [names[i] for i in worst]


def _cell(picture: np.ndarray, distances: np.ndarray, title: str, limit: float) -> np.ndarray:
    """Picture and heat side by side or below each other, under a title; BGR, of one size for all."""
    heat = cv2.resize(scores_of(distances, limit), (picture.shape[1], picture.shape[0]))
    coloured = cv2.applyColorMap((np.clip(heat, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    shown = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    blended = cv2.addWeighted(shown, 0.5, coloured, 0.5, 0)
    pair = np.vstack([shown, blended]) if picture.shape[1] > picture.shape[0] else np.hstack([shown, blended])
    scale = min(_CELL_PX / pair.shape[1], (_CELL_PX - _TITLE_PX) / pair.shape[0])
    pair = cv2.resize(pair, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cell = np.full((_CELL_PX, _CELL_PX, 3), 255, np.uint8)
    cell[_TITLE_PX : _TITLE_PX + pair.shape[0], : pair.shape[1]] = pair
    cv2.putText(cell, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return cell


def _page(png: bytes, names: Sequence[str], scores: Sequence[float], order: list[int], limit: float) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(names[i])}</td><td>{scores[i] / limit:.3f}</td>"
        f"<td>{'rejected' if scores[i] >= limit else 'passed'}</td></tr>"
        for i in order
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>The good parts that look worst</title>"
        "<style>body{font-family:sans-serif;margin:2em}td,th{padding:0 1em 0 0;text-align:left}</style>"
        "<h1>The good parts that look worst</h1><p>Each was judged by a model that had not seen it. Is every"
        " one of them really good? Take those that are not out of the folder and teach again; forgive those"
        " that are good and rejected with <code>gatesight teach --forgive PICTURE --to DIR</code>.</p>"
        f"<p><img alt='Pictures and heat maps of these parts' src='data:image/png;base64,"
        f"{base64.b64encode(png).decode()}'></p>"
        f"<table><tr><th>picture</th><th>distance / limit</th><th>verdict</th></tr>{rows}</table></html>\n"
    )
