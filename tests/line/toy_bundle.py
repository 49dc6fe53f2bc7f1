# SPDX-License-Identifier: AGPL-3.0-or-later
"""A signed bundle for whole-line tests that takes no time to infer, and a script of what its engine says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inspection.twin.layout import LineOptions
from tests.bundles.tiny_models import bright_spot_model, card_dict
from weights.bundle import trust_bundle, write_bundle

REJECT_EVERY = 7
RECIPE = {
    "name": "toy",
    "version": 1,
    "id": 7,
    "views": [{"name": "top"}],
    "default_limit": {"min_score": 0.9},
    "health": {"frozen": True},
}


def write_toy_bundle(folder: Path) -> tuple[Path, Path]:
    """A bundle whose findings never reach the recipe's limit, and the folder of keys that trusts it."""
    bundle, trusted = folder / "toy", folder / "trusted"
    key = Ed25519PrivateKey.generate()
    write_bundle(bundle, model=bright_spot_model(), card=card_dict(), key=key, recipe=RECIPE)
    trust_bundle(bundle, trusted)
    return bundle, trusted


def toy_options(folder: Path, *, steps: list[dict[str, Any]] | None = None, **line: Any) -> LineOptions:
    """Options of a line whose scripted engine rejects each seventh frame, or does what `steps` say."""
    bundle, trusted = write_toy_bundle(folder)
    script = folder / "script.json"
    finding = {"class": "bright", "score": 0.99, "box": [10, 10, 30, 20]}
    if steps is None:
        steps = [{"every": REJECT_EVERY, "offset": 2, "do": "find", "findings": [finding]}]
    script.write_text(json.dumps({"classes": ["bright", "dark"], "delay_ms": 2.0, "steps": steps}))
    return LineOptions(bundle=bundle, trusted=(trusted,), engine="scripted", engine_script=script, **line)
