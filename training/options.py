# SPDX-License-Identifier: AGPL-3.0-or-later
"""The options of `gatesight train`, read alike by the process that watches and the one that works."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from training.low_priority import NICE

EXIT_FAILED, EXIT_REFUSED, EXIT_CANCELLED = 1, 3, 4


def parser() -> argparse.ArgumentParser:
    """All options, in the order that a person meets them."""
    made = argparse.ArgumentParser(
        prog="gatesight train",
        description="From labels to a signed, evaluated candidate bundle at OUT/bundle.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused with one sentence, 4 cancelled. A job "
        "that was killed goes on with the same command and --resume. Ctrl-C or OUT/cancel stops it in a batch.",
    )
    data = made.add_argument_group("what it learns from")
    data.add_argument("--train", type=Path, metavar="COCO", help="training pictures")
    data.add_argument("--val", type=Path, metavar="COCO", help="watches the fit and chooses the score limits")
    data.add_argument(
        "--test", type=Path, metavar="COCO", help="shown once, at the end, for the card's figures"
    )
    data.add_argument(
        "--snapshot", metavar="ID", help="a snapshot with a split: its id, the first digits, or `latest`"
    )
    data.add_argument(
        "--dataset", type=Path, metavar="DIR", help="home of the snapshot ($GATESIGHT_DATASET, else ./dataset)"
    )
    data.add_argument("--rendered", action="store_true", help="learn the twin's rendered parts")
    how = made.add_argument_group("how it learns")
    how.add_argument("--recipe", metavar="NAME", help="one of training/recipes, or a TOML file of your own")
    how.add_argument("--seed", type=int, default=0, help="same seed, data and machine: same bundle (0)")
    how.add_argument(
        "--start",
        type=Path,
        metavar="WEIGHTS",
        help="go on from these: the OUT of an earlier job, or a .safetensors file; for a network on a "
        "backbone also its ONNX file (ours); never a pickle (.pt)",
    )
    how.add_argument("--threads", type=int, default=default_threads(), help="CPU threads (%(default)s)")
    how.add_argument("--nice", type=int, default=NICE, help="how far it stands back, 0 to 19 (%(default)s)")
    out = made.add_argument_group("what comes out")
    out.add_argument("--out", type=Path, metavar="DIR", help="folder of the job; the bundle will be DIR/bundle")
    out.add_argument("--resume", action="store_true", help="go on with what DIR holds, or begin")
    out.add_argument(
        "--about", type=Path, metavar="TOML", help="what you have to say of the bundle in its card"
    )
    out.add_argument(
        "--key-dir", type=Path, metavar="DIR", help="folder of the key that signs; made when missing"
    )
    out.add_argument("--json", action="store_true", help="print the job's record as one JSON object at the end")
    out.add_argument("--who", default=None, help="who asked for it (the user that runs the command)")
    drawn = made.add_argument_group("with --rendered")
    drawn.add_argument("--parts", type=int, default=2000, help="test parts of each of five seeds (%(default)s)")
    drawn.add_argument("--choice-parts", type=int, default=1000, help="parts of four seeds that choose limits")
    drawn.add_argument(
        "--test-offset", type=int, default=0, help="fresh test seeds: raise it when a test was seen"
    )
    look = made.add_argument_group("instead of training")
    look.add_argument(
        "--preview-policy", metavar="NAME", help="draw what an augmentation policy does to --train into --out"
    )
    return made


def default_threads() -> int:
    """Threads of a fit where nobody says how many; not all of a large machine."""
    return min(4, len(os.sched_getaffinity(0)))


def read(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check what argparse alone does not; exits with code 2 for wrong usage."""
    made = parser()
    given = made.parse_args(words)
    if given.out is None:
        made.error("--out is needed")
    if given.preview_policy is None and given.recipe is None:
        made.error("--recipe is needed")
    if not 0 <= given.nice <= 19:
        made.error(f"--nice {given.nice}: choose 0 to 19")
    if given.threads < 1:
        made.error(f"--threads {given.threads}: choose 1 or more")
    sources = [bool(given.snapshot), given.rendered, bool(given.train or given.val or given.test)]
    if sum(sources) > 1:
        made.error("--snapshot, --rendered, and --train with --val and --test are three ways: choose one")
    return given
