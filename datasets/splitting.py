# SPDX-License-Identifier: AGPL-3.0-or-later
"""Splits as facts of a home: the plan that counts, the sides that pictures were given, and what is new."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, select

from datasets import schema as t
from datasets.beliefs import Believed, believed
from datasets.likeness import looks, twin_pairs
from datasets.shapes import canonical
from datasets.splits import SIDES, Member, Plan, Split, split
from datasets.store import Act, DatasetHome


def split_home(
    home: DatasetHome,
    *,
    who: str,
    why: str,
    plan: Plan | None = None,
    twins: Iterable[Collection[str]] = (),
) -> tuple[Plan, Split]:
    """Give every labelled picture a side and keep it; sides given under the same plan stay as they are."""
    with home.acting("split", who, why) as act:
        pictures = [one for one in believed(act.connection) if one.labelled]
        return split_in(act, pictures, plan, twins)


def split_in(
    act: Act, pictures: Sequence[Believed], plan: Plan | None, twins: Iterable[Collection[str]]
) -> tuple[Plan, Split]:
    """`split_home` within an act that is open."""
    number, present, sides = _current(act.connection)
    plan = plan or present or Plan()
    if plan != present:
        number, sides = None, {}
    by_id = {one.id: one.name for one in pictures}
    earlier = {by_id[i]: side for i, side in sides.items() if i in by_id}
    done = split([member(one) for one in pictures], plan, twins=twins, earlier=earlier)
    if number is None:
        (number,) = act.insert(t.splits, [{"settings": canonical(plan.to_plain())}])
    act.insert(
        t.sides,
        [
            {"split_id": number, "picture_id": one.id, "side": done.sides[one.name]}
            for one in pictures
            if one.id not in sides and done.sides[one.name] in SIDES
        ],
    )
    return plan, done


def near_twins(home: DatasetHome, plan: Plan | None = None) -> list[tuple[str, str]]:
    """Pairs of pictures that look alike, one of them at least without a side so far: what `split` has to know.

    Pairs whose sides are both given already are left to `gatesight data check`: a side stays. Reads every
    picture that it has not seen before, so it is done before an act, not in it.
    """
    with home.reading() as connection:
        _, present, sides = _current(connection)
        pictures = [one for one in believed(connection) if one.labelled]
    settled = sides if plan is None or plan == present else {}
    new = {one.name for one in pictures if one.id not in settled}
    if not new:
        return []
    seen = looks([one.picture(home) for one in pictures], kept=home.kept)
    return [(pair.first, pair.second) for pair in twin_pairs(seen, among=new)]


def names_on(home: DatasetHome, side: str) -> list[str]:
    """Pictures to which the newest split gave this side, in the order in which they came."""
    with home.reading() as connection:
        _, _, sides = _current(connection)
        return [one.name for one in believed(connection) if sides.get(one.id) == side]


def member(one: Believed) -> Member:
    """What a split needs to know of a picture. Its classes: the whole picture's, else those of its marks."""
    marked = {record.class_name for record in one.records if record.label is not None and record.class_name}
    whole = one.whole.class_name if one.whole is not None else None
    return Member(
        name=one.name,
        sha256=one.sha256,
        part=one.part,
        lot=one.lot,
        sequence=one.sequence,
        strata=frozenset(marked | ({whole} if whole else set()) or {"good"}),
        golden=one.golden,
        source_side=one.side,
    )


def _current(connection: Connection) -> tuple[int | None, Plan | None, dict[int, str]]:
    """The newest split: its number, its plan, and the sides it gave so far by picture."""
    row = connection.execute(select(t.splits).order_by(t.splits.c.id.desc()).limit(1)).first()
    if row is None:
        return None, None, {}
    query = select(t.sides.c.picture_id, t.sides.c.side).where(t.sides.c.split_id == row.id)
    return row.id, Plan(**json.loads(row.settings)), {r.picture_id: r.side for r in connection.execute(query)}
