# SPDX-License-Identifier: AGPL-3.0-or-later
"""Snapshots: what a training is given, fixed for good and named by its content.

A snapshot is `snapshots/<sha256>.json` in its home: canonical JSON of pictures (by their sha256), labels,
classes, sides, and how they were chosen; no clock, no names of people, no paths. The same content has the same
id everywhere. Whoever reads one reads what was written: file and pictures are hashed first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from datasets import schema as t
from datasets.beliefs import Believed, believed, known_classes
from datasets.labels import LabelledSet, Picture
from datasets.shapes import canonical, label_from_plain, label_to_plain
from datasets.splits import GOLDEN, SIDES, Plan
from datasets.splitting import split_in
from datasets.store import DatasetHome, is_home, open_home
from inspection.storage.files import LEFTOVER, write_durably
from inspection.storage.images import PictureAltered
from inspection.types import StationFault

FORMAT = "gatesight snapshot 1"
LEARNT = ("train", "val")
HOME_VARIABLE = "GATESIGHT_DATASET"
NEWEST = "latest"
"""Stands for the id of the newest snapshot of a home."""
_PREFIX = re.compile(r"^[0-9a-f]{4,64}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A snapshot and what there is to say about it."""

    id: str
    new: bool  # False: nothing has changed since one that there is already
    counts: dict[str, int]
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A snapshot among the others of its home."""

    id: str
    act_id: int
    utc_ns: int
    who: str
    why: str


def take(
    home: DatasetHome,
    *,
    who: str,
    why: str,
    plan: Plan | None = None,
    twins: Iterable[Collection[str]] = (),
) -> Taken:
    """Fix every labelled picture with what counts about it now, and give new ones their sides.

    plan: how to split; default: as the last time. twins: see `splits.split`.
    Raises StationFault when there is nothing to train on.
    """
    with home.acting("snapshot", who, why) as act:
        present = believed(act.connection)
        pictures = [one for one in present if one.labelled]
        plan, done = split_in(act, pictures, plan, twins)
        counts = done.counts()
        if not counts["train"]:
            raise StationFault(
                f"{home.folder}: no labelled picture to train on; import or label some, then try again."
            )
        content = {
            "format": FORMAT,
            "classes": list(known_classes(act.connection)),
            "chosen": {"plan": plan.to_plain(), "which": "every labelled picture"},
            "pictures": [_plain(one, done.sides[one.name]) for one in sorted(pictures, key=lambda p: p.name)],
        }
        data = canonical(content).encode()
        number = hashlib.sha256(data).hexdigest()
        known = act.connection.execute(select(t.snapshots.c.id).where(t.snapshots.c.sha256 == number)).first()
        path = home.snapshots / f"{number}.json"
        for left in home.snapshots.glob(f"*{LEFTOVER}"):  # of acts that were killed: we hold the turn
            left.unlink()
        if not path.is_file() or path.read_bytes() != data:
            write_durably(path, data, mode=None)  # before its row: a snapshot that is listed can be read
        if known is None:
            act.insert(t.snapshots, [{"sha256": number}])
    unlabelled = len(present) - len(pictures)
    said = [f"{unlabelled} pictures are not labelled yet and were left out."] if unlabelled else []
    return Taken(id=number, new=known is None, counts=counts, sentences=(*done.sentences, *said))


def _plain(one: Believed, side: str) -> dict[str, Any]:
    labels = sorted(canonical(label_to_plain(x)) for r in one.records if (x := r.label) is not None)
    return {
        "name": one.name,
        "sha256": one.sha256,
        "kind": one.kind,
        "size": [one.width_px, one.height_px],
        "image_class": None if one.whole is None else one.whole.class_name,
        "labels": [json.loads(text) for text in labels],
        "part": one.part,
        "lot": one.lot,
        "sequence": one.sequence,
        "template": None if one.template is None else list(one.template),
        "facts": one.facts,
        "side": side,
    }


def listed(home: DatasetHome) -> list[Listed]:
    """Every snapshot of a home, oldest first."""
    query = select(t.snapshots.c.sha256, t.snapshots.c.act_id, t.acts.c.utc_ns, t.acts.c.who, t.acts.c.why)
    with home.reading() as connection:
        rows = connection.execute(
            query.join(t.acts, t.acts.c.id == t.snapshots.c.act_id).order_by(t.snapshots.c.id)
        ).all()
    return [Listed(id=r.sha256, act_id=r.act_id, utc_ns=r.utc_ns, who=r.who, why=r.why) for r in rows]


def usual_homes(dataset: Path | None = None) -> list[Path]:
    """Where snapshots are looked for: the folder that was named, else $GATESIGHT_DATASET, else ./dataset."""
    if dataset is not None:
        return [dataset]
    named = os.environ.get(HOME_VARIABLE)
    return [Path(named) if named else Path("dataset")]


def find(prefix: str, homes: Sequence[Path] | None = None) -> tuple[Path, str]:
    """(home, whole id) of the snapshot whose id begins so; StationFault when none does, or several.

    `latest` is the newest of the first home.
    """
    homes = usual_homes() if homes is None else homes
    if prefix == NEWEST:
        with open_home(homes[0]) as home:
            return homes[0], find_in(home, prefix).id
    found = []
    for folder in homes:
        if is_home(folder):
            with open_home(folder) as home:
                found += [(folder, one.id) for one in listed(home) if one.id.startswith(_checked(prefix))]
    if len({number for _, number in found}) == 1:
        return found[0]
    looked = " and ".join(str(folder) for folder in homes)
    if found:
        raise StationFault(
            f"Several snapshots in {looked} begin with {prefix}: "
            f"{', '.join(number[:16] for _, number in found)}; give more of the id."
        )
    raise StationFault(
        f"No snapshot in {looked} begins with {prefix}: name the home with --dataset or ${HOME_VARIABLE}, "
        "and see `gatesight data snapshot DATASET --list`."
    )


def find_in(home: DatasetHome, prefix: str) -> Listed:
    """The snapshot of an open home whose id begins so; `latest` is its newest."""
    if prefix == NEWEST:
        known = listed(home)
        if not known:
            raise StationFault(
                f"{home.folder} has no snapshot yet: run `gatesight data snapshot {home.folder}`"
            )
        return known[-1]
    found = [one for one in listed(home) if one.id.startswith(_checked(prefix))]
    if len(found) == 1:
        return found[0]
    which = "Several snapshots begin" if found else "No snapshot begins"
    raise StationFault(f"{which} with {prefix} in {home.folder}: see `gatesight data snapshot DATASET --list`.")


def _checked(prefix: str) -> str:
    if not _PREFIX.match(prefix):
        raise StationFault(
            f"{prefix!r} is no id of a snapshot: give 4 to 64 of its hexadecimal digits, or `latest`."
        )
    return prefix


def load(home: DatasetHome, prefix: str) -> dict[str, Any]:
    """Content of a snapshot as it was written; StationFault when its file is gone or was altered."""
    number = find_in(home, prefix).id
    path = home.snapshots / f"{number}.json"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StationFault(
            f"Snapshot {number[:16]} cannot be read ({error.strerror}): take {path} back from a backup."
        ) from error
    if hashlib.sha256(data).hexdigest() != number:
        raise StationFault(
            f"Snapshot {number[:16]} was altered since it was taken ({path}): take the file back from a backup."
        )
    return json.loads(data)


def read_snapshot(home: DatasetHome, prefix: str) -> dict[str, LabelledSet]:
    """Side (train, val, test, golden) -> pictures of a snapshot, to train and measure on.

    Refused when the snapshot or a picture of it was altered, or when it learns from what is golden by now.
    """
    content = load(home, prefix)
    with home.reading() as connection:
        golden = golden_bytes(connection)
    learnt = [p for p in content["pictures"] if p["side"] in LEARNT and p["sha256"] in golden]
    if learnt:
        raise StationFault(
            f"Snapshot {prefix} learns from {len(learnt)} pictures that are golden by now ({learnt[0]['name']} "
            "is one): golden pictures never train; take a new snapshot."
        )
    sides: dict[str, list[Picture]] = {side: [] for side in (*SIDES, GOLDEN)}
    for plain in content["pictures"]:
        if plain["side"] in sides:
            sides[plain["side"]].append(_picture(home, plain))
    classes = tuple(content["classes"])
    return {
        side: LabelledSet(classes=classes, pictures=tuple(pictures), source=home.folder)
        for side, pictures in sides.items()
    }


def learnt_in(home: DatasetHome, names: Collection[str]) -> dict[str, int]:
    """Id of each snapshot that learns from some of these pictures -> from how many of them."""
    wanted, found = set(names), {}
    for one in listed(home):
        learnt = [p for p in load(home, one.id)["pictures"] if p["side"] in LEARNT and p["name"] in wanted]
        if learnt:
            found[one.id] = len(learnt)
    return found


def golden_bytes(connection: Connection) -> frozenset[str]:
    """sha256 of every picture in the golden set."""
    query = select(t.pictures.c.sha256).join(t.golden, t.golden.c.picture_id == t.pictures.c.id)
    return frozenset(connection.execute(query).scalars())


def _picture(home: DatasetHome, plain: dict[str, Any]) -> Picture:
    template = plain["template"]
    return Picture(
        name=plain["name"],
        path=_checked_file(home, plain["name"], plain["sha256"], plain["kind"]),
        width_px=plain["size"][0],
        height_px=plain["size"][1],
        labels=tuple(label_from_plain(label) for label in plain["labels"]),
        image_class=plain["image_class"],
        part=plain["part"],
        lot=plain["lot"],
        sequence=plain["sequence"],
        template=None if template is None else _checked_file(home, plain["name"], *template),
        facts=plain["facts"],
    )


def _checked_file(home: DatasetHome, name: str, digest: str, kind: str) -> Path:
    try:
        present = home.images.get(digest, kind)
    except PictureAltered:
        raise StationFault(
            f"Picture {name} was altered since it was imported ({home.images.path(digest, kind)}): "
            "take the file back from a backup."
        ) from None
    if present is None:
        raise StationFault(
            f"Picture {name} is gone ({home.images.path(digest, kind)}): take the file back from a backup."
        )
    return home.images.path(digest, kind)


def side_counts(content: dict[str, Any]) -> dict[str, int]:
    """Pictures on each side of a snapshot's content."""
    return dict(Counter(picture["side"] for picture in content["pictures"]))
