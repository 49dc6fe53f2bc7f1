# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data split DATASET`: give labelled pictures their sides; what belongs together stays together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.commands.person import add_who, person
from datasets.commands.snapshot_data import add_quick, shortened
from datasets.splits import LEVELS, Plan
from datasets.splitting import near_twins, split_home
from datasets.store import open_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --by, --train, --val, --test, --seed, --who, --note."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="dataset home")
    parser.add_argument(
        "--by", choices=("auto", *LEVELS), help="what stays together; auto: the coarsest that a picture names"
    )
    for side, share in Plan().shares.items():
        parser.add_argument(f"--{side}", type=float, metavar="SHARE", help=f"share of {side} ({share:g})")
    parser.add_argument("--seed", type=int, help="another seed gives another split (0)")
    add_quick(parser)
    add_who(parser, "splits")
    parser.add_argument("--note", metavar="WHY", default="split for training", help="why")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Split, and keep the sides. Without any option of a plan, the plan of the last time stays."""
    given = {
        name: value
        for name in ("by", "train", "val", "test", "seed")
        if (value := getattr(args, name)) is not None
    }
    wanted = Plan(**given) if given else None
    with open_home(args.dataset) as home:
        twins = [] if args.quick else near_twins(home, wanted)
        plan, done = split_home(home, who=person(args), why=args.note, plan=wanted, twins=twins)
    counts = done.counts()
    text = ", ".join(f"{count} {side}" for side, count in counts.items())
    return {
        "said": "\n".join([f"{text}; split by {plan.by}, seed {plan.seed}.", *shortened(done.sentences)]),
        "plan": plan.to_plain(),
        "counts": counts,
        "twin_pairs": len(twins),
        "groups": len(set(done.groups.values())),
        "sides": done.sides,
        "sentences": list(done.sentences),
    }
