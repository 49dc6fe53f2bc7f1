# SPDX-License-Identifier: AGPL-3.0-or-later
"""What of a running line a person should see next: disagreements, what the audit drew, what teaches most.

Three lists share the places. Disagreements of the shadow come first, up to half of them: passes that the
candidate would reject before all else. Then what was drawn by chance and waits, oldest first, because rates
hang on it. Then what the sampler picks among kept pictures (`datasets/sampling.py`): unsure, new-looking, far
in time from what was reviewed. A list that has less leaves its places to the next. What the station said is not
told: who reviews should look at the part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from datasets.features import Describe, read_grey
from datasets.line_parts import NS_PER_S, PASS, REJECT, LinePart, parts_with_id
from datasets.sampling import Pool, propose
from inspection.recipe import Recipe
from inspection.records import schema as r
from inspection.records.disagreements import for_review
from inspection.storage.images import ImageStore, PictureAltered

_CLASSES = ("good", "defective")


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """One part to look at. why: disputed | audit | uncertain | new | time."""

    part: LinePart
    why: str
    text: str
    pictures: tuple[Path, ...] = ()


Key = tuple[int, int, int]


def disagreements(connection: Connection, reviewed: Collection[Key], most: int) -> list[Next]:
    """Parts on which the newest candidate in shadow would have decided otherwise, not reviewed yet."""
    s = r.shadow.c
    shadow_sha256 = connection.execute(select(s.shadow_sha256).order_by(s.id.desc()).limit(1)).scalar()
    if shadow_sha256 is None:
        return []
    told = [one for one in for_review(connection, shadow_sha256, limit=most + len(reviewed)) if one.differs]
    parts = parts_with_id(connection, [one.part_id for one in told if one.part_id is not None])
    found = []
    for one in told:
        part = parts.get(one.part_id or 0)
        if part is not None and part.key not in reviewed:
            apart = abs(one.score - one.shadow_score)
            text = f"the candidate in shadow would decide otherwise (scores {apart:.2f} apart)"
            found.append(Next(part=part, why="disputed", text=text))
    return found[:most]


def drawn(
    parts: Iterable[LinePart], draws: Callable[[LinePart], bool], reviewed: Collection[Key], most: int
) -> list[Next]:
    """What the audit drew and nobody has reviewed, oldest first."""
    found: list[Next] = []
    for part in parts:
        if len(found) >= most:
            break
        if part.key not in reviewed and draws(part):
            found.append(Next(part=part, why="audit", text="drawn by chance: the rates rest on it"))
    return found


def sampled(
    connection: Connection,
    store: ImageStore,
    recipe: Recipe,
    describe: Describe,
    *,
    reviewed: Mapping[Key, Any],
    leave: Collection[Key],
    pool: int,
    most: int,
) -> list[Next]:
    """What the sampler picks among the newest `pool` parts with a kept picture."""
    if most < 1:
        return []
    kept = pictures_of(connection, store, newest_with_picture(connection, pool))
    parts = parts_with_id(connection, list(kept))
    open_ = [p for p in parts.values() if p.key not in reviewed and p.key not in leave]
    known = [p for p in parts.values() if p.key in reviewed]
    if not open_:
        return []
    beliefs = suspicion(connection, recipe, [part.id for part in open_])
    picks = propose(
        Pool(
            names=tuple(str(part.id) for part in open_),
            features=_features(open_, kept, describe),
            labelled=_features(known, kept, describe),
            beliefs=(np.stack([1 - beliefs, beliefs], axis=1),),
            classes=_CLASSES,
            times_s=np.array([part.trigger_utc_ns / NS_PER_S for part in open_]),
            labelled_times_s=np.array([key[2] / NS_PER_S for key in reviewed]),
        ),
        most,
    )
    return [Next(part=parts[int(pick.name)], why=pick.why.value, text=pick.text) for pick in picks]


def suspicion(connection: Connection, recipe: Recipe, ids: Sequence[int]) -> np.ndarray:
    """How near each part came to a rejection, 0..1; 0.5 is the limit, of the class that came nearest to its."""
    f = r.findings.c
    found = dict.fromkeys(ids, 0.0)
    for row in connection.execute(select(f.part_id, f.defect_class, f.score).where(f.part_id.in_(list(ids)))):
        limit = min(max(recipe.limit(row.defect_class).min_score, 1e-6), 1.0 - 1e-6)
        score = min(max(row.score, 0.0), 1.0)
        near = 0.5 * score / limit if score < limit else 0.5 + 0.5 * (score - limit) / (1 - limit)
        found[row.part_id] = max(found[row.part_id], near)
    return np.array([found[number] for number in ids])


def newest_with_picture(connection: Connection, most: int) -> list[int]:
    """Ids of the newest parts that were passed or rejected and have a picture."""
    v, p = r.views.c, r.parts.c
    with_picture = select(v.part_id).where(v.image_sha256.is_not(None))
    query = select(p.id).where(p.outcome.in_([PASS, REJECT]), p.id.in_(with_picture))
    return list(connection.execute(query.order_by(p.id.desc()).limit(most)).scalars())


def pictures_of(connection: Connection, store: ImageStore, ids: Sequence[int]) -> dict[int, tuple[Path, ...]]:
    """Pictures of these parts that are kept and whole, by the part's id."""
    v = r.views.c
    query = select(v.part_id, v.image_sha256, v.image_type).where(
        v.part_id.in_(list(ids)), v.image_sha256.is_not(None)
    )
    found: dict[int, tuple[Path, ...]] = {}
    for row in connection.execute(query.order_by(v.part_id.desc(), v.camera)):
        try:
            there = store.get(row.image_sha256, row.image_type) is not None
        except PictureAltered:
            there = False
        if there:
            path = store.path(row.image_sha256, row.image_type)
            found[row.part_id] = (*found.get(row.part_id, ()), path)
    return found


def _features(parts: Sequence[LinePart], kept: Mapping[int, Sequence[Path]], describe: Describe) -> np.ndarray:
    """The mean over the views of each part."""
    rows = [np.mean([describe([read_grey(path)])[0] for path in kept[part.id]], axis=0) for part in parts]
    return np.stack(rows) if rows else np.zeros((0, 1), np.float32)
