# SPDX-License-Identifier: AGPL-3.0-or-later
"""Take a labelled set into a dataset home: all of it, or nothing.

Pictures go first, each durable under its own content's name; then one transaction adds every fact about them.
A killed import leaves at most pictures that no fact names, only space, and half-written files that the next
import removes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from datasets import schema as t
from datasets.beliefs import Believed, believed
from datasets.labels import LabelledSet, Picture
from datasets.revising import first_rows, revision
from datasets.shapes import canonical, picture_kind
from datasets.store import INTAKE_NAME, Act, DatasetHome
from inspection.types import StationFault

_AT_ONCE = 16  # a disk syncs many files about as fast as one
SIDES = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What one import brought."""

    pictures: int  # new ones
    known: int  # of them the home had: same name, same bytes, same labels
    labels: int  # new records
    replaced: int  # known pictures whose labels changed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A picture whose bytes are in the store already."""

    picture: Picture
    name: str
    sha256: str
    kind: str
    bytes: int
    template: tuple[str, str] | None


def add(
    home: DatasetHome,
    labelled: LabelledSet,
    *,
    who: str,
    why: str,
    side: str | None = None,
    unlabelled: bool = False,
    replace: bool = False,
    prefix: str = "",
    kind: str = "import",
) -> Added:
    """Add pictures and their labels in one act: all or nothing.

    side: `train`, `val` or `test` where the source says so; splits keep to it.
    unlabelled: nobody has looked at these pictures yet, so that no label does not mean good.
    replace: a known picture with other labels gets these instead (new records that name the old ones).
    prefix: goes before every name, to keep sources apart.
    Raises StationFault, with nothing changed, for a name that stands for other bytes already, for other labels
    of a known picture without `replace`, and for a file that is no picture.
    """
    if side is not None and side not in SIDES:
        raise StationFault(f"{side!r} is no side of a split: give one of {', '.join(SIDES)}.")
    names = [prefix + picture.name for picture in labelled.pictures]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StationFault(f"{labelled.source}: two pictures are named {twice}; each needs a name of its own.")
    with _coming_in(home), ThreadPoolExecutor(_AT_ONCE) as pool:
        stored = list(pool.map(lambda picture: _store(home, picture, prefix), labelled.pictures))
    with home.acting(kind, who, why) as act:
        return _add_facts(act, labelled, stored, side=side, unlabelled=unlabelled, replace=replace)


@contextmanager
def _coming_in(home: DatasetHome) -> Iterator[None]:
    """Say that pictures come in. Who finds nobody else at it removes the half-written files of killed imports.

    A lock ends with its process: where it can be had alone, whoever wrote what lies there is dead.
    """
    descriptor = os.open(home.folder / INTAKE_NAME, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # what lies there may be theirs; who comes alone will sweep
        else:
            home.images.sweep_leftovers()
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _store(home: DatasetHome, picture: Picture, prefix: str) -> _Stored:
    sha256, kind, size = _put(home, picture.path)
    template = None if picture.template is None else _put(home, picture.template)[:2]
    name = prefix + picture.name
    return _Stored(picture=picture, name=name, sha256=sha256, kind=kind, bytes=size, template=template)


def _put(home: DatasetHome, path: Path) -> tuple[str, str, int]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StationFault(f"{path} cannot be read ({error.strerror}): nothing was imported.") from error
    kind = picture_kind(data, str(path))
    try:
        return home.images.put(data, kind), kind, len(data)
    except OSError as error:
        raise StationFault(
            f"{path} cannot be stored in {home.folder} ({error.strerror}): nothing was imported."
        ) from error


def _add_facts(
    act: Act,
    labelled: LabelledSet,
    stored: Sequence[_Stored],
    *,
    side: str | None,
    unlabelled: bool,
    replace: bool,
) -> Added:
    present = {one.name: one for one in believed(act.connection, names=[one.name for one in stored])}
    new = [one for one in stored if one.name not in present]
    known = [one for one in stored if one.name in present]
    add_classes(act, [*labelled.classes, *(x.class_name for p in labelled.pictures for x in p.labels)])
    ids = act.insert(t.pictures, [_picture_row(one) for one in new])
    act.insert(t.links, [_link_row(i, one, side) for i, one in zip(ids, new, strict=True)])
    records = (
        []
        if unlabelled
        else [
            row
            for i, one in zip(ids, new, strict=True)
            for row in first_rows(i, one.picture.labels, one.picture.image_class)
        ]
    )
    replaced = 0
    relinked = [row for one in known if replace and (row := _relinked(present[one.name], one, side))]
    act.insert(t.links, relinked)
    for one in known:
        rows = _rows_of_known(present[one.name], one, unlabelled=unlabelled, replace=replace)
        replaced += bool(rows)
        records += rows
    act.insert(t.labels, records)
    return Added(pictures=len(new), known=len(known) - replaced, labels=len(records), replaced=replaced)


def add_classes(act: Act, names: Sequence[str]) -> None:
    """Make class names known, in this order; those that are known keep their place."""
    present = set(act.connection.execute(select(t.classes.c.name)).scalars())
    act.insert(t.classes, [{"name": name} for name in dict.fromkeys(names) if name not in present])


def _picture_row(one: _Stored) -> dict[str, Any]:
    return {
        "name": one.name,
        "sha256": one.sha256,
        "kind": one.kind,
        "bytes": one.bytes,
        "width_px": one.picture.width_px,
        "height_px": one.picture.height_px,
    }


def _link_row(picture_id: int, one: _Stored, side: str | None) -> dict[str, Any]:
    picture = one.picture
    template_sha256, template_kind = one.template or (None, None)
    return {
        "picture_id": picture_id,
        "part": picture.part,
        "lot": picture.lot,
        "sequence": picture.sequence,
        "side": side,
        "template_sha256": template_sha256,
        "template_kind": template_kind,
        "facts": canonical(picture.facts),
    }


def _relinked(present: Believed, one: _Stored, side: str | None) -> dict[str, Any] | None:
    """A new link for a known picture whose source says more of it, or other things, than before."""
    row = _link_row(present.id, one, side)
    template_sha256, template_kind = present.template or (None, None)
    before: dict[str, Any] = {
        "picture_id": present.id,
        "part": present.part,
        "lot": present.lot,
        "sequence": present.sequence,
        "side": present.side,
        "template_sha256": template_sha256,
        "template_kind": template_kind,
        "facts": canonical(present.facts),
    }
    row = {key: before[key] if value is None else value for key, value in row.items()}
    return row if row != before else None


def _rows_of_known(present: Believed, one: _Stored, *, unlabelled: bool, replace: bool) -> list[dict[str, Any]]:
    """What a picture that the home has already needs: nothing when its labels are the same."""
    if present.sha256 != one.sha256:
        raise StationFault(
            f"{one.picture.path}: the dataset has another picture named {one.name}; import with another prefix."
        )
    if unlabelled:
        return []
    rows = revision(present, one.picture.labels, one.picture.image_class)
    if rows and present.labelled and not replace:
        raise StationFault(
            f"{one.picture.path}: the dataset has other labels for {one.name}; "
            "import with --replace to let these count instead, or leave the picture out."
        )
    return rows
