# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a fit starts from: nothing, weights of an earlier one, or a backbone that somebody trained before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.labels import LabelledSet
from inspection.types import StationFault
from training.anomaly.backbone import Backbone, load_backbone, own_backbone
from training.recipe import ON_BACKBONE, TrainingRecipe

if TYPE_CHECKING:
    from training.trunk import Trunk

SCALE_PICTURES = 16
"""Training pictures by which the scale of pixels is chosen that a backbone is shown."""


def start_weights(recipe: TrainingRecipe, start: Path | None) -> Path | None:
    """Weights to go on from, or the backbone. Raises StationFault for what would have to be unpickled."""
    if start is None:
        return own_backbone("--start") if recipe.on_backbone else None
    from training.fit import WEIGHTS_NAME

    path = start / "work" / "fit" / WEIGHTS_NAME if start.is_dir() else start
    if path.suffix in (".pt", ".pth", ".pkl", ".ckpt", ".bin"):
        raise StationFault(
            f"{path} is a pickle, and loading one runs whatever code its maker put in; convert it on a machine "
            "that may be lost: `python -m training.unpickle FILE.pt FILE.safetensors`"
        )
    if path.suffix == ".onnx" and not recipe.on_backbone:
        raise StationFault(
            f"{path}: a backbone is for recipes with network {ON_BACKBONE!r}; {recipe.name} has "
            f"{recipe.network!r} and starts from a .safetensors file or the OUT of a finished job"
        )
    if not path.is_file():
        other = ", or an ONNX backbone" if recipe.on_backbone else ""
        raise StationFault(
            f"no weights at {path}; give the OUT of a finished job, or a .safetensors file{other}"
        )
    return path


def stand_on(
    recipe: TrainingRecipe, start: Path | None, train: LabelledSet
) -> tuple[Trunk | None, Path | None, dict[str, Any] | None]:
    """The backbone of a network that stands on one, the weights to load after that, and what a card says of it.

    `start`: as `start_weights` gave it. Raises StationFault for a backbone that cannot be followed.
    """
    if not recipe.on_backbone or start is None:
        return None, start, None
    from training.trunk import STRIDES, Trunk, scale_for

    if start.suffix != ".onnx":
        from training.checkpoint import read_tensors

        trunk = Trunk.again(read_tensors(start)[0], "model.0.")
        return trunk, start, trunk.about
    from training.pictures import network_pictures

    def cut(scale: float) -> Backbone:
        return load_backbone(start, scale=scale, strides=STRIDES)

    some = train.pictures[:: -(-len(train.pictures) // SCALE_PICTURES)]
    pictures = network_pictures(some, recipe.input_px, recipe.channels, recipe.steps)
    trunk = Trunk.of(cut(scale_for(cut, pictures)))
    return trunk, None, trunk.about
