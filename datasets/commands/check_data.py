# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data check`: is this data ready to be trained on, and what could be claimed with it?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.beliefs import read
from datasets.coco import read_coco
from datasets.features import describer
from datasets.kept import LOOKS_NAME, Kept
from datasets.labels import LabelledSet
from datasets.readiness import examine
from datasets.readiness_page import write_page
from datasets.readiness_plain import as_plain, as_text
from datasets.snapshots import read_snapshot
from datasets.store import is_home, open_home
from inspection.types import StationFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[DATASET|COCO], --snapshot, --train, --val, --test, --backbone, --html, --accept-leaks, --quick."""
    parser.add_argument("data", type=Path, nargs="?", metavar="DATASET|COCO", help="dataset home or COCO file")
    parser.add_argument(
        "--snapshot", metavar="ID", help="the sides of a snapshot of DATASET: its id, or `latest`"
    )
    for side in ("train", "val", "test"):
        parser.add_argument(f"--{side}", type=Path, metavar="COCO", help=f"{side} part of a split")
    parser.add_argument(
        "--backbone",
        metavar="ONNX",
        help="network to compare pictures with, or `plain`; default: GATESIGHT_BACKBONE, else the shipped one",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with thumbnails too")
    parser.add_argument(
        "--accept-leaks", action="store_true", help="tell what lies on both sides, and forbid nothing for it"
    )
    parser.add_argument(
        "--quick", action="store_true", help="look neither for twins within a part nor for wrong labels"
    )


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Look at everything; `ok` is False when something forbids training."""
    parts = _parts(args)
    describe, name = describer(args.backbone)
    report = examine(
        parts,
        describe,
        features=name,
        accept_leaks=args.accept_leaks,
        quick=args.quick,
        kept=Kept(args.data / LOOKS_NAME if args.data is not None and is_home(args.data) else None),
    )
    if args.html is not None:
        write_page(args.html, report)
    return {"said": as_text(report, args.html), "ok": report.ready, **as_plain(report)}


def _parts(args: argparse.Namespace) -> dict[str, LabelledSet]:
    split: dict[str, Path] = {
        side: path for side in ("train", "val", "test") if (path := getattr(args, side)) is not None
    }
    if (args.data is None) == (not split):
        raise StationFault("Name a DATASET or COCO file, or the parts of a split with --train and --test.")
    if split:
        if "train" not in split:
            raise StationFault("A split has a part to train on: name it with --train.")
        return {side: read_coco(path) for side, path in split.items()}
    if is_home(args.data):
        with open_home(args.data) as home:
            if args.snapshot is None:
                return {"data": read(home, unlabelled=False)}
            sides = read_snapshot(home, args.snapshot)
        return {side: data for side, data in sides.items() if data.pictures}
    if args.snapshot is not None:
        raise StationFault(f"{args.data} is no dataset home, so it has no snapshots; leave out --snapshot.")
    return {"data": read_coco(args.data)}
