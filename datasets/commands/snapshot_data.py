# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data snapshot DATASET`: fix what a training is given, and say what changed since."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datasets.commands.person import add_who, person
from datasets.diffs import diff
from datasets.snapshots import listed, take
from datasets.splitting import near_twins
from datasets.store import DatasetHome, open_home

_SAID = 12  # sentences that people are shown; programs get all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --note, --who, --diff, --list."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="dataset home")
    parser.add_argument("--note", metavar="WHY", default="snapshot for training", help="why it is taken")
    add_who(parser, "takes it")
    add_quick(parser)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--diff", nargs=2, metavar=("A", "B"), help="say what changed between two snapshots")
    instead.add_argument("--list", action="store_true", help="list the snapshots, oldest first")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Take one, or --list, or --diff."""
    with open_home(args.dataset) as home:
        if args.diff:
            changes = diff(home, *args.diff)
            return {"said": changes.text(), **changes.to_plain()}
        if args.list:
            return _list(home)
        twins = [] if args.quick else near_twins(home)
        taken = take(home, who=person(args), why=args.note, twins=twins)
    counts = ", ".join(f"{count} {side}" for side, count in taken.counts.items())
    is_new = "" if taken.new else " (nothing has changed since it was taken)"
    return {
        "said": "\n".join([f"Snapshot {taken.id}{is_new}: {counts}.", *shortened(taken.sentences)]),
        "snapshot": taken.id,
        "new": taken.new,
        "counts": taken.counts,
        "sentences": list(taken.sentences),
    }


def add_quick(parser: argparse.ArgumentParser) -> None:
    """--quick."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help="do not look for near-twins among new pictures (the same bytes, lot, sequence or part still bind)",
    )


def _list(home: DatasetHome) -> Mapping[str, Any]:
    plain = [
        {"snapshot": one.id, "when": _when(one.utc_ns), "who": one.who, "why": one.why} for one in listed(home)
    ]
    lines = [f"{one['snapshot'][:16]}  {one['when']}  {one['who']}: {one['why']}" for one in plain]
    return {"said": "\n".join(lines) or "There is no snapshot yet.", "snapshots": plain}


def shortened(sentences: tuple[str, ...]) -> list[str]:
    """As many as a person reads."""
    more = [f"... and {len(sentences) - _SAID} more; see --json."] if len(sentences) > _SAID else []
    return [*sentences[:_SAID], *more]


def _when(utc_ns: int) -> str:
    return datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC).isoformat()
