# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reviews from a dataset home, for the watch: what people said of the parts that the audit drew.

What nobody has judged yet speaks for the bundle that is watched, and against the one before it. So nothing that
is still to be reviewed can withdraw a bundle, in whatever order people work: a list with all rejects first and
the passes left for tomorrow is no evidence. The price is patience, never haste. The baseline is what had been
said of the bundle before when the promotion was made, and stays so: a baseline that moves while one looks at it
would be a new test at every move, and all of them together would err more often than one may.

Overkill is the share of good rejects among all parts that are good or were passed: a pass needs no review for
it, so a few dozen reviewed rejects say as much as a thousand reviewed parts. Where only a share of the rejects
is drawn, the same share of the passes counts. Escapes are defective ones among the passes that were drawn.
Reviews of parts that were chosen, not drawn, count for nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from datasets.line_audit import AuditPlan, plan_for
from datasets.line_parts import PASS, LinePart
from datasets.line_review import Review, Reviews, Said, standing_of
from weights.history import Standing
from weights.watch import Baseline, Seen, Streams


@dataclass(slots=True)
class _Before:
    """The baseline in the making: (bad ones, parts) of both kinds."""

    overkill: list[int] = field(default_factory=lambda: [0, 0])
    escapes: list[int] = field(default_factory=lambda: [0, 0])


def streams_of(
    standing: Standing,
    parts: Iterable[LinePart],
    plans: Sequence[AuditPlan],
    every: Sequence[Review],
    *,
    tolerated: float = 0.0,
) -> Streams:
    """The active bundle's parts since its promotion, against those of the bundle before; all in line order.

    every: all reviews of the station, in the order in which they were made.
    """
    since_ns = standing.entry(standing.act_number).utc_ns
    now, then = standing_of(every), standing_of(one for one in every if one.utc_ns <= since_ns)
    before = _Before()
    overkill: list[Seen] = []
    escapes: list[Seen] = []
    judged = waiting = 0
    for part in parts:
        plan = plan_for(plans, part)
        if plan is None:
            continue
        drawn = plan.draws(part)
        if part.bundle_sha256 == standing.actives[-2]:
            if part.trigger_utc_ns < since_ns:
                _count_before(before, plan, part, _said(then, part, drawn=drawn), drawn=drawn)
        elif part.bundle_sha256 == standing.active and part.trigger_utc_ns >= since_ns:
            said = _said(now, part, drawn=drawn)
            judged += said is not None
            waiting += drawn and said is None
            if part.outcome == PASS:
                if _counts(plan, part):
                    overkill.append(Seen(bad=False))
                if drawn:
                    escapes.append(Seen(bad=said is Said.DEFECTIVE))
            elif said is Said.GOOD:
                overkill.append(Seen(bad=True))
    return Streams(
        overkill=(_baseline(before.overkill, tolerated), overkill),
        escapes=(_baseline(before.escapes, tolerated), escapes),
        judged=judged,
        waiting=waiting,
    )


def _said(reviews: Reviews, part: LinePart, *, drawn: bool) -> Said | None:
    """What counts of a part: what was not drawn was chosen, whatever people said of it."""
    return reviews[part.key].said if drawn and part.key in reviews else None


def _count_before(before: _Before, plan: AuditPlan, part: LinePart, said: Said | None, *, drawn: bool) -> None:
    """Of the bundle before, whatever is not known to be right counts as wrong."""
    if part.outcome == PASS:
        before.overkill[1] += _counts(plan, part)
        if drawn:
            before.escapes[0] += said is not Said.GOOD
            before.escapes[1] += 1
    elif drawn and said is not Said.DEFECTIVE:
        before.overkill[0] += 1
        before.overkill[1] += 1


def _counts(plan: AuditPlan, part: LinePart) -> bool:
    """Whether a pass counts for the overkill: with the probability that a reject is drawn with."""
    return plan.reject_share >= 1.0 or plan.chance(part) < plan.reject_share


def _baseline(counted: Sequence[int], tolerated: float) -> Baseline:
    return Baseline(events=counted[0], trials=counted[1], tolerated=tolerated)
