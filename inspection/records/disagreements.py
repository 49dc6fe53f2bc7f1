# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the shadow said, for people: disagreements first, and how often the two agree.

Shadow answers are no part of the journal: a records database that is rebuilt begins without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, case, func, insert, select

from inspection.messages import ShadowJudged
from inspection.records import schema as t
from inspection.records.projection import OUTCOME_NAMES
from inspection.types import Outcome

_TOGETHER_NS = 3_600_000_000_000  # an epoch comes again; the same part's shadow is never so late


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One part on which active bundle and candidate differ, or agree; `part_id` names it in `parts`."""

    part_id: int | None
    epoch: int
    ordinal: int
    seq: int
    outcome: str
    score: float
    shadow_outcome: str
    shadow_score: float
    utc_ns: int

    @property
    def differs(self) -> bool:
        """Whether the candidate would have decided otherwise."""
        return self.outcome != self.shadow_outcome


def keep(engine: Engine, answers: Sequence[ShadowJudged]) -> None:
    """Write what the shadow said, in one transaction."""
    rows = [
        {
            "epoch": a.epoch,
            "ordinal": a.ordinal,
            "seq": a.seq,
            "utc_ns": a.utc_ns,
            "bundle_sha256": a.bundle_sha256,
            "outcome": OUTCOME_NAMES[Outcome(a.outcome)],
            "score": a.score,
            "shadow_sha256": a.shadow_sha256,
            "shadow_outcome": OUTCOME_NAMES[Outcome(a.shadow_outcome)],
            "shadow_score": a.shadow_score,
            "rejected_by": ", ".join(a.rejected_by),
            "agrees": a.outcome == a.shadow_outcome,
        }
        for a in answers
    ]
    if rows:
        with engine.begin() as connection:
            connection.execute(insert(t.shadow), rows)


def for_review(connection: Connection, shadow_sha256: str, limit: int = 100) -> list[Disagreement]:
    """What a person should see next of this candidate: disagreements first.

    Among them first the parts that the active bundle passes and the candidate rejects (either it finds what
    escapes today, or it is overkill), then the reverse; each by how far the two scores lie apart. Where all
    agree, the parts on which the scores differ most.
    """
    s = t.shadow.c
    order = case((s.agrees, 2), (s.outcome == OUTCOME_NAMES[Outcome.PASS], 0), else_=1)
    same_part = (
        (t.parts.c.epoch == s.epoch)
        & (t.parts.c.ordinal == s.ordinal)
        & t.parts.c.trigger_utc_ns.between(s.utc_ns - _TOGETHER_NS, s.utc_ns)
    )
    query = (
        select(
            t.parts.c.id.label("part_id"),
            *(s.epoch, s.ordinal, s.seq, s.outcome, s.score, s.shadow_outcome, s.shadow_score, s.utc_ns),
        )
        .select_from(t.shadow.outerjoin(t.parts, same_part))
        .where(s.shadow_sha256 == shadow_sha256)
        .order_by(order, func.abs(s.score - s.shadow_score).desc(), s.id)
        .limit(limit)
    )
    return [Disagreement(**row._mapping) for row in connection.execute(query)]


def agreement(connection: Connection, shadow_sha256: str) -> dict[str, Any]:
    """How many parts the candidate has judged, by both outcomes: {"pass/pass": n, "pass/reject": n, ...}."""
    s = t.shadow.c
    query = (
        select(s.outcome, s.shadow_outcome, func.count())
        .where(s.shadow_sha256 == shadow_sha256)
        .group_by(s.outcome, s.shadow_outcome)
    )
    return {f"{active}/{shadow}": count for active, shadow, count in connection.execute(query)}
