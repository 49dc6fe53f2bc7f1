# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of a pre-training, read from `recipes/NAME.toml`; everything that decides a weight is in here."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from inspection.types import StationFault

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is drawn, which network learns from it, and how.

    `steps` 0: no fixed end, the time given on the command line decides. `decay_from`: the step from which the
    learning rate falls to nothing at `steps`; 0 lets the time decide as well.
    """

    seed: int
    classes: int  # texture classes
    parts: int  # drawn parts of the twin
    scenes: int  # a batch; each is seen twice
    ranks: int  # processes that learn together, each with batches of its own
    side_px: int
    channels: tuple[int, int, int]
    blocks: tuple[int, int, int]
    weight_texture: float
    weight_defect: float
    weight_structure: float
    weight_contrast: float
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    average: float  # decay of the running mean of the weights, which is what is exported
    steps: int
    decay_from: int

    def digest(self) -> str:
        """Hash of the settings that must not change when a run goes on."""
        fixed = asdict(replace(self, steps=0, decay_from=0))
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def load_settings(name: str) -> Settings:
    """Read a recipe by name. StationFault names the known recipes, or the key that is wrong."""
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise StationFault(f"no pre-training recipe {name!r}; choose one of: {known}")
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    fields = set(Settings.__dataclass_fields__)
    for key in sorted(fields ^ set(raw)):
        raise StationFault(f"{path}: key {key!r} is {'missing' if key in fields else 'unknown: remove it'}")
    raw["channels"], raw["blocks"] = tuple(raw["channels"]), tuple(raw["blocks"])
    return _checked(Settings(**raw), str(path))


def _checked(settings: Settings, source: str) -> Settings:
    if len(settings.channels) != 3 or len(settings.blocks) != 3 or any(c % 2 for c in settings.channels):
        raise StationFault(f"{source}: channels and blocks need three entries each, channels even")
    if not 1 <= settings.ranks <= 64:
        raise StationFault(f"{source}: ranks must be 1 to 64, not {settings.ranks}")
    if settings.side_px % 16 or not 64 <= settings.side_px <= 256:
        raise StationFault(f"{source}: side_px must be a multiple of 16 from 64 to 256, not {settings.side_px}")
    if settings.steps and not 0 <= settings.decay_from <= settings.steps:
        raise StationFault(f"{source}: decay_from must lie between 0 and steps")
    return settings
