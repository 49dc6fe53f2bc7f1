# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pre-train the backbone: `python -m training.backbone.train --out DIR [--minutes M] [--seed S] [--resume]`.

Every picture is drawn from the seed; no picture file is read and nothing is fetched. `--resume` goes on from the last
state in DIR, on any machine and device. Progress goes to DIR/progress.jsonl, the state to DIR/checkpoint.pt.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import torch

from inspection.types import StationFault
from training.backbone.run import CHECKPOINT, Plan, Run, learn, new_run, rate, resume, save
from training.backbone.settings import Settings, load_settings
from training.backbone.supply import batches
from training.job import code_commit

SAVE_EVERY_S = 120.0
REPORT_EVERY = 20
DECAY_SHARE = 0.3
"""Share of the time during which the learning rate falls."""


def train(
    settings: Settings, folder: Path, *, minutes: float | None, device: torch.device, go_on: bool, workers: int = 1
) -> Run:
    """Learn until the plan's last step, saving the state now and then; returns the finished run."""
    run = _begin(settings, folder, device, go_on=go_on)
    if not run.plan.steps and minutes is None:
        raise StationFault("the recipe has no number of steps: give --minutes or --steps")
    saved = last = time.monotonic()
    with closing(batches(settings, run.step, workers)) as supply, (folder / "progress.jsonl").open("a") as progress:
        while not run.plan.steps or run.step < run.plan.steps:
            terms = learn(run, next(supply))
            now = time.monotonic()
            run.spent_s, last = run.spent_s + now - last, now
            if minutes is not None and not run.plan.steps and run.spent_s > (1 - DECAY_SHARE) * 60 * minutes:
                more = max(1, round(run.step * DECAY_SHARE / (1 - DECAY_SHARE)))
                run.plan = Plan(decay_from=run.step, steps=run.step + more)
            if run.step % REPORT_EVERY == 0 or run.step == run.plan.steps:
                _report(run, terms, progress)
            if now - saved > SAVE_EVERY_S:
                save(run, folder)
                saved = now
    save(run, folder)
    return run


def _begin(settings: Settings, folder: Path, device: torch.device, *, go_on: bool) -> Run:
    """Load the state to go on from, or start anew in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    there = (folder / CHECKPOINT).is_file()
    if there and not go_on:
        raise StationFault(f"{folder} holds a run already: add --resume to go on, or give another --out")
    run = resume(settings, device, folder) if there else new_run(settings, device)
    commit = code_commit()
    if commit not in run.history:
        run.history.append(commit)
    (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
    return run


def _report(run: Run, terms: dict[str, float], progress) -> None:  # noqa: ANN001
    line = {
        "step": run.step,
        "steps": run.plan.steps or None,
        "spent_s": round(run.spent_s, 1),
        "rate": round(rate(run.settings, run.plan, run.step - 1), 6),
        **{name: round(value, 4) for name, value in terms.items()},
    }
    progress.write(json.dumps(line) + "\n")
    progress.flush()


def main(argv: list[str] | None = None) -> int:
    """Run one pre-training; 3 with one sentence when the settings or the folder do not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--recipe", default="full")
    parser.add_argument("--minutes", type=float, help="learn for about so long, the fall of the rate included")
    parser.add_argument("--steps", type=int, help="learn so many steps; repeats a run exactly with --decay-from")
    parser.add_argument("--decay-from", type=int, help="step from which the learning rate falls")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--resume", action="store_true", help="go on from the state in --out")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network on a CPU")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw pictures")
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the drawing processes end as well
    try:
        settings = load_settings(given.recipe)
        named = {"seed": given.seed, "steps": given.steps, "decay_from": given.decay_from}
        settings = replace(settings, **{k: v for k, v in named.items() if v is not None})
        device = torch.device(given.device)
        train(settings, given.out, minutes=given.minutes, device=device, go_on=given.resume, workers=given.workers)
    except StationFault as e:
        sys.stderr.write(f"{e}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
