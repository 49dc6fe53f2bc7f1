# SPDX-License-Identifier: AGPL-3.0-or-later
"""Training recipes: which network, on what input, with which policy and settings. One TOML file each."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from inspection.prepare import Step, takes_reference
from inspection.types import StationFault

RECIPES = Path(__file__).parent / "recipes"
NETWORKS = Path(__file__).parent / "networks"
Method = Literal["boxes", "instances", "pixels", "whole"]
"""What a network answers with: boxes, instance masks, a class a pixel, a class a picture."""

_STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])
ON_BACKBONE = "backbone_sem"
"""A pixel head on a backbone: the one that `--start` names, else the one that ships."""
_ULTRALYTICS = re.compile(r"yolo(26|11)[nsm](-seg|-sem|-cls)?")
_SUFFIX_METHOD: dict[str, Method] = {"-seg": "instances", "-sem": "pixels", "_sem": "pixels", "-cls": "whole"}
_OUTPUT_KINDS: dict[Method, str] = {
    "boxes": "boxes_n6",
    "instances": "maps_nchw",
    "pixels": "maps_nchw",
    "whole": "scores_nc",
}
_METHOD_TASK = {"boxes": "detect", "instances": "segment", "pixels": "segment", "whole": "classify"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """How a network is taught, and how its score limits are chosen."""

    name: str
    network: str  # a file of networks/, a YOLO26 or YOLO11 of size n, s or m as ultralytics describes it, or
    # ON_BACKBONE
    input_px: int
    channels: int
    policy: str  # augmentation, training/augmentations.py
    task: str = "detect"
    template_share: float = 0.0  # share of the training templates that join as good pictures
    defective_share: float = 0.0  # least, of what an epoch shows, by repeating; 0: as they come
    rendered_train: int = 0
    rendered_val: int = 0
    heads: str = "one2many"  # which of two detection heads is exported, see training/export.py
    weights: str = "last"  # "best": of the epoch that did best on the validation pictures
    escape_target: float = 0.01
    overkill_target: float = 0.02
    protocol: str | None = None
    views: list[str] = field(default_factory=lambda: ["view"])
    prepare: list[dict[str, Any]] = field(default_factory=list)  # as a card says it, inspection/prepare.py
    ultralytics: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What happens to a picture before the letterbox. Raises ValueError for steps that are none."""
        return _STEPS.validate_python(self.prepare)

    @property
    def method(self) -> Method:
        """What the network answers with."""
        suffix = self.network[-4:]
        return _SUFFIX_METHOD.get(suffix, "boxes")

    @property
    def on_backbone(self) -> bool:
        """Whether the network is a head on a backbone that was trained before."""
        return self.network == ON_BACKBONE

    @property
    def output_kind(self) -> str:
        """What the exported graph puts out, as a card names it."""
        return _OUTPUT_KINDS[self.method]

    @property
    def network_path(self) -> str:
        """The network's description, as ultralytics finds it."""
        own = NETWORKS / f"{self.network}.yaml"
        return str(own) if own.is_file() else f"{self.network}.yaml"

    @property
    def epochs(self) -> int:
        """Epochs at most; a patience among the settings may end it earlier."""
        return int(self.ultralytics.get("epochs", 100))


def recipe_names() -> list[str]:
    """All recipes that there are."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_training_recipe(name: str) -> TrainingRecipe:
    """Read `recipes/NAME.toml`, or a TOML file of the user's own.

    Raises StationFault naming the known recipes, or the key that is wrong.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        raise StationFault(
            f"no training recipe {name!r}; choose one of {', '.join(recipe_names())}, or give a TOML file"
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StationFault(f"{path}: not a TOML file ({error})") from None
    allowed = set(TrainingRecipe.__dataclass_fields__) - {"name"}
    unknown = sorted(set(raw) - allowed)
    if unknown:
        raise StationFault(f"{path}: unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    missing = [key for key in ("network", "input_px", "channels", "policy") if key not in raw]
    if missing:
        raise StationFault(f"{path}: key {missing[0]!r} is missing")
    recipe = TrainingRecipe(name=path.stem, **raw)
    _check(recipe, path)
    return recipe


def _check(recipe: TrainingRecipe, path: Path) -> None:
    own = sorted([*(file.stem for file in NETWORKS.glob("*.yaml")), ON_BACKBONE])
    wrong = None
    if recipe.network not in own and not _ULTRALYTICS.fullmatch(recipe.network):
        wrong = (
            f"network {recipe.network!r}: choose one of {', '.join(own)}, or yolo26 or yolo11 with size n, s "
            "or m and nothing, -seg, -sem or -cls"
        )
    elif recipe.task != _METHOD_TASK[recipe.method]:
        wrong = f"task {recipe.task!r}: a network {recipe.network} is for {_METHOD_TASK[recipe.method]!r}"
    elif recipe.input_px % 32 or not 32 <= recipe.input_px <= 4096:
        wrong = f"input_px {recipe.input_px}: choose a multiple of 32 from 32 to 4096"
    elif recipe.channels not in (1, 3):
        wrong = f"channels {recipe.channels}: choose 1 or 3"
    elif not 0 <= recipe.defective_share < 1 or (recipe.defective_share and recipe.method == "whole"):
        wrong = (
            f"defective_share {recipe.defective_share}: choose 0 (as they come) or a share below 1; not for a "
            "network of whole pictures"
        )
    elif recipe.heads not in ("one2many", "one2one"):
        wrong = f"heads {recipe.heads!r}: choose one2many or one2one"
    elif recipe.heads == "one2one" and recipe.network.startswith("yolo11"):
        wrong = "heads 'one2one': a yolo11 has none; choose one2many"
    elif recipe.weights not in ("last", "best"):
        wrong = f"weights {recipe.weights!r}: choose last or best"
    else:
        try:
            if takes_reference(recipe.steps) and recipe.channels != 3:
                wrong = "channels: a reference step makes three planes, so it must be 3"
        except ValueError as error:
            wrong = f"prepare: {str(error).splitlines()[-2].strip()}"
    if wrong is not None:
        raise StationFault(f"{path}: {wrong}")
