# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data golden DATASET`: lock pictures into the golden set; no training learns from them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.commands.person import add_who, person
from datasets.labelling import lock_golden
from datasets.snapshots import learnt_in
from datasets.splits import SIDES
from datasets.splitting import names_on
from datasets.store import DatasetHome, open_home
from inspection.types import StationFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, and which pictures: --name, --names FILE or --side."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="dataset home")
    parser.add_argument("--name", action="append", default=[], help="a picture's name; may be repeated")
    parser.add_argument("--names", type=Path, metavar="FILE", help="text file, one name a line")
    parser.add_argument("--side", choices=SIDES[1:], help="every picture that is on this side now")
    add_who(parser, "locks them")
    parser.add_argument("--note", metavar="WHY", default="locked for promotions", help="why")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Lock them, and say which snapshots have learnt from them before."""
    with open_home(args.dataset) as home:
        names = _names(args, home)
        known_to = learnt_in(home, names)
        new = lock_golden(home, names, who=person(args), why=args.note)
    said = [f"{len(names)} pictures are golden, {new} of them new. There is no way back."]
    said += [
        f"Snapshot {number[:16]} learnt from {count} of them: models trained on it know them already."
        for number, count in known_to.items()
    ]
    return {"said": "\n".join(said), "pictures": len(names), "new": new, "learnt_in": known_to}


def _names(args: argparse.Namespace, home: DatasetHome) -> list[str]:
    names = list(args.name)
    if args.names is not None:
        try:
            lines = args.names.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StationFault(f"{args.names}: cannot be read as a list of names ({error}).") from error
        names += [line.strip() for line in lines if line.strip()]
    if args.side is not None:
        names += names_on(home, args.side)
    if not names:
        raise StationFault("No picture is named: give --name NAME, --names FILE, or --side test after a split.")
    return list(dict.fromkeys(names))
