# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a reader of a report has to know before trusting its figures: one sentence each, or none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from inspection.twin.defects import DefectKind
from inspection.twin.source import Photograph
from inspection.types import Reason

KEPT_UP_SHARE = 0.005  # of the triggers: what the default demo is allowed to leave uninspected
_TOO_SLOW = (Reason.SHED, Reason.DEADLINE_MISSED, Reason.JOURNAL_LATE, Reason.FRAME_LOST, Reason.ENGINE_HUNG)


def fit_notes(classes: Sequence[str], photographs: Iterable[Photograph] | None) -> list[str]:
    """Whether the bundle has ever heard of what is wrong with these parts; None stands for drawn ones."""
    if photographs is None:
        shown = {kind.value for kind in DefectKind}
        what = "drawn parts have"
    else:
        shown = {name for p in photographs for name, _ in p.marks}
        what = "these photographs are marked with"
    if not shown or shown & set(classes):
        return []
    known, found = _few(sorted(classes)), _few(sorted(shown))
    told = f"The bundle was not made for these parts: it knows {known}; {what} {found}."
    return [f"{told} Escapes and overkill say nothing about it."]


def pace_notes(report: dict[str, Any]) -> list[str]:
    """Whether the machine kept up with the rate that was asked for."""
    notes: list[str] = []
    by_reason = report["not_inspected_by_reason"]
    slow = {r.value: by_reason[r.value] for r in _TOO_SLOW if by_reason.get(r.value)}
    if sum(slow.values()) > KEPT_UP_SHARE * report["triggers"]:
        told = ", ".join(f"{name} {count}" for name, count in slow.items())
        notes.append(
            f"This machine did not keep up with {report['rate']:g} parts a second: {sum(slow.values())} of "
            f"{report['triggers']} parts were not inspected in time ({told}) and diverted; lower --rate."
        )
    late = report["world"]["world_late"]
    if late:
        notes.append(f"This machine was too slow to draw: {late} parts had no picture; lower --rate.")
    untracked = report["bins"].get("untracked", 0)
    if untracked:
        notes.append(
            f"{untracked} parts came by while the line was not armed, were never numbered, and were diverted."
        )
    return notes


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (" and more" if len(names) > 8 else "")
