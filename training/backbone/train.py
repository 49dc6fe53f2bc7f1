# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pre-train the backbone: `python -m training.backbone.train --out DIR [--minutes M] [--seed S] [--resume]`.

Every picture is drawn from the seed; no picture file is read and nothing is fetched. `--resume` goes on from
the last
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
from typing import TextIO

import cv2
import torch

from inspection.types import StationFault
from training.backbone.run import ALONE, CHECKPOINT, Plan, Run, learn, new_run, rate, resume, save
from training.backbone.settings import Settings, load_settings
from training.backbone.supply import batches
from training.backbone.team import Team, assembled
from training.code import code_commit
from training.low_priority import stand_back

SAVE_EVERY_S = 120.0
REPORT_EVERY = 20
PLAN_EVERY = 10  # steps between two looks at the clock
DECAY_SHARE = 0.3
"""Share of the time during which the learning rate falls."""


def train(
    settings: Settings,
    folder: Path,
    *,
    minutes: float | None,
    device: torch.device,
    go_on: bool,
    workers: int = 1,
    save_every_s: float = SAVE_EVERY_S,
    team: Team = ALONE,
) -> Run:
    """Learn until the plan's last step, saving the state now and then; returns the finished run."""
    run = _begin(settings, folder, device, team, go_on=go_on)
    if not run.plan.steps and minutes is None:
        raise StationFault("the recipe has no number of steps: give --minutes or --steps")
    saved = last = time.monotonic()
    supply = batches(settings, run.step * team.size + team.rank, workers=workers, stride=team.size)
    with closing(supply), (folder / f"progress{team.rank or ''}.jsonl").open("a") as progress:
        while not run.plan.steps or run.step < run.plan.steps:
            terms = learn(run, next(supply), team)
            now = time.monotonic()
            run.spent_s, last = run.spent_s + now - last, now
            if not run.plan.steps and minutes is not None and run.step % PLAN_EVERY == 0:
                run.plan = _planned(run, minutes, team)
            if run.step % REPORT_EVERY == 0 or run.step == run.plan.steps:
                _report(run, terms, progress)
            if team.rank == 0 and now - saved >= save_every_s:
                save(run, folder)
                saved = now
    if team.rank == 0:
        save(run, folder)
    return run


def _planned(run: Run, minutes: float, team: Team) -> Plan:
    """Let the rate begin to fall once its share of the time has come; all ranks follow the first one's
    clock.
    """
    decay_from = steps = 0
    if run.spent_s > (1 - DECAY_SHARE) * 60 * minutes:
        decay_from, steps = run.step, run.step + max(1, round(run.step * DECAY_SHARE / (1 - DECAY_SHARE)))
    decay_from, steps = team.told(decay_from, steps)
    return Plan(decay_from=decay_from, steps=steps)


def _begin(settings: Settings, folder: Path, device: torch.device, team: Team, *, go_on: bool) -> Run:
    """Load the state to go on from, or start anew in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    there = (folder / CHECKPOINT).is_file()
    if there and not go_on and team.rank == 0:
        raise StationFault(f"{folder} holds a run already: add --resume to go on, or give another --out")
    run = resume(settings, device, folder) if there else new_run(settings, device)
    commit = code_commit()
    if commit not in run.history:
        run.history.append(commit)
    if team.rank:
        return run
    (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
    return run


def _report(run: Run, terms: dict[str, float], progress: TextIO) -> None:
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
    parser.add_argument(
        "--steps", type=int, help="learn so many steps; repeats a run exactly with --decay-from"
    )
    parser.add_argument("--decay-from", type=int, help="step from which the learning rate falls")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--resume", action="store_true", help="go on from the state in --out")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network on a CPU")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw pictures")
    parser.add_argument("--save-every", type=float, default=SAVE_EVERY_S, help="seconds between two states")
    parser.add_argument("--nice", type=int, default=5, help="how far this stands back; 0 leaves it as it is")
    given = parser.parse_args(argv)
    stand_back(given.nice)
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(1)
    before = signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that the drawing processes end as well
    try:
        settings = load_settings(given.recipe)
        named = {"seed": given.seed, "steps": given.steps, "decay_from": given.decay_from}
        if given.minutes is not None and given.steps is None:
            named |= {"steps": 0, "decay_from": 0}  # the clock decides, whatever the recipe says
        settings = replace(settings, **{k: v for k, v in named.items() if v is not None})
        device = torch.device(given.device)
        command = ["-m", "training.backbone.train", *(sys.argv[1:] if argv is None else argv)]
        with assembled(settings.ranks, command) as team:
            train(
                settings,
                given.out,
                minutes=given.minutes,
                device=device,
                go_on=given.resume,
                workers=given.workers,
                save_every_s=given.save_every,
                team=team,
            )
    except StationFault as e:
        sys.stderr.write(f"{e}\n")
        return 3
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
