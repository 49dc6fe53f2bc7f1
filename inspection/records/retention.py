# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which pictures go when the store is over budget: passed parts first, oldest first; rows stay, pixels go."""

from __future__ import annotations

from sqlalchemy import Engine, case, delete, func, select, update

from inspection.records import schema as t
from inspection.storage.images import ImageStore

_SHED_FIRST = case((t.images.c.retention == "pass", 0), (t.images.c.retention == "borderline", 1), else_=2)
_AT_ONCE = 200  # bounded, so that the recorder's heartbeat keeps its pace


def keep_within(engine: Engine, store: ImageStore, budget_bytes: int) -> int:
    """Forget pictures until the store holds at most budget_bytes, at most 200 a call; how many went.

    The row goes first: a row without its file would be a picture that cannot be shown, a file without its
    row is only space.
    """
    with engine.begin() as connection:
        excess = int(connection.execute(select(func.coalesce(func.sum(t.images.c.bytes), 0))).scalar_one())
        excess -= budget_bytes
        if excess <= 0:
            return 0
        oldest = connection.execute(
            select(t.images.c.id, t.images.c.sha256, t.images.c.type, t.images.c.bytes)
            .order_by(_SHED_FIRST, t.images.c.id)
            .limit(_AT_ONCE)
        ).all()
        going = []
        for row in oldest:
            if excess <= 0:
                break
            going.append(row)
            excess -= row.bytes
        connection.execute(delete(t.images).where(t.images.c.id.in_([row.id for row in going])))
        digests = {(row.sha256, row.type) for row in going}
        kept = connection.execute(
            select(t.images.c.sha256, t.images.c.type).where(t.images.c.sha256.in_([d for d, _ in digests]))
        ).all()
        digests -= {(row.sha256, row.type) for row in kept}  # the same bytes may belong to another part too
        connection.execute(
            update(t.views)
            .where(t.views.c.image_sha256.in_([d for d, _ in digests]))
            .values(image_sha256=None, image_type=None)
        )
    for digest, kind in digests:
        store.remove(digest, kind)
    return len(going)
