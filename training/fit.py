# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fit a network to a prepared folder with ultralytics; what comes out are plain weights in safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspection.types import StationFault
from training.environment import prepare
from training.recipe import TrainingRecipe

WEIGHTS_NAME = "weights.safetensors"
_OUTWARD = ("sync", "clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")


def settings_of(recipe: TrainingRecipe) -> dict[str, Any]:
    """Settings for ultralytics: ours, then the policy's, then the recipe's."""
    from training.augmentations import policy

    chosen = policy(recipe.policy)
    batch = recipe.ultralytics.get("batch", 16)
    return {
        "deterministic": True,
        "workers": 0,
        "cache": "ram",
        "plots": False,
        "patience": 0,
        "nbs": batch,  # one step a batch: an epoch then begins alike whether or not the fit was interrupted
        "augmentations": chosen.transforms,
        "scale": 0.0,
        "translate": 0.0,
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": 0.0,
        "fliplr": chosen.flip_lr,
        "flipud": chosen.flip_ud,
        "mosaic": 0.0,
        **recipe.ultralytics,
    }


def fit(recipe: TrainingRecipe, data: Path, around: Any) -> Path:
    """Run a recipe on the folder that `data` describes; return the weights.

    `around` (training.trainers.Surroundings) names the folder of the fit, the seed, and who is told. A fit that
    was interrupted goes on from its state.
    """
    weights = around.folder / WEIGHTS_NAME
    if weights.is_file():
        return weights
    prepare(threads=around.threads)
    import torch
    from ultralytics import settings as ultralytics_settings
    from ultralytics.utils import callbacks as ultralytics_callbacks

    from training.checkpoint import read_state
    from training.trainers import TRAINERS, callbacks

    ultralytics_settings.update({name: False for name in _OUTWARD if name in ultralytics_settings})
    torch.set_num_threads(around.threads)
    around.folder.mkdir(parents=True, exist_ok=True)
    held = read_state(around.folder)
    if held is None or not _over(held[1], recipe.epochs):
        for cache in data.parent.rglob("*.cache"):
            cache.unlink()  # ultralytics' own list of labels, a pickle: it may be torn
        called = ultralytics_callbacks.get_default_callbacks()
        for name, functions in callbacks(around).items():
            called[name].extend(functions)
        gpu = torch.cuda.is_available()
        overrides = {
            "model": recipe.network_path,
            "data": str(data),
            "imgsz": recipe.input_px,
            "project": str(around.folder.parent.resolve()),
            "name": around.folder.name,
            "exist_ok": True,
            "device": 0 if gpu else "cpu",
            "amp": "bf16" if gpu else False,
            "seed": around.seed,
            **settings_of(recipe),
        }
        trainer = _made(TRAINERS[recipe.method], overrides, called, around)
        trainer.train()
    return _keep(recipe, around.folder, weights)


def _over(facts: Mapping[str, Any], epochs: int) -> bool:
    return bool(facts["stop"]) or facts["epoch"] + 1 >= epochs


def _made(kind: type[Any], overrides: dict[str, Any], called: Any, around: Any) -> Any:
    try:
        trainer = kind(overrides=overrides, _callbacks=called)
    except SyntaxError as error:  # what ultralytics raises for a setting it does not know
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), str(error))
        raise StationFault(f"the recipe's [ultralytics] table is refused: {first}") from None
    trainer.around = around
    return trainer


def _keep(recipe: TrainingRecipe, folder: Path, weights: Path) -> Path:
    """Write the weights that the recipe asks for, averaged over the steps (EMA), as the result of the fit."""
    from training.checkpoint import read_state, read_tensors, write_tensors
    from training.trainers import BEST_NAME

    held = read_state(folder)
    if held is None:
        raise StationFault(
            f"{folder} holds no whole state after the fit; free space on the disk and run it again"
        )
    tensors, facts = held
    chosen = {name[4:]: tensor for name, tensor in tensors.items() if name.startswith("ema/")}
    epoch, fitness = facts["epoch"] + 1, facts["fitness"]
    if recipe.weights == "best":
        chosen, best = read_tensors(folder / BEST_NAME)
        epoch, fitness = best["epoch"], best["fitness"]
    told = {"network": recipe.network, "epochs": facts["epoch"] + 1, "epoch": epoch, "fitness": fitness}
    write_tensors(weights, chosen, told)
    return weights
