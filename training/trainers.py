# SPDX-License-Identifier: AGPL-3.0-or-later
"""ultralytics' trainers with our state on disk: exact resume, no pickles, progress told, cancelled in a batch.

Every epoch draws its random numbers from (seed, epoch) and the whole state is kept in full precision, so that
a fit that was killed and went on ends with the very bits of one that was not.
"""

from __future__ import annotations

import copy
import hashlib
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.models.yolo.semantic import SemanticSegmentationTrainer
from ultralytics.utils.torch_utils import unwrap_model

from inspection.types import StationFault
from training.checkpoint import load_matching, read_state, read_tensors, write_state, write_tensors
from training.cpu_bf16 import in_bf16, worthwhile
from training.pixel_networks import OnBackbone, PixelNetwork
from training.recipe import Method
from training.trunk import Trunk

BEST_NAME = "best.safetensors"


class Cancelled(Exception):
    """A person stopped the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a fit says after an epoch. `metrics`: of the validation pictures, by ultralytics' names."""

    epoch: int  # from 1
    epochs: int
    loss: float
    fitness: float
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a trainer is given besides ultralytics' settings."""

    folder: Path
    seed: int
    threads: int
    start: Path | None  # weights to go on from, as safetensors
    tell: Callable[[Told], None]
    note: Callable[[str], None]  # a sentence for people
    cancelled: Callable[[], bool]
    trunk: Trunk | None = None  # what a network on a backbone stands on


def _epoch_seed(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:4], "big")


class _Kept:
    """Mixed into ultralytics' trainers; `around` is set before `train` is called."""

    around: Surroundings

    # ultralytics calls everything below by these names

    def get_model(self: Any, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """Build the network; weights come from the state or from `--start`, never from a pickle."""
        del weights
        network = super().get_model(cfg, None, verbose)  # type: ignore[misc]
        if self.around.start is not None:
            tensors, _ = read_tensors(self.around.start)
            loaded = load_matching(network, tensors, str(self.around.start))
            self.around.note(
                f"{loaded} of {len(network.state_dict())} tensors start from {self.around.start.name}"
            )
        return in_bf16(network) if worthwhile() else network

    def resume_training(self: Any, ckpt: Any) -> None:
        """Load the newest whole state, if there is one."""
        del ckpt
        held = read_state(self.around.folder)
        if held is None:
            return
        tensors, facts = held
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "ema": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        network: Any = unwrap_model(self.model)
        network.load_state_dict(parts["model"])
        self.ema.ema.load_state_dict(parts["ema"])
        self.ema.updates = facts["updates"]
        self.optimizer.load_state_dict(_optimizer_state(parts["optimizer"], facts))
        self.best_fitness, self.fitness = facts["best_fitness"], facts["fitness"]
        self.stopper.best_fitness, self.stopper.best_epoch = facts["stopper"]
        self.start_epoch = facts["epoch"] + 1
        if hasattr(network.init_criterion(), "updates"):  # the balance of two heads moves with the epochs
            network.criterion = network.init_criterion()
            network.criterion.updates = self.start_epoch - 1
            network.criterion.update()

    def save_model(self: Any) -> Literal[True]:
        """Write the whole state, and the averaged weights where this epoch was the best."""
        ema = self.ema.ema
        if self.best_fitness == self.fitness:
            facts = {"epoch": self.epoch + 1, "fitness": self.fitness}
            write_tensors(self.around.folder / BEST_NAME, ema.state_dict(), facts)
        tensors = {f"model/{name}": tensor for name, tensor in unwrap_model(self.model).state_dict().items()}
        tensors |= {f"ema/{name}": tensor for name, tensor in ema.state_dict().items()}
        state = self.optimizer.state_dict()
        for number, values in state["state"].items():
            tensors |= {
                f"optimizer/{number}/{key}": value for key, value in values.items() if value is not None
            }
        facts = {
            "epoch": self.epoch,
            "updates": self.ema.updates,
            "fitness": self.fitness,
            "best_fitness": self.best_fitness,
            "stopper": [self.stopper.best_fitness, self.stopper.best_epoch],
            "stop": bool(self.stop),
            "groups": [dict(group) for group in state["param_groups"]],
        }
        write_state(self.around.folder, tensors, facts)
        return True

    def _handle_nan_recovery(self: Any, epoch: int) -> bool:
        """A loss that is no number ends the fit: ultralytics would go back to a pickle."""
        if self.loss is not None and not torch.isfinite(self.loss).all():
            raise StationFault(
                f"the loss is no longer a number in epoch {epoch + 1}: lower lr0 in the recipe, or raise "
                "warmup_epochs"
            )
        return False

    def save_metrics(self, metrics: Any) -> None:
        """Told as an event instead."""

    def final_eval(self) -> None:
        """Our own evaluation follows, on what is exported."""


def _optimizer_state(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = tensor
    groups = [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()}
        for group in facts["groups"]
    ]
    return {"state": state, "param_groups": groups}


class _Boxes(_Kept, DetectionTrainer):
    """Boxes."""


class _Instances(_Kept, SegmentationTrainer):
    """Instance masks."""


class _PixelNetworks(SemanticSegmentationTrainer):
    """Networks that learn by our loss, on a backbone where there is one."""

    around: Surroundings

    def get_model(self: Any, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """Build the network."""
        del weights
        classes = self.data["nc"]
        if self.around.trunk is not None:
            return self.set_model_names_for_load(OnBackbone(copy.deepcopy(self.around.trunk), classes))
        network = PixelNetwork(cfg, nc=classes, ch=self.data["channels"], verbose=verbose)
        return self.set_model_names_for_load(network)


class _Pixels(_Kept, _PixelNetworks):
    """A class a pixel."""


class _Whole(_Kept, ClassificationTrainer):
    """A class a picture, from our own folder: no crops, and the policy's changes only."""

    def get_dataset(self: Any) -> dict[str, Any]:
        """What the folder teaches."""
        from training.whole_pictures import described

        return described(Path(self.args.data))

    def get_dataloader(
        self: Any, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        """Pictures and class numbers."""
        from ultralytics.data import build_dataloader

        from training.whole_pictures import WholePictures

        pictures = WholePictures(Path(dataset_path), self.args if mode == "train" else None)
        return build_dataloader(pictures, batch_size, 0, shuffle=mode == "train", rank=rank, device=self.device)  # type: ignore[arg-type]


TRAINERS: dict[Method, type[Any]] = {
    "boxes": _Boxes,
    "instances": _Instances,
    "pixels": _Pixels,
    "whole": _Whole,
}


def _number(value: Any) -> float:
    number = float(value)
    return number if math.isfinite(number) else 0.0


def callbacks(around: Surroundings) -> dict[str, list[Callable[[Any], None]]]:
    """What ultralytics calls back: fixed threads, seeds of the epoch, progress, cancel."""

    def use_threads(_: Any) -> None:
        torch.set_num_threads(around.threads)  # choosing the device set it to the machine's cores less one

    def look(_: Any) -> None:
        if around.cancelled():
            raise Cancelled

    def draw(trainer: Any) -> None:
        look(trainer)
        seed = _epoch_seed(around.seed, trainer.epoch)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)  # albumentations follows it
        trainer.train_loader.generator.manual_seed(seed)
        trainer.train_loader.reset()

    def tell(trainer: Any) -> None:
        losses = trainer.tloss or {}
        around.tell(
            Told(
                epoch=trainer.epoch + 1,
                epochs=trainer.epochs,
                loss=_number(sum(float(value) for value in losses.values())),
                fitness=_number(trainer.fitness or 0.0),
                metrics={key: _number(value) for key, value in trainer.metrics.items()},
                seconds=_number(trainer.epoch_time or 0.0),
            )
        )

    return {
        "on_train_start": [use_threads],
        "on_train_epoch_start": [draw],
        "on_train_batch_end": [look],
        "on_val_batch_end": [look],
        "on_fit_epoch_end": [tell],
    }
