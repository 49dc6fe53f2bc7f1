# SPDX-License-Identifier: AGPL-3.0-or-later
"""A training job on disk: its recipe, its folder, and the record that ties a model to its data and code."""

from __future__ import annotations

import hashlib
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspection.types import StationFault

RECIPES = Path(__file__).parent / "recipes"
NETWORKS = Path(__file__).parent / "networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """How a network is taught: which one, on what input, with which policy and settings."""

    name: str
    network: str
    input_px: int
    channels: int
    policy: str
    template_share: float
    rendered_train: int
    rendered_val: int
    ultralytics: dict[str, Any]

    @property
    def network_path(self) -> Path:
        """The network's description for ultralytics."""
        return NETWORKS / f"{self.network}.yaml"


def load_training_recipe(name: str) -> TrainingRecipe:
    """Read `recipes/NAME.toml`. Raises StationFault naming the known recipes, or the key that is wrong."""
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise StationFault(f"no training recipe {name!r}; choose one of: {known}")
    raw = tomllib.loads(path.read_text())
    allowed = set(TrainingRecipe.__dataclass_fields__) - {"name"}
    unknown = sorted(set(raw) - allowed)
    if unknown:
        raise StationFault(f"{path}: unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    raw = {"rendered_train": 0, "rendered_val": 0, "template_share": 0.0, **raw}
    missing = sorted(allowed - set(raw))
    if missing:
        raise StationFault(f"{path}: key {missing[0]!r} is missing")
    return TrainingRecipe(name=name, **raw)


def code_commit() -> str:
    """Return the commit of this checkout with `+changes` when it differs, or `unknown` outside one."""
    here = Path(__file__).parent
    ours = (".", "../inspection/twin", "../inspection/pixels.py")
    try:
        head = _git(here, "rev-parse", "HEAD")
        changes = _git(here, "status", "--porcelain", "--", *ours)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+changes" if changes else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.strip()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
