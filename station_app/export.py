# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parts as CSV that a spreadsheet may open: no cell can be taken for a formula (OWASP, CSV injection)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from station_app.facts import PartFact
from station_app.shown import iso_time

_FORMULA_STARTS = ("=", "+", "-", "@")
_CONTROLS = ("\t", "\r", "\n")
COLUMNS = (
    "id",
    "triggered",
    "epoch",
    "seq",
    "ordinal",
    "part_id",
    "outcome",
    "reason",
    "rejected_by",
    "latency_ms",
    "deadline_ms",
    "disposition",
    "image_sha256",
)


def safe_cell(value: object) -> str:
    """Text of a cell; what a spreadsheet would calculate gets an apostrophe in front. Numbers stay numbers."""
    text = "" if value is None else str(value)
    if isinstance(value, int | float):
        return text
    is_formula = text.startswith(_CONTROLS) or text.lstrip().startswith(_FORMULA_STARTS)
    return f"'{text}" if is_formula else text


def csv_lines(first: list[PartFact], rest: Iterable[list[PartFact]]) -> Iterator[str]:
    """Header and rows, a chunk of text at a time."""
    yield _text([COLUMNS])
    yield _text(_row(p) for p in first)
    for parts in rest:
        yield _text(_row(p) for p in parts)


def _row(part: PartFact) -> list[str]:
    cells = (
        part.id,
        iso_time(part.triggered_utc_ns),
        part.epoch,
        part.seq,
        part.ordinal,
        part.part_id,
        part.outcome,
        part.reason,
        " ".join(part.rejected_by),
        part.latency_ms,
        part.deadline_ms,
        part.disposition,
        part.image,
    )
    return [safe_cell(c) for c in cells]


def _text(rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()
