# SPDX-License-Identifier: AGPL-3.0-or-later
"""One teaching, from a folder of good pictures to a signed bundle and all that lies beside it."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.labels import Picture
from inspection.types import StationFault
from training.anomaly.backbone import Backbone, load_backbone, own_backbone, save_backbone
from training.anomaly.bank import BANK
from training.anomaly.bundling import STEPS, Ready, make_bundle, told
from training.anomaly.exchange import alone_in, changed_whole, settle
from training.anomaly.features import Frame, Looking, Shown, show
from training.anomaly.fit import POSE_SHARE, TEACHABLE, WORTH, Outcome, Teaching
from training.anomaly.folds import Folds, folds_of, unlike_parts_reach
from training.anomaly.goods import LEAST_GOOD, good_pictures
from training.anomaly.preparing import Preparation, choose_preparation
from training.anomaly.sheet import write_sheet
from training.anomaly.state import ARRAYS, BACKBONE, State, save_state
from training.anomaly.taught import Taught
from training.anomaly.threshold import OVERKILL
from training.job import file_sha256

SCALES = (1 / 255, 1.0)
SCALE_PARTS = 24
"""Good parts that the scale of pixels is tried on."""
SHAPE_PARTS = 120
"""Good parts that stretching is tried on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person asked for. backbone None: the one that ships. scale None: tried.

    network: torchvision's name of the network whose weights `backbone` holds; then scale and centring are its.
    """

    good: Path
    out: Path
    backbone: Path | None = None
    network: str | None = None
    layers: tuple[str, ...] = ()
    scale: float | None = None
    order: str = "rgb"
    centred: bool = False
    method: str = "auto"
    bank: int = BANK
    overkill: float = OVERKILL
    least_separation: float = TEACHABLE
    gain: bool = True
    align: bool = True
    shapes: str = "auto"
    name: str = "good-only"
    seed: int = 0
    threads: int = 2
    key_dir: Path | None = None


def teach(wishes: Wishes) -> dict[str, Any]:
    """Teach and write; what a person wants to know. StationFault, and nothing left, when it cannot be done."""
    with alone_in(wishes.out, make=True):
        return _teach(wishes)


def _teach(wishes: Wishes) -> dict[str, Any]:
    started = time.monotonic()
    pictures, folds = pictures_and_folds(wishes)
    shapes = wishes.shapes
    if shapes == "auto":
        shapes = "stretch" if wishes.method == "position" else "canvas"
    preparation = choose_preparation(pictures, gain=wishes.gain, align=wishes.align, shapes=shapes)
    backbone, scales = _backbone(wishes, pictures, preparation)
    if wishes.shapes == wishes.method == "auto" and "canvas" in preparation.why:
        preparation = _shaped(wishes, pictures, folds, backbone, preparation)
    if "stretch" in preparation.why and wishes.method == "auto":
        wishes = replace(wishes, method="position")
    frame = preparation.frame(backbone.strides[0])
    shown = [show(picture, preparation.steps, frame) for picture in pictures]
    looking = Looking(backbone, frame, threads=wishes.threads)
    teaching = Teaching(
        looking, shown, folds.numbers, seed=wishes.seed, bank=wishes.bank, parts=folds.parts.names
    )
    outcome = teaching.run(method=wishes.method, overkill=wishes.overkill, least=wishes.least_separation)
    taught_s = time.monotonic() - started
    method = _method(wishes, preparation, outcome, folds, scales)
    ready = Ready(
        backbone=backbone,
        steps=preparation.steps,
        frame=frame,
        taught=outcome.taught,
        limit=outcome.limit,
        name=wishes.name,
        method=method,
        data={"good": described(wishes.good, pictures), "parent": None},
    )
    return _finish(
        wishes,
        ready,
        pictures=pictures,
        folds=folds,
        teaching=teaching,
        shown=shown,
        outcome=outcome,
        taught_s=taught_s,
    )


def pictures_and_folds(wishes: Wishes) -> tuple[tuple[Picture, ...], Folds]:
    """The good pictures and their folds. StationFault where nothing can come of them."""
    if wishes.out.is_dir():
        settle(wishes.out)
    if (wishes.out / "bundle").exists() or (wishes.out / ARRAYS).exists():
        raise StationFault(
            f"{wishes.out} holds a teaching already: add to it with --add, or choose another --out."
        )
    pictures = good_pictures(wishes.good)
    if len(pictures) < LEAST_GOOD:
        raise StationFault(
            f"not teachable: {wishes.good} holds {len(pictures)} good pictures, {LEAST_GOOD} are the least;"
            " 20 to 300 make a good start."
        )
    folds = folds_of(pictures, wishes.seed)
    if len(set(folds.numbers)) < 2:
        raise StationFault(
            f"not teachable: all pictures of {wishes.good} show one part: no score can be checked on another."
        )
    return pictures, folds


def _shaped(
    wishes: Wishes,
    pictures: Sequence[Picture],
    folds: Folds,
    backbone: Backbone,
    canvas: Preparation,
) -> Preparation:
    """For pictures of many shapes: stretched to one where a place then means the same in all, else the canvas.

    It does where the position explains `POSE_SHARE` of the features' variance, and the position-wise Gaussian
    alone tells planted defects apart better than the bank, by `WORTH`.
    """
    stretched = choose_preparation(pictures, gain=wishes.gain, align=wishes.align, shapes="stretch")
    drawn = np.sort(np.random.default_rng([wishes.seed, 2]).permutation(len(pictures))[:SHAPE_PARTS])
    numbers, parts = [folds.numbers[i] for i in drawn], [folds.parts.names[i] for i in drawn]
    if len(set(numbers)) < 2:
        return canvas
    frame = stretched.frame(backbone.strides[0])
    shown = [show(pictures[i], stretched.steps, frame) for i in drawn]
    looking = Looking(backbone, frame, threads=wishes.threads)
    tried = Teaching(looking, shown, numbers, seed=wishes.seed, bank=500, parts=parts)
    share, found = tried.position_gains()
    better = share >= POSE_SHARE and found["position"] >= found["bank"] + WORTH
    chosen = stretched if better else canvas
    figures = {name: round(value, 4) for name, value in {**found, "pose_share": share}.items()}
    return replace(chosen, why={**chosen.why, "stretching_tried": figures})


def _finish(
    wishes: Wishes,
    ready: Ready,
    *,
    pictures: Sequence[Picture],
    folds: Folds,
    teaching: Teaching,
    shown: Sequence[Shown],
    outcome: Outcome,
    taught_s: float,
) -> dict[str, Any]:
    """Write all of it, which takes its place as a whole: a folder without a bundle holds nothing."""
    names = [picture.name for picture in pictures]
    with changed_whole(wishes.out) as staged:
        worst = write_sheet(
            staged,
            names=names,
            scores=outcome.scores,
            pictures=[item.pixels for item in shown],
            maps=outcome.maps,
            limit=outcome.limit.value,
        )
        save_backbone(ready.backbone, staged / BACKBONE)
        sha256, parity = make_bundle(ready, shown, teaching.turned, staged / "bundle", wishes.key_dir)
        save_state(
            staged,
            State(
                taught=outcome.taught,
                names=names,
                parts=list(folds.parts.names),
                scores=outcome.scores,
                facts=facts_of(ready, sha256, reach=unlike_parts_reach(pictures, folds.parts.names)),
            ),
        )
    result = told(wishes.out, sha256=sha256, worst=worst, limit=outcome.limit, parity=parity)
    return {
        **result,
        "method": dict(ready.method),
        "taught_s": round(taught_s, 2),
        "sentence": f"{result['sentence']}; {folds.sentence()}",
    }


def facts_of(ready: Ready, sha256: str, *, reach: Sequence[float]) -> dict[str, Any]:
    """What `adding` needs to go on, beside the arrays. reach: how far pictures of different parts agree."""
    return {
        "bundle_sha256": sha256,
        "name": ready.name,
        "steps": STEPS.dump_python(ready.steps, mode="json"),
        "frame": asdict(ready.frame),
        "backbone": ready.backbone.facts(),
        "unlike_parts_reach": list(reach),
        "wanted_overkill": ready.limit.wanted,
        "method": dict(ready.method),
        "data": dict(ready.data),
    }


def _backbone(
    wishes: Wishes, pictures: Sequence[Picture], preparation: Preparation
) -> tuple[Backbone, dict[str, float]]:
    """The cut backbone; where nobody says how its pixels are scaled, as tells planted defects best."""
    if wishes.network is not None:
        return _torchvision(wishes, wishes.network), {}
    path = wishes.backbone or own_backbone("--backbone")

    def loaded(scale: float) -> Backbone:
        return load_backbone(
            path, layers=wishes.layers, scale=scale, order=wishes.order, centred=wishes.centred
        )

    stated = wishes.scale or loaded(1.0).stated_scale
    if wishes.centred and stated is None:
        stated = 1 / 255
    if stated is not None:
        return loaded(stated), {}
    some = range(0, len(pictures), max(1, len(pictures) // SCALE_PARTS))
    found: dict[float, float] = {}
    shown: list[Shown] = []
    for scale in SCALES:
        backbone = loaded(scale)
        frame = preparation.frame(backbone.strides[0])
        shown = shown or [show(pictures[i], preparation.steps, frame) for i in some]
        looking = Looking(backbone, frame, threads=wishes.threads)
        tried = Teaching(looking, shown, [n % 2 for n in range(len(shown))], seed=wishes.seed, bank=500)
        found[scale] = tried.run(method="bank", overkill=wishes.overkill, least=0.0).separation
    best = max(SCALES, key=lambda scale: found[scale])
    return loaded(best), {f"{scale:.6g}": round(value, 4) for scale, value in found.items()}


def _torchvision(wishes: Wishes, network: str) -> Backbone:
    """A network of torchvision's with the weights that a person brings; the card names those."""
    if wishes.backbone is None:
        raise StationFault(f"--network {network} needs --backbone FILE: its weights, .pth or .safetensors.")
    from training.anomaly.torchvision_backbone import export_torchvision

    with tempfile.TemporaryDirectory(prefix="gatesight-backbone-") as folder:
        path = Path(folder) / f"{network}.onnx"
        export_torchvision(network, wishes.backbone, path)
        cut = load_backbone(path, layers=wishes.layers, scale=wishes.scale or 1 / 255, centred=True)
    return replace(cut, name=f"{network}, {wishes.backbone.name}", sha256=file_sha256(wishes.backbone))


def _method(
    wishes: Wishes, preparation: Preparation, outcome: Outcome, folds: Folds, scales: dict[str, float]
) -> dict[str, Any]:
    return {
        "name": _name(outcome.taught),
        "preparation": preparation.why,
        "features_averaged": preparation.average,
        "smoothings": preparation.smoothings,
        **folds.figures(),
        "planted_defects_auroc": outcome.separations,
        "teachable_from": wishes.least_separation,
        "pose_share": round(outcome.pose_share, 4),
        "scales_tried": scales,
        "seed": wishes.seed,
    }


def _name(taught: Taught) -> str:
    if taught.pose is None:
        return "bank"
    return "bank and position" if len(taught.bank) else "position"


def described(source: Path, pictures: Sequence[Picture]) -> dict[str, Any]:
    """What a card says of the good pictures: names and bytes, never where they lay."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.name}\n{file_sha256(picture.path)}\n".encode())
    return {"source": source.name, "pictures": len(pictures), "sha256": digest.hexdigest()}


def frame_of(facts: dict[str, Any]) -> Frame:
    """The frame that `facts_of` wrote down."""
    return Frame(**facts["frame"])
