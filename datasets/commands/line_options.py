# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the commands about a running line ask alike: which station, and which dataset home holds its reviews."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from datasets.line_parts import NS_PER_S
from inspection.config import StationConfig, load_config
from inspection.types import StationFault


def add_line(parser: argparse.ArgumentParser) -> None:
    """[DATASET] and --config."""
    parser.add_argument(
        "dataset", type=Path, nargs="?", metavar="DATASET", help="dataset home; default: watch.dataset"
    )
    parser.add_argument(
        "--config", "-c", type=Path, default=Path("station.toml"), help="the station's station.toml"
    )


def placed(args: argparse.Namespace) -> tuple[StationConfig, Path]:
    """The station's configuration and the folder of the dataset home."""
    config = load_config(args.config)
    folder = args.dataset or config.watch.dataset
    if folder is None:
        raise StationFault(
            f"Name the DATASET that holds the reviews, or set watch.dataset in {args.config} to it."
        )
    return config, folder


def moment_ns(text: str | None) -> int:
    """UTC nanoseconds of `2026-11-23` or `2026-11-23T08:30`; 0 without any."""
    if text is None:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise StationFault(f"{text!r} is no day or moment: write it like 2026-11-23T08:30 (UTC).") from None
    return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * NS_PER_S)
