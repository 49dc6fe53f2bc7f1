# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether scores mean what they say: reliability by tenths, expected calibration error; and who is taken for
whom.

A score of 0.8 should be right eight times in ten. It is a statement about this sample's mix of good and bad, so
it is for people to read; no verdict hangs on it. (Guo et al., On Calibration of Modern Neural Networks, ICML
2017.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets.labels import Label
from inspection.types import Finding
from training.claims import two_sided
from training.statistics import iou

NOTHING = "(nothing)"
MEETS_IOU = 0.1
"""Overlap from which a finding is about a mark, when the question is what it was taken for."""


def reliability(scored: Sequence[tuple[float, bool]], bins: int = 10) -> dict[str, Any]:
    """Table of score tenths and the expected calibration error: the mean gap of score and share."""
    rows: list[dict[str, Any]] = []
    gap = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [(s, hit) for s, hit in scored if low <= s < high or (number == bins - 1 and s >= high)]
        if not inside:
            continue
        right = sum(hit for _, hit in inside)
        mean = sum(s for s, _ in inside) / len(inside)
        gap += abs(mean - right / len(inside)) * len(inside)
        rows.append(
            {
                "from": low,
                "to": high,
                "count": len(inside),
                "mean_score": round(mean, 4),
                "right": right,
                "share_right": round(right / len(inside), 4),
                "two_sided_95": [round(edge, 4) for edge in two_sided(right, len(inside))],
            }
        )
    return {"ece": round(gap / len(scored), 5) if scored else None, "count": len(scored), "bins": rows}


def confusion(pictures: Sequence[tuple[Sequence[Finding], Sequence[Label]]]) -> dict[str, dict[str, int]]:
    """Rows: what is true; columns: what was found there. Findings are those that count, of one picture each.

    Pairs are made best score first, whatever the class, by the largest overlap above MEETS_IOU; a mark without
    a finding is found as nothing, a finding without a mark is truly nothing.
    """
    table: dict[str, dict[str, int]] = {}

    def count(true: str, seen: str) -> None:
        row = table.setdefault(true, {})
        row[seen] = row.get(seen, 0) + 1

    for findings, labels in pictures:
        left = list(labels)
        for finding in sorted(findings, key=lambda f: -f.score):
            overlaps = [iou(finding.box, mark.box) for mark in left]
            best = max(range(len(left)), key=overlaps.__getitem__, default=-1)
            if best >= 0 and overlaps[best] > MEETS_IOU:
                count(left.pop(best).class_name, finding.defect_class)
            else:
                count(NOTHING, finding.defect_class)
        for mark in left:
            count(mark.class_name, NOTHING)
    return table


def picture_confusion(pictures: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Rows: what each whole picture shows; columns: what it was taken for."""
    table: dict[str, dict[str, int]] = {}
    for true, seen in pictures:
        row = table.setdefault(true, {})
        row[seen] = row.get(seen, 0) + 1
    return table
