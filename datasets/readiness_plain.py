# SPDX-License-Identifier: AGPL-3.0-or-later
"""A readiness report as JSON for programs and as a few lines for people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets.likeness import Leaks, Twins
from datasets.readiness import Report
from datasets.suspects import Suspect

_SHOWN = 5


def as_plain(report: Report) -> dict[str, Any]:
    """As JSON can hold it. Nothing is shortened."""
    return {
        "ready": report.ready,
        "features": report.features,
        "parts": {
            name: {
                "source": str(part.data.source),
                "pictures": len(part.data.pictures),
                "good": part.good,
                "defective": part.defective,
                "classes": dict(part.classes),
            }
            for name, part in report.parts.items()
        },
        "remarks": [
            {**asdict(remark), "weight": remark.weight.value, "names": list(remark.names)}
            for remark in report.remarks
        ],
        "leaks": {name: leaks_plain(found) for name, found in report.leaks.items()},
        "twins": [_pair(pair) for pair in report.twins],
        "suspects": [_suspect(suspect) for suspect in (*report.suspects, *report.box_suspects)],
    }


def leaks_plain(found: Leaks) -> dict[str, Any]:
    """Pairs and groups on both sides, and what they were measured against."""
    background = found.background
    return {
        "pairs": [_pair(pair) for pair in found.pairs],
        "straddles": [asdict(straddle) for straddle in found.straddles],
        "background": asdict(background),
    }


def _pair(pair: Twins) -> dict[str, Any]:
    return {
        "first": pair.first,
        "second": pair.second,
        "exact": pair.exact,
        "hash_bits": pair.hash_bits,
        "fine": round(pair.agreement.fine, 4),
        "coarse": round(pair.agreement.coarse, 4),
        "why": pair.why,
    }


def _suspect(suspect: Suspect) -> dict[str, Any]:
    return {
        "picture": suspect.picture,
        "box": suspect.box,
        "given": suspect.given,
        "likelier": suspect.likelier,
        "belief": round(suspect.belief, 4),
        "belief_likelier": round(suspect.belief_likelier, 4),
    }


def as_text(report: Report, page: Path | None = None) -> str:
    """For the terminal: counts, then each remark with its remedy and the first few names."""
    lines = []
    for name, part in report.parts.items():
        classes = ", ".join(f"{kind} {count}" for kind, count in part.classes.items())
        lines.append(
            f"{name}: {len(part.data.pictures)} pictures, {part.good} good, {part.defective} defective; "
            f"{classes or 'no labels'}"
        )
    for remark in report.remarks:
        lines += ["", f"{remark.weight.value.upper()}  {remark.where}, {remark.topic}: {remark.text}"]
        lines.append(f"  -> {remark.remedy}")
        lines += [f"     {name}" for name in remark.names[:_SHOWN]]
        if len(remark.names) > _SHOWN:
            lines.append(f"     and {len(remark.names) - _SHOWN} more (--json or --html shows all)")
    lines += ["", "Ready to train." if report.ready else "Not ready: something above forbids training."]
    if page is not None:
        lines.append(f"Page: {page}")
    return "\n".join(lines)
