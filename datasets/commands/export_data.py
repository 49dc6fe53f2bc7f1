# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data export DATASET --to FOLDER --format F`: pictures and labels for other tools."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspection.types import StationFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --to, --format, --snapshot."""
    parser.add_argument("source", type=Path, metavar="DATASET", help="dataset home, or any labelled set")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="new folder to write")
    parser.add_argument("--format", required=True, help="format to write")
    parser.add_argument("--snapshot", help="id of a snapshot; default: what the dataset holds now")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Refuse: the writer side is being built."""
    raise StationFault(f"{args.source}: this build cannot export yet")
