# SPDX-License-Identifier: AGPL-3.0-or-later
"""Say something about a picture: mark, judge, correct, take away, link, lock. Each with a name and a reason.

A correction names the record it replaces. Two people who correct the same record at once clash, and the second
is told so: nobody's word is lost in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select

from datasets import schema as t
from datasets.adding import add_classes
from datasets.beliefs import Believed, LabelRecord, believed, one_picture
from datasets.labels import Label
from datasets.revising import gone_row, mark_row, revision, whole_row
from datasets.shapes import canonical
from datasets.store import Act, DatasetHome
from inspection.types import StationFault


def mark(home: DatasetHome, name: str, label: Label, *, who: str, why: str) -> int:
    """Mark a defect on a picture; the number of the record."""
    with home.acting("label", who, why) as act:
        add_classes(act, [label.class_name])
        return act.insert(t.labels, [mark_row(one_picture(act.connection, name).id, label)])[0]


def judge(home: DatasetHome, name: str, image_class: str, *, who: str, why: str) -> int:
    """Say what a picture shows as a whole (`good`, or what is wrong); replaces what was said before."""
    with home.acting("label", who, why) as act:
        one = one_picture(act.connection, name)
        row = whole_row(one.id, image_class, None if one.whole is None else one.whole.id)
        return act.insert(t.labels, [row])[0]


def correct(home: DatasetHome, record: int, label: Label, *, who: str, why: str) -> int:
    """Put another mark in the place of one; the number of the new record."""
    with home.acting("label", who, why) as act:
        old, picture = _counting(act, record)
        if old.label is None:
            raise StationFault(f"Record {record} is no mark on a picture: judge the picture instead.")
        add_classes(act, [label.class_name])
        return act.insert(t.labels, [mark_row(picture.id, label, record)])[0]


def take_away(home: DatasetHome, record: int, *, who: str, why: str) -> int:
    """Take a mark or a judgement away; the number of the record that says so."""
    with home.acting("label", who, why) as act:
        _, picture = _counting(act, record)
        return act.insert(t.labels, [gone_row(picture.id, record)])[0]


def settle(
    home: DatasetHome,
    name: str,
    labels: Sequence[Label],
    image_class: str | None,
    *,
    who: str,
    why: str,
    seen: Collection[int] | None = None,
) -> list[int]:
    """Make exactly these labels count; the numbers of the records that this took.

    seen: numbers of the records the person saw; when others count by now, it is refused.
    """
    with home.acting("label", who, why) as act:
        one = one_picture(act.connection, name)
        if seen is not None and set(seen) != {record.id for record in one.records}:
            raise StationFault(
                f"The labels of {name} changed meanwhile: look at them again, nothing was saved."
            )
        return settle_in(act, one, labels, image_class)


def settle_in(act: Act, one: Believed, labels: Sequence[Label], image_class: str | None) -> list[int]:
    """`settle` within an act that is open."""
    add_classes(act, [label.class_name for label in labels])
    return act.insert(t.labels, revision(one, labels, image_class))


def link(
    home: DatasetHome,
    name: str,
    *,
    who: str,
    why: str,
    part: str | None = None,
    lot: str | None = None,
    sequence: str | None = None,
) -> None:
    """Say which part, lot or sequence a picture belongs to; what is not given stays as it was."""
    with home.acting("link", who, why) as act:
        one = one_picture(act.connection, name)
        template_sha256, template_kind = one.template or (None, None)
        row = {
            "picture_id": one.id,
            "part": one.part if part is None else part,
            "lot": one.lot if lot is None else lot,
            "sequence": one.sequence if sequence is None else sequence,
            "side": one.side,
            "template_sha256": template_sha256,
            "template_kind": template_kind,
            "facts": canonical(one.facts),
        }
        act.insert(t.links, [row])


def lock_golden(home: DatasetHome, names: Sequence[str], *, who: str, why: str) -> int:
    """Lock pictures into the golden set, for good: no snapshot from now on trains on them. How many are new."""
    with home.acting("golden", who, why) as act:
        found = believed(act.connection, names=names)
        if missing := set(names) - {one.name for one in found}:
            raise StationFault(f"The dataset has no picture named {min(missing)!r}: nothing was locked.")
        return len(act.insert(t.golden, [{"picture_id": one.id} for one in found if not one.golden]))


def _counting(act: Act, record: int) -> tuple[LabelRecord, Believed]:
    """A record that counts, and its picture; refused when there is none or another replaced it."""
    query = select(t.pictures.c.name).join(t.labels, t.labels.c.picture_id == t.pictures.c.id)
    name = act.connection.execute(query.where(t.labels.c.id == record)).scalar()
    if name is None:
        raise StationFault(f"There is no label record {record}.")
    picture = one_picture(act.connection, name)
    for one in picture.records:
        if one.id == record:
            return one, picture
    raise StationFault(
        f"Somebody changed label record {record} of {name} meanwhile: look at the picture again."
    )
