# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ship a backbone: `python -m training.backbone.export --checkpoint FILE --out DIR [--figures JSON]`.

Writes DIR/gatesight_backbone.onnx (input `images`, float32 (1, 3, H, W), grey levels 0..255, H and W free
multiples of
16; outputs `stride4`, `stride8`, `stride16`) and DIR/card.json with its SHA-256 and origin. ONNX Runtime must
answer
as torch does, or nothing is written. Nothing volatile goes into the ONNX file: the same weights give the same
bytes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inspection.types import StationFault
from training.backbone.batches import draw_batch
from training.backbone.network import STRIDES, Backbone
from training.backbone.run import new_backbone
from training.backbone.scenes import draw_bank
from training.backbone.settings import Settings
from training.job import file_sha256

MODEL = "gatesight_backbone.onnx"
CARD = "card.json"
LIMIT_BYTES = 8 * 1024 * 1024
OPSET = 18
PARITY = 1e-4
"""Largest difference between torch and ONNX Runtime, as a share of a map's largest value."""
_PARITY_SIDES = ((64, 64), (96, 160))


def read_run(checkpoint: Path) -> tuple[Settings, Backbone, dict[str, Any]]:
    """Read a run's settings, its averaged network and its facts; StationFault with one sentence."""
    settings_file = checkpoint.parent / "settings.json"
    for path in (checkpoint, settings_file):
        if not path.is_file():
            raise StationFault(f"{path} is missing: give the checkpoint inside the folder of a run")
    raw = json.loads(settings_file.read_text(encoding="utf-8"))
    raw["channels"], raw["blocks"] = tuple(raw["channels"]), tuple(raw["blocks"])
    settings = Settings(**raw)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state["digest"] != settings.digest():
        raise StationFault(f"{settings_file} does not belong to {checkpoint.name}: its digest differs")
    network = new_backbone(settings)
    network.load_state_dict(state["mean"])
    facts = {name: state[name] for name in ("step", "spent_s", "plan", "history")}
    return settings, network, facts


def fold(network: Backbone) -> Backbone:
    """Return a copy whose batch norms have gone into the convolutions before them."""
    network = copy.deepcopy(network).eval()
    pairs = [module for module in network.modules() if isinstance(module, nn.Sequential)]
    for pair in pairs:
        layers = list(pair)
        if len(layers) != 2:
            continue
        layer, norm = layers
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            pair[0], pair[1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
    return network.requires_grad_(False)


def write_onnx(network: Backbone, target: Path) -> float:
    """Write the folded network; returns the parity figure. Raises StationFault when the two disagree."""
    folded = fold(network)
    names = [f"stride{stride}" for stride in STRIDES]
    axes = {"images": {0: "batch", 2: "height", 3: "width"}}
    axes |= {name: {0: "batch", 2: f"{name}_height", 3: f"{name}_width"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's advice to use another exporter
        torch.onnx.export(
            folded,
            (torch.zeros(1, 3, 64, 64),),
            str(target),
            input_names=["images"],
            output_names=names,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    _state_scale(target)
    gap = parity(network, target)
    if gap > PARITY:
        target.unlink()
        raise StationFault(f"{target} differs from the trained network by {gap:.1e}: not exported")
    if target.stat().st_size > LIMIT_BYTES:
        target.unlink()
        raise StationFault(f"{target} is larger than {LIMIT_BYTES} bytes: take fewer channels or blocks")
    return gap


def _state_scale(target: Path) -> None:
    """Say in the file that it takes pixels as they are: teaching reads `gatesight.scale`."""
    model = onnx.load(target)
    onnx.helper.set_model_props(model, {"gatesight.scale": "1"})
    target.write_bytes(model.SerializeToString(deterministic=True))


def parity(network: Backbone, model: Path) -> float:
    """Largest difference between the unfolded torch network and the file, on drawn scenes of two shapes."""
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    network = network.eval()
    bank = draw_bank(0, 14, 2)
    scene = draw_batch(0, 0, bank, 2, 160).second.astype(np.float32)
    worst = 0.0
    for height, width in _PARITY_SIDES:
        images = np.ascontiguousarray(scene[:1, :, :height, :width])
        with torch.no_grad():
            ours = [m.numpy() for m in network(torch.from_numpy(images))]
        for mine, other in zip(ours, session.run(None, {"images": images}), strict=True):
            worst = max(worst, float(np.abs(mine - np.asarray(other)).max() / max(1e-6, np.abs(mine).max())))
    return worst


def card_of(
    settings: Settings, facts: dict[str, Any], model: Path, *, gap: float, figures: Any, machine: str
) -> dict[str, Any]:
    """What a user must know of the file; `figures` as measured, with sample sizes."""
    return {
        "card_version": 1,
        "name": "gatesight backbone",
        "licence": "AGPL-3.0-or-later",
        "sha256": file_sha256(model),
        "bytes": model.stat().st_size,
        "input": {
            "name": "images",
            "layout": "float32 (N, 3, H, W), grey levels 0..255, H and W multiples of 16; scaling is inside",
        },
        "outputs": {
            f"stride{stride}": {"stride": stride, "channels": channels}
            for stride, channels in zip(STRIDES, settings.channels, strict=True)
        },
        "trained_on": "Pictures drawn by formulas while training (training/backbone: textures, scenes, "
        "spoil; the twin's drawn parts and defects). No natural image, no photograph, no data set, no "
        "other weights.",
        "recipe": asdict(settings),
        "steps": facts["step"],
        "decay_from": facts["plan"][0] or None,  # None: ended before the rate began to fall
        "planned_steps": facts["plan"][1] or None,
        "scenes_seen": facts["step"] * settings.scenes * settings.ranks,
        "code_commits": facts["history"],
        "machine": machine,
        "hours_of_clock": round(facts["spent_s"] / 3600, 2),
        "parity": {
            "against": "torch, batch norms unfolded",
            "largest_relative_difference": float(f"{gap:.1e}"),
        },
        "figures": figures,
        "intended_use": "Local features for good-only detection. Not a classifier; judge it on your own parts.",
    }


def ship(checkpoint: Path, folder: Path, figures: Any, machine: str = "not stated") -> dict[str, Any]:
    """Write model and card into `folder`, each whole; returns the card."""
    settings, network, facts = read_run(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / (MODEL + ".tmp")
    gap = write_onnx(network, fresh)
    card = card_of(settings, facts, fresh, gap=gap, figures=figures, machine=machine)
    note = folder / (CARD + ".tmp")
    note.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for path in (fresh, note):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        path.rename(path.with_suffix(""))
    return card


def main(argv: list[str] | None = None) -> int:
    """Export one run; prints the hash. 3 with one sentence when that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figures", type=Path, help="JSON of measured figures for the card")
    parser.add_argument("--machine", default="not stated", help="what it learned on, for the card")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        figures = json.loads(given.figures.read_text(encoding="utf-8")) if given.figures else None
        card = ship(given.checkpoint, given.out, figures, given.machine)
    except StationFault as e:
        sys.stderr.write(f"{e}\n")
        return 3
    sys.stdout.write(f"{card['sha256']}  {given.out / MODEL}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
