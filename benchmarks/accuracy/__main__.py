# SPDX-License-Identifier: AGPL-3.0-or-later
"""One supervised accuracy run, by the product's own commands: `python -m benchmarks.accuracy NAME --out DIR`.

runs.toml holds recipe, seed and what is wanted of each public set. `gatesight train --resume` trains, earlier
stages of a run in DIR/before (call again after an interruption, on this machine or, with DIR
copied, on another), `gatesight evaluate` judges the test part; the figures are printed with the published ones
and the bars beside them. Needs $GATESIGHT_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUNS = Path(__file__).with_name("runs.toml")
ABOUT = Path(__file__).resolve().parents[2] / "training" / "about"
TOLD = ("map50", "map50_95", "map_protocol", "f_protocol", "auroc", "trivial_auroc", "aupro", "pixel_f1")


def runs() -> dict[str, dict[str, Any]]:
    """Every run by name."""
    return tomllib.loads(RUNS.read_text(encoding="utf-8"))


def train_commands(run: Mapping[str, Any], data: Path, given: argparse.Namespace) -> list[list[str]]:
    """`gatesight train` for each stage of this run."""

    def stage(recipe: str, out: Path, start: Path | None) -> list[str]:
        command = [sys.executable, "-m", "training.train", "--recipe", recipe]
        for part in ("train", "val", "test"):
            command += [f"--{part}", str(data / f"{part}.json")]
        command += ["--seed", str(run["seed"]), "--threads", str(given.threads), "--out", str(out), "--resume"]
        if start is not None:
            command += ["--start", str(start)]
        if "about" in run:
            command += ["--about", str(ABOUT / run["about"])]
        if given.key_dir is not None:
            command += ["--key-dir", str(given.key_dir)]
        return command

    if given.gpu:
        return [stage(run["gpu"], given.out, given.start)]
    commands, start = [], given.start
    for recipe in run.get("before", ()):
        out = given.out / "before" / recipe
        commands.append(stage(recipe, out, start))
        start = out
    return [*commands, stage(run["recipe"], given.out, start)]


def row(name: str, run: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The result as a table of one run."""
    lines = [f"{name}: {figures['pictures']} test pictures; published: {run['published']}"]
    for key in TOLD:
        value = figures.get(key)
        if value is None:
            continue
        interval = figures.get(f"{key}_two_sided_95")
        if isinstance(interval, dict):
            interval = [interval["low"], interval["high"]]
        sure = "" if not interval else f"  two-sided 95 % {interval[0]:.3f} to {interval[1]:.3f}"
        bar = run["wanted"].get(key)
        verdict = "" if bar is None else f"  wanted {bar}: {'met' if value >= bar else 'not met'}"
        lines.append(f"  {key:14} {value:.4f}{sure}{verdict}")
    part = figures["part"]
    lines.append(
        f"  escapes {part['escapes']} of {part['defective']} (at most {part['escape_upper_95']:.2%}), overkill"
        f" {part['overkill']} of {part['good']} (at most {part['overkill_upper_95']:.2%}); one-sided 95 %"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Train, evaluate, print; the exit code of the first command that fails, else 0."""
    known = runs()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("name", choices=sorted(known))
    parser.add_argument("--out", type=Path, required=True, help="folder of the job")
    parser.add_argument("--gpu", action="store_true", help="the recipe for a GPU")
    parser.add_argument("--start", type=Path, help="weights, or the backbone that it stands on (ours)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--key-dir", type=Path, help="folder of the signing key")
    given = parser.parse_args(argv)
    root = os.environ.get("GATESIGHT_DATA")
    if not root:
        sys.stderr.write("Set GATESIGHT_DATA to the folder of the public data sets.\n")
        return 3
    run, data = known[given.name], Path(root) / given.name
    for stage in train_commands(run, data, given):
        code = subprocess.call(stage)
        if code:
            return code
    answer = given.out / "accuracy.json"
    command = [sys.executable, "-m", "training.evaluate", "--bundle", str(given.out), "--data"]
    command += [str(data / "test.json"), "--protocol", run["protocol"], "--json", str(answer)]
    command += ["--report", str(given.out / "accuracy.html")]
    code = subprocess.call(command, stdout=subprocess.DEVNULL)
    if code == 0:
        print(row(given.name, run, json.loads(answer.read_text(encoding="utf-8"))))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
