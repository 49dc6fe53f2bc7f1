# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rates of a running line from its audit: escapes among the passes, good parts among the rejects. Pure.

Only parts that were drawn count, each with the probability that was in force when it came
(`datasets/audit.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from datasets.audit import Audit, Audited, AuditPick, estimate
from datasets.line_audit import AuditPlan, plan_for
from datasets.line_parts import PASS, LinePart
from datasets.line_review import Reviews, Said


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRates:
    """Both audits over the same parts; in `overkill` good parts among the rejects are what is looked for."""

    escapes: Audit
    overkill: Audit

    @property
    def inspected(self) -> int:
        """Parts that were passed or rejected while an audit was in force."""
        return self.escapes.passes + self.overkill.passes

    def to_plain(self) -> dict[str, Any]:
        """For programs. Shares of overkill are of all inspected parts."""
        rejects = self.overkill
        of_all = rejects.passes / self.inspected if self.inspected else 1.0
        return {
            "inspected": self.inspected,
            "escapes": asdict(self.escapes),
            "overkill": {
                "rejects": rejects.passes,
                "picked": rejects.picked,
                "judged": rejects.judged,
                "good": rejects.escapes,
                "rate": None if rejects.rate is None else rejects.rate * of_all,
                "upper_95": rejects.upper_95 * of_all,
                "exact": rejects.exact,
            },
        }


def rates(parts: Iterable[LinePart], plans: Sequence[AuditPlan], reviews: Reviews) -> LineRates:
    """Rates over these parts; those from before the first plan are left out."""
    passes: Counter[float] = Counter()
    rejects: Counter[float] = Counter()
    escapes: list[Audited] = []
    overkill: list[Audited] = []
    for part in parts:
        plan = plan_for(plans, part)
        if plan is None or not (probability := plan.probability(part)):
            continue
        counted, audited, wrong = (
            (passes, escapes, Said.DEFECTIVE) if part.outcome == PASS else (rejects, overkill, Said.GOOD)
        )
        counted[probability] += 1
        if plan.draws(part):
            said = reviews[part.key].said if part.key in reviews else Said.UNCLEAR
            known = None if said is Said.UNCLEAR else said is wrong
            audited.append(Audited(pick=AuditPick(part=part.name, probability=probability), escape=known))
    return LineRates(escapes=estimate(escapes, passes), overkill=estimate(overkill, rejects))
