# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a job learns from: labelled sets found, checked and hashed, before anything is trained."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datasets import snapshots
from datasets.coco import read_coco
from datasets.labels import Label, LabelledSet, Picture
from datasets.store import open_home
from inspection.types import Box, StationFault
from training.job import file_sha256
from training.recipe import TrainingRecipe
from training.rendered import CHOICE_SEEDS, TRAIN_SEEDS, write_rendered
from training.yolo_folder import GOOD, defect_class, taught_classes, unmarked


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The sets of a job. `snapshot`: content id of the snapshot that they come from."""

    train: LabelledSet
    val: LabelledSet
    test: LabelledSet | None = None
    snapshot: str | None = None
    rendered: bool = False


def read_sets(recipe: TrainingRecipe, train: Path | None, val: Path | None, test: Path | None) -> Given:
    """Read COCO files. Raises StationFault in one sentence for a missing or spoilt one."""
    if train is None or val is None:
        raise StationFault(
            "nothing to train on: give --snapshot ID, or both --train COCO and --val COCO"
            + (", or --rendered" if recipe.rendered_train else "")
        )
    return Given(train=read_coco(train), val=read_coco(val), test=None if test is None else read_coco(test))


def read_snapshot_sets(prefix: str, dataset: Path | None) -> Given:
    """The sides of a snapshot; `latest` is the newest of its home.

    Raises StationFault when it is not found, altered, or was never split.
    """
    homes = snapshots.usual_homes(dataset)
    home_folder, number = snapshots.find(prefix, homes)
    with open_home(home_folder) as home:
        sides = snapshots.read_snapshot(home, number)
    named = {side: replace(one, source=Path(f"snapshot {number[:16]}")) for side, one in sides.items()}
    if not named["train"].pictures or not named["val"].pictures:
        raise StationFault(
            f"snapshot {number[:16]} has no split into train and val: run `gatesight data split {home_folder}` "
            "and then take a new snapshot"
        )
    test = named["test"] if named["test"].pictures else None
    return Given(train=named["train"], val=named["val"], test=test, snapshot=number)


def draw_sets(recipe: TrainingRecipe, folder: Path, seed: int) -> Given:
    """Draw rendered parts; complete sets are left as they are."""
    if not recipe.rendered_train:
        raise StationFault(
            f"recipe {recipe.name} has no rendered_train; give --train and --val COCO files, or --snapshot ID"
        )
    spread = 1000 * seed
    train = write_rendered(
        folder / "rendered_train", first_seed=TRAIN_SEEDS.start + spread, pictures=recipe.rendered_train
    )
    val = write_rendered(
        folder / "rendered_val",
        first_seed=CHOICE_SEEDS.start + spread,
        pictures=recipe.rendered_val,
        dense=False,
    )
    return Given(train=read_coco(train), val=read_coco(val), rendered=True)


def check_sets(recipe: TrainingRecipe, given: Given) -> list[str]:
    """Refuse what nothing can be learnt from (StationFault); return sentences that a person should read."""
    train, val = given.train, given.val
    sets = [("train", train), ("val", val), *([("test", given.test)] if given.test is not None else [])]
    for name, pictures in sets:
        if not pictures.pictures:
            raise StationFault(f"the {name} set ({pictures.source}) holds no pictures; give one that does")
        if recipe.method != "whole" and pictures.classes != train.classes:
            raise StationFault(
                f"the classes differ: train has {', '.join(train.classes) or 'none'}, {name} has "
                f"{', '.join(pictures.classes) or 'none'}; bring both to the same list in the same order"
            )
    classes = taught_classes(recipe, train)
    if not classes:
        raise StationFault("the train set names no class of defect; label at least one, or use gatesight teach")
    notes = _of_train(recipe, train, classes)
    return notes + _of_val(recipe, val, classes)


def _of_train(recipe: TrainingRecipe, train: LabelledSet, classes: tuple[str, ...]) -> list[str]:
    notes = []
    left_out = unmarked(recipe, train.pictures)
    taught = [picture for picture in train.pictures if picture not in left_out]
    if recipe.method == "whole":
        seen = Counter(defect_class(picture) for picture in taught)
        if not seen[GOOD]:
            raise StationFault(
                "the train set shows no good picture; whole pictures are told apart from good ones"
            )
    else:
        seen = Counter(label.class_name for picture in taught for label in picture.labels)
    if not any(seen[name] for name in classes):
        raise StationFault(
            "the train set shows no defect; label some, or use gatesight teach, which learns from good parts"
        )
    if left_out:
        notes.append(f"{len(left_out)} training pictures are called defective and show no label: left out")
    absent = [name for name in classes if not seen[name]]
    if absent:
        notes.append(f"no training picture shows {', '.join(absent)}: the candidate cannot know it")
    if recipe.task == "segment":
        bare = sum(not label.polygons and label.mask is None for picture in taught for label in picture.labels)
        if bare:
            notes.append(f"{bare} training labels have no outline: their whole boxes are taught as defect")
    return notes


def _of_val(recipe: TrainingRecipe, val: LabelledSet, classes: tuple[str, ...]) -> list[str]:
    if all(picture.good for picture in val.pictures):
        raise StationFault(
            "the val set shows no defect, so no score limit can be chosen on it; put defective pictures in it"
        )
    strange = {defect_class(picture) for picture in val.pictures} - {GOOD, *classes}
    if recipe.method == "whole" and strange:
        raise StationFault(f"the val set shows {min(strange)!r}, which no training picture shows; add some")
    if not any(picture.good for picture in val.pictures) and not val.templates:
        return ["the val set shows no good part: overkill is unknown, and the limits rest on escapes alone"]
    return []


def refuse_twins(given: Given) -> None:
    """Refuse a picture that lies in two of the sets, byte for byte: what it measures would be memory."""
    sets = {"train": given.train, "val": given.val, "test": given.test}
    seen: dict[str, tuple[str, Picture]] = {}
    for name, pictures in sets.items():
        for picture in pictures.pictures if pictures is not None else ():
            other, twin = seen.setdefault(file_sha256(picture.path), (name, picture))
            if other != name:
                raise StationFault(
                    f"{picture.name} of {name} is the same picture as {twin.name} of {other}: split the data "
                    "anew (gatesight data split), or take one of them out"
                )


def described(pictures: LabelledSet) -> dict[str, Any]:
    """What a card says of a set: its size and the hash of all that it teaches."""
    digest = hashlib.sha256(json.dumps(pictures.classes).encode())
    for picture in pictures.pictures:
        files = [file_sha256(path) for path in (picture.path, picture.template) if path is not None]
        labels = [asdict(label) for label in picture.labels]
        fact = [picture.name, files, picture.image_class, picture.part, picture.lot, labels]
        digest.update(json.dumps(fact, sort_keys=True).encode())
    return {
        "source": pictures.source.name,
        "sha256": digest.hexdigest(),
        "pictures": len(pictures.pictures),
        "labels": sum(len(picture.labels) for picture in pictures.pictures),
        "good": sum(picture.good for picture in pictures.pictures),
    }


def as_taught(recipe: TrainingRecipe, pictures: LabelledSet, classes: tuple[str, ...]) -> LabelledSet:
    """The set in the terms of the candidate: for whole pictures, one label over all of each defective one."""
    if recipe.method != "whole":
        return pictures
    told = []
    for picture in pictures.pictures:
        kind = defect_class(picture)
        box = Box(x0_px=0, y0_px=0, x1_px=picture.width_px, y1_px=picture.height_px)
        labels = () if kind == GOOD else (Label(class_name=kind, box=box),)
        told.append(replace(picture, labels=labels))
    return replace(pictures, classes=classes, pictures=tuple(told))
