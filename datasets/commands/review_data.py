# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data review`: say of parts of the line whether they are good, defective, or beyond telling."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datasets.commands.line_options import add_line, placed
from datasets.commands.person import add_who, person
from datasets.line_parts import NS_PER_S, find_part, reading_records
from datasets.line_review import Decision, Review, Said, decide, every_review
from datasets.store import DatasetHome, open_home
from inspection.types import StationFault

_COLUMNS = ("part", "said", "class")
_SAID = [said.value for said in Said]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[DATASET], --config; --part and --said, or --file, or --list."""
    parser.epilog = "A part is named as `gatesight data next` names it: 2026-11-23/7-000012."
    add_line(parser)
    parser.add_argument("--part", metavar="NAME", help="the part")
    parser.add_argument("--said", choices=_SAID, help="what it is; unclear: looked at, and nobody can tell")
    parser.add_argument("--class", dest="class_name", metavar="CLASS", help="what is wrong with it")
    parser.add_argument("--file", type=Path, metavar="CSV", help="many at once: columns part,said[,class]")
    parser.add_argument("--list", action="store_true", help="every review on record, oldest first")
    parser.add_argument("--replace", action="store_true", help="correct what was said before")
    add_who(parser, "says so")
    parser.add_argument("--why", default="review of the line", help="why")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Put reviews on record, all or none; or list them."""
    config, folder = placed(args)
    if args.list:
        with open_home(folder) as home:
            return _list(home, config.station.name)
    words = _words(args)
    with reading_records(config.records_db) as connection:
        decisions = [
            Decision(part=find_part(connection, name), said=said, class_name=class_name)
            for name, said, class_name in words
        ]
    if unjudged := [one.part.name for one in decisions if one.part.outcome == "not_inspected"]:
        raise StationFault(f"The station did not inspect {unjudged[0]}: there is nothing to review.")
    with open_home(folder, create=True) as home:
        new = decide(
            home,
            config.station.name,
            decisions,
            who=person(args),
            why=args.why,
            replace=args.replace,
        )
    said = f"{new} reviews saved; {len(decisions) - new} were on record already."
    return {"said": said, "saved": new, "known": len(decisions) - new}


def _words(args: argparse.Namespace) -> list[tuple[str, Said, str | None]]:
    if (args.part is None) == (args.file is None):
        raise StationFault("Say which part with --part NAME and --said, or give many with --file CSV.")
    if args.file is not None:
        return _read(args.file)
    if args.said is None:
        raise StationFault(f"Say what {args.part} is: --said {', --said '.join(_SAID)}.")
    return [(args.part, *_checked(args.said, args.class_name or "", "--class"))]


def _read(path: Path) -> list[tuple[str, Said, str | None]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StationFault(f"{path}: cannot be read as a list of reviews ({error}).") from error
    rows = list(csv.reader(lines))
    if not rows or tuple(rows[0]) not in (_COLUMNS, _COLUMNS[:2]):
        raise StationFault(f"{path}, line 1: the columns are part,said or part,said,class.")
    found = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(rows[0]):
            raise StationFault(f"{path}, line {number}: {len(rows[0])} fields are due, and {len(row)} stand.")
        if row[1] not in _SAID:
            raise StationFault(f"{path}, line {number}: {row[1]!r} is none of {', '.join(_SAID)}.")
        found.append((row[0], *_checked(row[1], (*row, "")[2], f"{path}, line {number}")))
    return found


def _checked(said: str, class_name: str, where: str) -> tuple[Said, str | None]:
    if class_name and said != Said.DEFECTIVE.value:
        raise StationFault(f"{where}: only a defective part has a class; leave {class_name!r} out.")
    if len(class_name) > 200 or not class_name.isprintable():
        raise StationFault(f"{where}: a class has at most 200 printable characters.")
    return Said(said), class_name or None


def _list(home: DatasetHome, station: str) -> Mapping[str, Any]:
    every = every_review(home, station)
    replaced = {one.replaces for one in every}
    plain = [_plain(one, counts=one.id not in replaced) for one in every]
    return {"said": "\n".join(_lines(plain)) or "Nobody has reviewed a part yet.", "reviews": plain}


def _plain(one: Review, *, counts: bool) -> dict[str, Any]:
    return {
        "part": one.part,
        "said": one.said.value,
        "class": one.class_name,
        "who": one.who,
        "why": one.why,
        "when": datetime.fromtimestamp(one.utc_ns // NS_PER_S, UTC).isoformat(),
        "outcome": one.outcome,
        "bundle": one.bundle_sha256,
        "probability": one.probability,
        "counts": counts,
    }


def _lines(plain: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{one['when']}  {one['part']}  {one['said']}{'' if one['counts'] else ' (replaced)'}"
        f"  {one['who']}: {one['why']}"
        for one in plain
    ]
