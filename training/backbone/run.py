# SPDX-License-Identifier: AGPL-3.0-or-later
"""One pre-training run: a step of learning, and its state on disk, from which any machine goes on exactly.

The state holds weights, running mean, optimiser and step; pictures and chosen positions depend on the seed
and the
step alone. It is written whole (temporary file, fsync, rename) and read without unpickling code.
"""

from __future__ import annotations

import contextlib
import copy
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inspection.storage.files import sync_folder
from inspection.types import StationFault
from training.backbone.batches import Batch
from training.backbone.network import Backbone
from training.backbone.pretext import Pretext, Weights, to_tensors
from training.backbone.settings import Settings
from training.backbone.team import Team
from training.cpu_bf16 import cpu_multiplies_bf16

CHECKPOINT = "checkpoint.pt"
ALONE = Team(rank=0, size=1)


@dataclass(slots=True, kw_only=True)
class Plan:
    """Where the learning rate begins to fall and where the run ends; 0 while the time has not decided yet."""

    decay_from: int = 0
    steps: int = 0


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything that changes while learning."""

    settings: Settings
    device: torch.device
    model: Pretext
    mean: Backbone
    optimiser: torch.optim.Optimizer
    plan: Plan
    step: int = 0
    spent_s: float = 0.0
    history: list[str] = field(default_factory=list)  # code commits that worked on it


def new_backbone(settings: Settings) -> Backbone:
    """Return the network with its random first weights; the seed decides them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return Backbone(settings.channels, settings.blocks)


def new_run(settings: Settings, device: torch.device) -> Run:
    """Start from random weights."""
    backbone = new_backbone(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed + 1)
        weights = Weights(
            texture=settings.weight_texture,
            defect=settings.weight_defect,
            structure=settings.weight_structure,
            contrast=settings.weight_contrast,
        )
        model = Pretext(backbone, weights)
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    thin = [p for p in model.parameters() if p.ndim == 1]
    thick = [p for p in model.parameters() if p.ndim > 1]
    optimiser = torch.optim.AdamW(
        [{"params": thick, "weight_decay": settings.weight_decay}, {"params": thin, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        foreach=True,
    )
    return Run(
        settings=settings,
        device=device,
        model=model,
        mean=copy.deepcopy(model.backbone).requires_grad_(False),
        optimiser=optimiser,
        plan=Plan(decay_from=settings.decay_from, steps=settings.steps),
    )


def rate(settings: Settings, plan: Plan, step: int) -> float:
    """Learning rate of a step: a short rise, a level, and a straight fall to nothing at the end."""
    level = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if not plan.steps or step < plan.decay_from:
        return level
    return level * max(0.0, (plan.steps - step) / max(1, plan.steps - plan.decay_from))


def learn(run: Run, batch: Batch, team: Team = ALONE) -> dict[str, float]:
    """Take one step; returns the terms of the loss. Raises StationFault when the loss is no number."""
    for group in run.optimiser.param_groups:
        group["lr"] = rate(run.settings, run.plan, run.step)
    spots = torch.Generator().manual_seed((run.settings.seed * 1_000_003 + run.step) * 64 + team.rank)
    run.model.train()
    with _fast(run.device):
        loss, terms = run.model(to_tensors(batch, run.device), spots)
    if not torch.isfinite(loss):
        raise StationFault(f"the loss of step {run.step} is no number: lower learning_rate in the recipe")
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    team.agree(run.model)
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 5.0)
    run.optimiser.step()
    run.step += 1
    _follow(run)
    return terms


def _fast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where the machine computes in it: CUDA, or a CPU with AMX or AVX-512 BF16."""
    if device.type == "cuda" or cpu_multiplies_bf16():
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@torch.no_grad()
def _follow(run: Run) -> None:
    """Move the running mean of the weights; it warms up over the first steps."""
    keep = min(run.settings.average, (1 + run.step) / (10 + run.step))
    for mean, value in zip(
        run.mean.state_dict().values(), run.model.backbone.state_dict().values(), strict=True
    ):
        if mean.is_floating_point():
            mean.mul_(keep).add_(value, alpha=1 - keep)
        else:
            mean.copy_(value)


def save(run: Run, folder: Path) -> None:
    """Write the state whole, or not at all."""
    state = {
        "digest": run.settings.digest(),
        "step": run.step,
        "spent_s": run.spent_s,
        "plan": [run.plan.decay_from, run.plan.steps],
        "history": run.history,
        "model": run.model.state_dict(),
        "mean": run.mean.state_dict(),
        "optimiser": run.optimiser.state_dict(),
    }
    target = folder / CHECKPOINT
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(target)
    sync_folder(folder)


def resume(settings: Settings, device: torch.device, folder: Path) -> Run:
    """Go on from the state in `folder`; StationFault when it belongs to other settings."""
    path = folder / CHECKPOINT
    state = torch.load(path, map_location=device, weights_only=True)
    if state["digest"] != settings.digest():
        raise StationFault(
            f"{path} was begun with other settings: give another --out, or the same recipe and seed"
        )
    run = new_run(settings, device)
    run.model.load_state_dict(state["model"])
    run.mean.load_state_dict(state["mean"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.step, run.spent_s, run.history = state["step"], state["spent_s"], state["history"]
    run.plan = Plan(decay_from=state["plan"][0], steps=state["plan"][1])
    return run
