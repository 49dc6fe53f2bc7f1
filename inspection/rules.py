# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""From what the detector saw to what we say of the part: one pure function, `judge`.

A part is judged whole or not at all. Every view that the recipe names must be there, once, and healthy; then
each defect class may have at most so many findings that are sure enough, large enough and in the wrong place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from inspection.recipe import Recipe
from inspection.types import Finding, Outcome, Reason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewResult:
    """What one camera gave: the findings in its picture, and the health limits that the picture broke.

    No findings means "looked, found nothing". A detector that failed gives no ViewResult at all.
    """

    camera: int
    findings: tuple[Finding, ...]
    unhealthy: tuple[str, ...] = ()


def judge(views: Sequence[ViewResult], recipe: Recipe) -> Verdict:
    """The verdict on one part from all of its views, in any order."""
    findings = tuple(finding for view in views for finding in view.findings)
    if sorted(view.camera for view in views) != list(range(len(recipe.views))):
        return _not_inspected(Reason.FRAME_MISSING, findings)
    if any(view.unhealthy for view in views):
        return _not_inspected(Reason.FRAME_UNHEALTHY, findings)
    counted = Counter(f.defect_class for view in views for f in view.findings if _counts(f, view, recipe))
    rejected_by = tuple(sorted(name for name, count in counted.items() if count > recipe.limit(name).max_count))
    if rejected_by:
        return Verdict(
            outcome=Outcome.REJECT, reasons=(Reason.DEFECT,), findings=findings, rejected_by=rejected_by
        )
    return Verdict(outcome=Outcome.PASS, reasons=(), findings=findings)


def _counts(finding: Finding, view: ViewResult, recipe: Recipe) -> bool:
    """Whether a finding counts against the part. Where a comparison fails (NaN), it does: silence is reject."""
    limit = recipe.limit(finding.defect_class)
    if limit.ignore or finding.score < limit.min_score or finding.box.size_px < limit.min_size_px:
        return False
    if any(zone.contains(finding.box) for zone in recipe.views[view.camera].ignore_zones):
        return False
    return not limit.zones or any(zone.touches(finding.box) for zone in limit.zones)


def _not_inspected(reason: Reason, findings: tuple[Finding, ...]) -> Verdict:
    return Verdict(outcome=Outcome.NOT_INSPECTED, reasons=(reason,), findings=findings)
