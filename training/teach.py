# SPDX-License-Identifier: AGPL-3.0-or-later
"""Teach from good parts alone.

`gatesight teach --good DIR|COCO --out DIR [--backbone ONNX]`      a bundle at DIR/bundle
`gatesight teach --good DIR|COCO --out DIR --anomalib MODEL`       the same with one of anomalib's models
`gatesight teach --add DIR|COCO --to DIR`                          more good parts, without fitting again
`gatesight teach --forgive PICTURE --to DIR`                       one good part that was rejected

DIR gets the bundle, a sheet of the good parts that look worst (worst-good.html), and what is needed to take in
more. Exit code 3 with one sentence when nothing can be taught from these pictures or with this backbone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspection.types import StationFault
from training.anomaly.adding import add_good
from training.anomaly.backbone import ORDERS
from training.anomaly.bank import BANK
from training.anomaly.fit import METHODS, TEACHABLE
from training.anomaly.preparing import SHAPES
from training.anomaly.teaching import Wishes, teach
from training.anomaly.threshold import OVERKILL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gatesight teach", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--good", type=Path, help="folder of good pictures, or a COCO file")
    parser.add_argument("--out", type=Path, help="folder to make; the bundle appears at OUT/bundle")
    parser.add_argument("--add", type=Path, help="more good pictures: folder or COCO file")
    parser.add_argument("--forgive", type=Path, help="one good picture that was rejected")
    parser.add_argument("--to", type=Path, help="folder of a finished teaching, for --add and --forgive")
    parser.add_argument("--backbone", type=Path, help="ONNX network to take features from; default: ours")
    parser.add_argument(
        "--network", metavar="NAME", help="torchvision's network whose weights --backbone holds: resnet18, ..."
    )
    parser.add_argument("--anomalib", metavar="MODEL", help="one of anomalib's models instead: padim, ...")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of that model's; repeat",
    )
    parser.add_argument("--layers", help="feature maps to cut at, finest first: NAME,NAME")
    parser.add_argument(
        "--scale", type=float, help="what pixels are multiplied by for the backbone; default: tried (1/255, 1)"
    )
    parser.add_argument("--order", choices=ORDERS, default="rgb", help="order of its colour planes")
    parser.add_argument("--centred", action="store_true", help="take off torchvision's mean and spread")
    parser.add_argument(
        "--method", choices=METHODS, default="auto", help="bank, bank and position, or position"
    )
    parser.add_argument("--bank", type=int, default=BANK, help=f"entries of the memory bank ({BANK})")
    parser.add_argument("--overkill", type=float, default=OVERKILL, help=f"wanted share ({OVERKILL})")
    parser.add_argument("--least-separation", type=float, default=TEACHABLE, help=argparse.SUPPRESS)
    parser.add_argument("--no-gain", action="store_true", help="leave the pictures' brightness as it is")
    parser.add_argument("--no-align", action="store_true", help="do not look for a part to lay down")
    parser.add_argument(
        "--shapes", choices=("auto", *SHAPES), default="auto", help="what to do with pictures of many shapes"
    )
    parser.add_argument("--name", default="good-only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--key-dir", type=Path, help="folder of the signing key")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _run(given: argparse.Namespace) -> dict[str, Any]:
    asked = [name for name in ("good", "add", "forgive") if getattr(given, name) is not None]
    if len(asked) != 1:
        raise StationFault("give one of --good DIR|COCO, --add DIR|COCO and --forgive PICTURE.")
    if given.good is None:
        if given.to is None:
            raise StationFault(f"--{asked[0]} needs --to DIR: the folder of a finished teaching.")
        return add_good(
            given.add or given.forgive,
            given.to,
            forgive=given.forgive is not None,
            threads=given.threads,
            key_dir=given.key_dir,
        )
    if given.out is None:
        raise StationFault("--good needs --out DIR: the folder to make.")
    if not 0 < given.overkill < 0.5 or given.bank < 16 or given.threads < 1:
        raise StationFault("--overkill lies between 0 and 0.5, --bank is at least 16, --threads at least 1.")
    wishes = Wishes(
        good=given.good,
        out=given.out,
        backbone=given.backbone,
        network=given.network,
        layers=tuple(given.layers.split(",")) if given.layers else (),
        scale=given.scale,
        order=given.order,
        centred=given.centred,
        method=given.method,
        bank=given.bank,
        overkill=given.overkill,
        least_separation=given.least_separation,
        gain=not given.no_gain,
        align=not given.no_align,
        shapes=given.shapes,
        name=given.name,
        seed=given.seed,
        threads=given.threads,
        key_dir=given.key_dir,
    )
    options = _options(given.option)
    if given.anomalib is None:
        if options:
            raise StationFault("--option belongs to --anomalib MODEL: name the model, or leave it out.")
        return teach(wishes)
    from training.anomaly.anomalib_teaching import teach_anomalib

    return teach_anomalib(wishes, given.anomalib, options)


def _options(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE, values as JSON where they are such, else as they stand."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise StationFault(f"--option {text}: write NAME=VALUE, as in backbone=resnet18.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def main(argv: list[str] | None = None) -> int:
    """Teach, add or forgive; 0, or 3 with one sentence."""
    given = _parser().parse_args(argv)
    try:
        result = _run(given)
    except StationFault as fault:
        if given.json:
            sys.stdout.write(json.dumps({"ok": False, "error": str(fault)}) + "\n")
        sys.stderr.write(f"gatesight teach: {fault}\n")
        return 3
    sentence = result.pop("sentence")
    if given.json:
        sys.stdout.write(json.dumps({"ok": True, **result}) + "\n")
        return 0
    sys.stdout.write(
        f"{result['bundle']}: taught from {result['good']} good pictures; {sentence}."
        f" What it misses is {result['misses']}.\n"
        f"Look at the good parts that look worst: {result['sheet']}\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
