# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data import SOURCE --into DATASET`: labelled pictures into a dataset home, all or nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspection.types import StationFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE, --into, --format, --lot."""
    parser.add_argument("source", type=Path, help="folder, label file, or zip/tar archive")
    parser.add_argument("--into", type=Path, required=True, metavar="DATASET", help="dataset home")
    parser.add_argument("--format", help="say the format instead of letting it be found")
    parser.add_argument("--lot", help="lot of every picture that names none")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """Refuse: the reader side is being built."""
    raise StationFault(f"{args.source}: this build cannot import yet")
