# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data import SOURCE --into DATASET`: labelled pictures into a dataset home, all or nothing."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.adding import SIDES, add
from datasets.commands.person import add_who, person
from datasets.formats.table import FORMATS
from datasets.from_line import kept_views, take_from_line
from datasets.intake import Intake, opened
from datasets.labels import LabelledSet
from datasets.store import open_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE, --into and what to know about the pictures."""
    parser.epilog = f"Formats: {', '.join(FORMATS)} (docs/formats.md)."
    parser.add_argument("source", type=Path, help="folder, label file, or zip/tar archive")
    parser.add_argument("--into", type=Path, required=True, metavar="DATASET", help="dataset home; made if new")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--format", metavar="F", help="say the format instead of letting it be found")
    how.add_argument("--unlabelled", action="store_true", help="pictures alone, for people to label")
    parser.add_argument("--lot", help="lot of every picture that names none")
    parser.add_argument("--side", choices=SIDES, help="side of every later split; default: splits decide")
    parser.add_argument(
        "--good",
        action="append",
        default=[],
        metavar="CLASS",
        help="whole-picture class that means good; or none",
    )
    parser.add_argument("--prefix", default="", help="goes before every name, to keep sources apart")
    parser.add_argument(
        "--replace", action="store_true", help="let these labels replace others of known pictures"
    )
    parser.add_argument(
        "--from-line",
        action="store_true",
        help="SOURCE is the data folder of a station: take the pictures it kept, to be labelled",
    )
    parser.add_argument("--newest", type=int, metavar="N", help="with --from-line: the newest N parts only")
    add_who(parser, "says so")
    parser.add_argument("--why", help="why (default: import of SOURCE)")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Read everything first, then add it in one act."""
    if args.from_line:
        return _from_line(args)
    with opened(
        args.source,
        beside=args.into,
        format_name=args.format,
        good=args.good,
        lot=args.lot,
        unlabelled=args.unlabelled,
    ) as intake:
        with open_home(args.into, create=True) as home:
            added = add(
                home,
                intake.labelled,
                who=person(args),
                why=args.why or f"import of {args.source.name or args.source.resolve().name} ({intake.format})",
                side=args.side,
                unlabelled=args.unlabelled,
                replace=args.replace,
                prefix=args.prefix,
            )
        counts = {} if args.unlabelled else _counts(intake.labelled)
    answer = {
        "dataset": str(args.into),
        "source": str(args.source),
        "format": intake.format,
        "pictures": added.pictures,
        "known": added.known,
        "replaced": added.replaced,
        "labels": added.labels,
        **counts,
        "notes": list(intake.notes),
    }
    return answer | {"said": _said(answer, intake)}


def _from_line(args: argparse.Namespace) -> Mapping[str, Any]:
    rows = kept_views(args.source, newest=args.newest)  # first: a refusal leaves no new home behind
    with open_home(args.into, create=True) as home:
        taken = take_from_line(
            home,
            args.source,
            rows,
            who=person(args),
            why=args.why or "pictures that the line kept",
            lot=args.lot,
        )
    said = [
        f"Took {taken.added.pictures} new pictures from {args.source}; {taken.added.known} were known already.",
        "They are unlabelled: what the station said is no label.",
    ]
    said += [f"{len(taken.gone)} are not kept any more ({taken.gone[0]} first)."] if taken.gone else []
    said += [f"{len(taken.altered)} were altered on disk ({taken.altered[0]} first)."] if taken.altered else []
    return {
        "said": "\n".join(said),
        "dataset": str(args.into),
        "source": str(args.source),
        "pictures": taken.added.pictures,
        "known": taken.added.known,
        "gone": list(taken.gone),
        "altered": list(taken.altered),
    }


def _counts(labelled: LabelledSet) -> dict[str, Any]:
    marks = Counter(label.class_name for picture in labelled.pictures for label in picture.labels)
    wholes = Counter(p.image_class for p in labelled.pictures if p.image_class is not None)
    return {
        "good": sum(picture.good for picture in labelled.pictures),
        "marks": {name: marks[name] for name in labelled.classes},
        "image_classes": dict(sorted(wholes.items())),
    }


def _said(answer: Mapping[str, Any], intake: Intake) -> str:
    marks = ", ".join(f"{name} {count}" for name, count in answer.get("marks", {}).items()) or "none"
    total, good = len(intake.labelled.pictures), answer.get("good")
    looked_at = "nobody has labelled them yet" if good is None else f"{good} of them good; marks: {marks}"
    lines = [
        f"Imported {answer['pictures']} new pictures from {answer['source']} ({intake.format}).",
        f"{answer['known']} were in {answer['dataset']} already, {answer['replaced']} got other labels.",
        f"{total} pictures in all, {looked_at}.",
        *intake.notes,
    ]
    return "\n".join(lines)
