# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a station runs by, by hash: station.toml and recipe for the life of its supervisor, the bundle until the
registry names another.

Every process reads these files itself, and a process that dies is started again while people edit. The
supervisor takes the hashes once and hands them to each child; a child that reads anything else refuses to run.
So gate, inspector and camera workers (whose health limits are the recipe's) never follow two recipes at a
time, and the recipe's hash in the journal speaks for all of them. A new recipe is an orderly stop and start.

The bundle's hash changes by one orderly act alone (inspection/succession.py): the registry names it, the
inspector has loaded and checked it, the gate has it on record; then the supervisor hands out the new hash.

Hashes are of what the files mean, as with a recipe's `sha256`: a comment may be added at any time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from inspection.config import StationConfig
from inspection.recipe import Recipe, load_recipe
from inspection.types import StationFault
from weights.history import BUNDLES, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """SHA-256 of configuration, recipe and bundle manifest; `bundle` is "" where there is no manifest."""

    station: str
    recipe: str
    bundle: str

    @classmethod
    def of(cls, config: StationConfig) -> Pins:
        """The hashes of what stands on disk now. StationFault when it cannot be read."""
        return cls(
            station=config.sha256,
            recipe=load_recipe(config.station.recipe).sha256,
            bundle=read(config.registry_dir).active or manifest_sha256(config.station.bundle),
        )

    @classmethod
    def parse(cls, text: str) -> Pins:
        """Inverse of `text`; ValueError for anything else."""
        station, recipe, bundle = text.split(",")
        return cls(station=station, recipe=recipe, bundle=bundle)

    @property
    def text(self) -> str:
        """For a child's command line."""
        return f"{self.station},{self.recipe},{self.bundle}"

    def check_station(self, config: StationConfig, path: Path) -> None:
        """StationFault unless this is the configuration that the supervisor read."""
        if config.sha256 != self.station:
            raise _changed(path, "configuration", config.sha256, self.station)

    def check_recipe(self, recipe: Recipe, path: Path) -> None:
        """StationFault unless this is the recipe that the supervisor read."""
        if recipe.sha256 != self.recipe:
            raise _changed(path, "recipe", recipe.sha256, self.recipe)

    def check_bundle(self, sha256: str, path: Path) -> None:
        """StationFault unless this is the bundle that the supervisor saw."""
        if sha256 != self.bundle:
            raise _changed(path, "bundle", sha256, self.bundle)


def bundle_path(config: StationConfig, sha256: str) -> Path:
    """Where the bundle of that hash lies: in the registry, or where station.toml says.

    A copy that the registry should hold and does not is not looked for elsewhere: it is missing.
    """
    copy = config.registry_dir / BUNDLES / sha256
    if sha256 and (copy.is_dir() or sha256 in read(config.registry_dir).states):
        return copy
    return config.station.bundle


def manifest_sha256(bundle: Path) -> str:
    """A bundle's name is the hash of its manifest; "" where there is none (scripted engine)."""
    try:
        return hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    except OSError:
        return ""  # the inspector refuses a bundle that it needs and cannot read


def _changed(path: Path, what: str, found: str, pinned: str) -> StationFault:
    return StationFault(
        f"{path} was changed while the station runs: it started with {what} {pinned[:12] or '(none)'} and finds"
        f" {found[:12] or 'none'}; put the old one back, or stop the station and start it again."
    )
