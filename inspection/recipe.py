# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""What "good" means for one product: a frozen, versioned, hashed recipe, read from one JSON file.

Pixels are those of the original camera frame; rectangles are [x, y, width, height]. The hash is over canonical
JSON with every default written out, so two files that mean the same have the same hash. Unknown keys are
refused: a misspelt limit must not be a missing limit.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import msgspec

from inspection.types import Box, StationFault


class Zone(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Rectangle in original image pixels, written [x, y, width, height] in the file."""

    x_px: float
    y_px: float
    width_px: float
    height_px: float

    def __post_init__(self) -> None:
        if self.width_px <= 0 or self.height_px <= 0:
            raise ValueError("a zone is [x, y, width, height] with a width and height above 0")

    def contains(self, box: Box) -> bool:
        """Whether the box lies wholly inside."""
        return (
            self.x_px <= box.x0_px
            and self.y_px <= box.y0_px
            and box.x1_px <= self.x_px + self.width_px
            and box.y1_px <= self.y_px + self.height_px
        )

    def touches(self, box: Box) -> bool:
        """Whether the box lies inside at least in part."""
        return (
            self.x_px < box.x1_px
            and box.x0_px < self.x_px + self.width_px
            and self.y_px < box.y1_px
            and box.y0_px < self.y_px + self.height_px
        )


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When findings of one class reject a part: more than `max_count` that are sure and large enough."""

    min_score: float = 0.5
    min_size_px: float = 0.0  # largest extent of the box
    max_count: int = 0
    ignore: bool = False  # findings of this class never count; said out loud, because silence must not pass
    zones: tuple[Zone, ...] = ()  # counts only where it touches one of these; everywhere when there is none

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_score <= 1.0:
            raise ValueError(f"min_score must lie in 0..1, not {self.min_score}")
        if self.min_size_px < 0 or self.max_count < 0:
            raise ValueError("min_size_px and max_count cannot be negative")


class HealthLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a picture must keep to be judged at all; grey values 0..255 (deeper pixels are scaled down)."""

    min_mean: float = 0.0
    max_mean: float = 255.0
    max_saturated_share: float = 1.0
    max_dark_share: float = 1.0
    min_focus: float = 0.0  # variance of the Laplacian
    frozen: bool = True  # refuse a picture identical to the one before


class ViewRecipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One camera's view of the part."""

    name: str
    ignore_zones: tuple[Zone, ...] = ()  # findings that lie wholly inside one of these do not count


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Everything the rules need, nothing that a model or camera decides. Frozen; `sha256` names it."""

    name: str
    version: int
    id: int  # 1..65535, input register 6
    views: tuple[ViewRecipe, ...]
    classes: dict[str, Limit] = {}
    default_limit: Limit | None = None  # for classes that are not listed; without it, all must be listed
    health: HealthLimits = HealthLimits()

    def __post_init__(self) -> None:
        if not 1 <= self.id <= 65535:
            raise ValueError(f"id must lie in 1..65535, not {self.id}")
        if not self.views:
            raise ValueError("views must name at least one view")

    @cached_property
    def sha256(self) -> str:
        """Hex digest over canonical JSON."""
        # Once through the decoder, so that a 1 given in Python hashes like the 1.0 that a file yields.
        canonical = msgspec.json.decode(msgspec.json.encode(self), type=Recipe)
        return hashlib.sha256(msgspec.json.encode(canonical, order="sorted")).hexdigest()

    @property
    def crc(self) -> int:
        """First 16 bits of the hash (input register 7)."""
        return int(self.sha256[:4], 16)

    def limit(self, defect_class: str) -> Limit:
        """The limit for a class, the default one when it is not listed.

        Where the recipe says nothing, `Limit()`: an unknown defect is a defect. The station does not start with
        such a recipe (inspection.inspector.check_recipe).
        """
        return self.classes.get(defect_class) or self.default_limit or Limit()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; StationFault names the file, the field and what is wrong with it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Recipe)
    except OSError as e:
        raise StationFault(f"Cannot read the recipe {path}: {e.strerror}. Check [station] recipe.") from e
    except msgspec.DecodeError as e:
        raise StationFault(f"The recipe {path} is not valid: {e}. Correct it and start again.") from e


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe so that `load_recipe` gives the same one back."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(recipe, order="deterministic"), indent=2) + b"\n")
