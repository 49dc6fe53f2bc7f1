# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signed toy bundles that differ in one figure, their evaluations, and a station that could run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bundles.tiny_models import bright_spot_model, card_dict
from weights.bundle import write_bundle
from weights.signing import public_bytes, public_text

RECIPE = {"name": "toy", "version": 1, "id": 7, "views": [{"name": "top"}], "default_limit": {"min_score": 0.9}}
STATION = """
[station]
name = "test"
data_dir = "data"
recipe = "recipe.json"
bundle = "first"
trusted = ["trusted"]

[line]
pulses_per_mm = 20.0
min_pitch_mm = 56.0
max_speed_mm_s = 800.0
travel_mm = 400.0
gate_window_mm = 40.0
deadline_ms = 280.0

[[camera]]
serial = "LS0001"
width_px = 64
height_px = 48

[engine]
kind = "onnx"
threads = 1
"""


class Bench:
    """A folder with a trusted key, three bundles and a station.toml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = Ed25519PrivateKey.generate()
        self.trusted = folder / "trusted"
        self.trusted.mkdir()
        (self.trusted / "here.pub").write_text(public_text(public_bytes(self.key)))
        self.registry = folder / "data" / "registry"
        (folder / "recipe.json").write_text(json.dumps(RECIPE))
        self.station(STATION)
        self.shas: dict[str, str] = {}
        for name in ("first", "second", "third"):
            self.bundle(name)

    def station(self, text: str) -> Path:
        """Write station.toml."""
        (self.folder / "station.toml").write_text(text)
        return self.folder / "station.toml"

    def bundle(self, name: str, *, key: Ed25519PrivateKey | None = None, **card: Any) -> Path:
        """A new signed bundle; its parity is proven unless the card says otherwise."""
        training = {"parity": {"pictures": 24, "verdicts": {"pictures": 24, "verdict_flips": 0}}}
        self.shas[name] = write_bundle(
            self.folder / name,
            model=bright_spot_model(),
            card=card_dict() | {"name": name, "training": training} | card,
            key=key or self.key,
            recipe=RECIPE,
        )
        return self.folder / name

    def evaluation(
        self, name: str, *, escapes: int = 0, overkill: int = 0, golden: str = "g" * 64, of: str = ""
    ) -> Path:
        """What `gatesight evaluate --json` would have written: 60 defective parts, 100 good ones."""
        parts = [{"part": f"bad {i}", "defective": True, "rejected": i >= escapes} for i in range(60)]
        parts += [{"part": f"good {i}", "defective": False, "rejected": i < overkill} for i in range(100)]
        value = {
            "bundle": self.shas[of or name],
            "data_sha256": golden,
            "part": {"defective": 60, "escapes": escapes, "good": 100, "overkill": overkill},
            "parts": parts,
        }
        path = self.folder / f"{name}-{escapes}-{overkill}.json"
        path.write_text(json.dumps(value))
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three bundles of one make."""
    return Bench(tmp_path)


@pytest.fixture
def command(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run `weights.models`; exit code, JSON, standard error."""
    from weights.models import main

    def run(*words: object, station: bool = False) -> tuple[int, dict[str, Any], str]:
        place = ["--config", bench.folder / "station.toml"]
        if not station:
            place = ["--registry", bench.registry, "--trusted", bench.trusted]
        code = main([str(word) for word in (*words, *place, "--json")])
        said = capsys.readouterr()
        return code, json.loads(said.out), said.err

    return run
