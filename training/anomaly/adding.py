# SPDX-License-Identifier: AGPL-3.0-or-later
"""Take in more good parts, or forgive one that was rejected, without fitting again.

The basis stays. The bank gets the patches that lie farther from it than its own entries cover; the pose's
sums go on; the limit is chosen again from the held-out scores, to which each new part adds the score it had
before it was taken in (near-twins among the new pictures are one part; those taught before are not looked at
again). A forgiven part passes afterwards, or nothing is changed. The bundle before is kept under
DIR/history/HASH and named as parent in the new one's card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.labels import Picture
from inspection.types import StationFault
from training.anomaly.backbone import restore_backbone
from training.anomaly.bank import distances, extended
from training.anomaly.bundling import STEPS, Ready, make_bundle, told
from training.anomaly.exchange import alone_in, changed_whole, settle
from training.anomaly.features import Looking, Shown, show
from training.anomaly.folds import Parts, parts_of
from training.anomaly.goods import good_pictures, one_picture
from training.anomaly.sheet import write_sheet
from training.anomaly.state import BACKBONE, State, load_state, save_state
from training.anomaly.taught import Pose, Taught
from training.anomaly.teaching import facts_of, frame_of
from training.anomaly.threshold import choose_limit
from training.job import file_sha256

MOST_ADDED = 400  # entries one call may add to the bank
COVER = 0.9  # patches nearer than this quantile of the bank's own spacing are known already
FORGIVE_STEPS, FORGIVE_STEPS_ALONE = 4, 6  # alone: where there is no bank to put the part into
FORGIVE_SHARE = 0.05  # of all parts taught so far: no step lets one part weigh more
NO_REACH = (0.0, 0.0)  # of a teaching that did not write it down: rather join too many than too few
MOST_NAMED = 200  # pictures that a card names one by one


def add_good(
    source: Path, folder: Path, *, forgive: bool, threads: int, key_dir: Path | None
) -> dict[str, Any]:
    """Take `source` in; StationFault, and nothing changed, when that cannot be done."""
    with alone_in(folder):
        return _add_good(source, folder, forgive=forgive, threads=threads, key_dir=key_dir)


def _add_good(
    source: Path, folder: Path, *, forgive: bool, threads: int, key_dir: Path | None
) -> dict[str, Any]:
    settle(folder)
    state = load_state(folder)
    pictures = (one_picture(source),) if forgive else good_pictures(source)
    known = next((p.name for p in pictures if p.name in state.names), None)
    if known is not None and not forgive:
        raise StationFault(f"{known} was taught already: take it out of {source}, or give it another name.")
    backbone = restore_backbone(folder / BACKBONE, state.facts["backbone"])
    steps = STEPS.validate_python(state.facts["steps"])
    frame = frame_of(state.facts)
    shown = [show(picture, steps, frame) for picture in pictures]
    looking = Looking(backbone, frame, threads=threads)
    turned = [state.taught.basis.turn(looking.features(item.pixels)) for item in shown]
    maps = [state.taught.distance_map(t) for t in turned]
    before = [float(m[item.inside].max()) for m, item in zip(maps, shown, strict=True)]
    scores = [*state.scores, *before]
    fine, coarse = state.facts.get("unlike_parts_reach", NO_REACH)
    # what is forgiven is no part that was taught, whatever its file is called
    forgiven = Parts(names=(f"{pictures[0].name} #{len(state.names)}",))
    new = forgiven if forgive else parts_of(pictures, reach=(fine, coarse))
    parts = [*state.parts, *new.names]
    limit = choose_limit(scores, float(state.facts["wanted_overkill"]), parts=parts)
    taught = _taken_in(state.taught, turned, shown, reach=_spacing(state.taught.bank), weight=1.0)
    taught = replace(taught, limit=limit.value)
    if forgive:
        taught = _forgiven(taught, turned[0], shown[0], pictures[0])
    names = [*state.names, *(picture.name for picture in pictures)]
    ready = Ready(
        backbone=backbone,
        steps=steps,
        frame=frame,
        taught=taught,
        limit=limit,
        name=state.facts["name"],
        method=state.facts["method"],
        data=_pedigree(state, pictures, forgive=forgive),
    )
    with changed_whole(folder) as staged:
        sheet = write_sheet(
            staged,
            names=[p.name for p in pictures],
            scores=before,
            pictures=[item.pixels for item in shown],
            maps=maps,
            limit=limit.value,
        )
        sha256, parity = make_bundle(ready, shown, turned, staged / "bundle", key_dir)
        facts = facts_of(ready, sha256, reach=(fine, coarse))
        save_state(staged, State(taught=taught, names=names, parts=parts, scores=scores, facts=facts))
    result = told(folder, sha256=sha256, worst=sheet, limit=limit, parity=parity)
    if not forgive:
        result |= _witnesses(new, str(result["sentence"]))
    return {**result, "parent": str(state.facts["bundle_sha256"]), "bank_entries": len(taught.bank)}


def _witnesses(new: Parts, sentence: str) -> dict[str, Any]:
    """What a person must know of the parts that the added pictures show."""
    count = len(set(new.names))
    told: dict[str, Any] = {"added_parts": count}
    if new.searched:
        told["near_twins"] = {"groups": new.groups, "pictures": new.pictures}
    if new.groups:
        sentence += (
            f"; {new.groups} groups of look-alikes hold {new.pictures} of the {len(new.names)} pictures added,"
            f" so {count} new {'part counts' if count == 1 else 'parts count'}, each with its worst picture"
        )
    return {**told, "sentence": sentence}


def _spacing(bank: np.ndarray) -> float:
    """How far entries of the bank lie from their neighbours: what is nearer than that is known."""
    if len(bank) < 2:
        return 0.0
    some = bank[:: max(1, len(bank) // 500)]
    gaps = np.array([np.partition(np.linalg.norm(bank - entry, axis=1), 1)[1] for entry in some])
    return float(np.quantile(gaps, COVER))


def _taken_in(
    taught: Taught, turned: Sequence[np.ndarray], shown: Sequence[Shown], *, reach: float, weight: float
) -> Taught:
    """Bank and pose with these parts."""
    grids = [
        t.reshape(taught.lines, taught.columns, -1)[item.inside].reshape(-1, t.shape[1])
        for t, item in zip(turned, shown, strict=True)
    ]
    bank = taught.bank
    if len(bank):
        bank = extended(bank, np.concatenate(grids), reach, MOST_ADDED)
    pose = taught.pose
    if pose is not None:
        sums = pose.sums.copy()
        for t in turned:
            sums.add(pose.local(t), weight)
        pose = Pose.of(sums, pose.modes)
    return replace(taught, bank=bank, pose=pose)


def _forgiven(taught: Taught, turned: np.ndarray, shown: Shown, picture: Picture) -> Taught:
    """Learn more of this one part, until it passes."""
    reach = float(np.quantile(distances(turned, taught.bank), 0.9)) if len(taught.bank) else 0.0
    for step in range(FORGIVE_STEPS if len(taught.bank) else FORGIVE_STEPS_ALONE):
        if taught.distance_map(turned)[shown.inside].max() < taught.limit:
            return taught
        weight = 2.0**step
        if not len(taught.bank) and taught.pose is not None:
            weight = min(weight, max(1.0, FORGIVE_SHARE * taught.pose.sums.parts))
        taught = _taken_in(taught, [turned], [shown], reach=reach / 2 ** (step + 1), weight=weight)
    if taught.distance_map(turned)[shown.inside].max() < taught.limit:
        return taught
    raise StationFault(
        f"{picture.path} cannot be forgiven without forgiving much else: is it really good? If so, teach again"
        " with it among the good pictures."
    )


def _pedigree(state: State, pictures: Sequence[Picture], *, forgive: bool) -> dict[str, Any]:
    """What the card says of where this model comes from."""
    earlier = state.facts["data"]
    change = {
        "what": "forgiven" if forgive else "added",
        "pictures": [{"name": p.name, "sha256": file_sha256(p.path)} for p in pictures[:MOST_NAMED]],
        "count": len(pictures),
    }
    return {
        "good": earlier["good"],
        "changes": [*earlier.get("changes", []), change],
        "parent": state.facts["bundle_sha256"],
    }
