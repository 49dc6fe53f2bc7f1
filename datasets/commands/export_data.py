# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data export DATASET --to FOLDER --format F`: pictures and labels for other tools."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.beliefs import read
from datasets.formats.table import FORMATS, format_named, lost
from datasets.intake import opened
from datasets.labels import LabelledSet
from datasets.outlet import export
from datasets.snapshots import read_snapshot
from datasets.store import is_home, open_home
from inspection.types import StationFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --to, --format, --snapshot."""
    parser.epilog = "What each format can carry: docs/formats.md."
    parser.add_argument("source", type=Path, metavar="DATASET", help="dataset home, or any labelled set")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="new folder to write")
    parser.add_argument("--format", required=True, metavar="F", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument(
        "--snapshot",
        metavar="ID",
        help="a snapshot: its id, first digits, or `latest`; default: what the dataset holds now",
    )


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Read, say what will be lost, write."""
    format_named(args.format)
    with _sets(args.source, args.snapshot, args.to) as sets:
        counts = {key: len(labelled.pictures) for key, labelled in sets.items()}
        if not sum(counts.values()):
            raise StationFault(f"{args.source}: no labelled pictures in it; nothing to export")
        everything = tuple(picture for labelled in sets.values() for picture in labelled.pictures)
        any_set = next(iter(sets.values()))
        left_out = sorted(lost(dataclasses.replace(any_set, pictures=everything), args.format))
        written = export(sets, args.to, args.format)
    answer = {
        "to": str(args.to),
        "format": args.format,
        "pictures": sum(counts.values()),
        "written": {key or "all": str(path) for key, path in written.items()},
        "sides": {key: count for key, count in counts.items() if key},
        "lost": left_out,
    }
    said = [f"Wrote {answer['pictures']} pictures to {args.to} ({args.format})."]
    said += [f"{args.format} cannot carry: {', '.join(left_out)}."] if left_out else []
    return answer | {"said": "\n".join(said)}


@contextmanager
def _sets(source: Path, snapshot: str | None, to: Path) -> Iterator[dict[str, LabelledSet]]:
    """Folder below the export -> what goes there: a snapshot's sides, or everything that is labelled."""
    if is_home(source):
        with open_home(source) as home:
            if snapshot is None:
                yield {"": read(home, unlabelled=False)}
            else:
                yield {side: s for side, s in read_snapshot(home, snapshot).items() if s.pictures}
        return
    if snapshot is not None:
        raise StationFault(f"{source} is no dataset home and has no snapshots; leave --snapshot out")
    with opened(source, beside=to, good=("none",)) as intake:
        yield {"": intake.labelled}
