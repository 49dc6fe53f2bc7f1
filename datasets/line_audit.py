# SPDX-License-Identifier: AGPL-3.0-or-later
"""The station's audit: which share of its passes and rejects is shown to a person, by chance alone.

A plan is stored with its probabilities and its key, and is in force from then until the next one. Whether a
part is drawn follows from plan and part: nobody writes a list, nothing can be forgotten on it, and a part that
a sampler chose because it looked bad is not drawn for that. Passes are drawn among those whose pictures the
station keeps (`inspection/keeping.py`), which is itself a draw by chance: the two probabilities multiply.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from datasets import schema as t
from datasets.audit import MOST_STRATA, chance_of
from datasets.line_parts import PASS, REJECT, LinePart
from datasets.store import DatasetHome
from inspection.keeping import keep_chance
from inspection.types import StationFault


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """What is drawn of one station's parts from a moment on."""

    station: str
    pass_share: float
    reject_share: float
    kept_share: float  # of the passes keep their pictures
    key: bytes
    since_utc_ns: int

    def probability(self, part: LinePart) -> float:
        """With which probability such a part is drawn; 0 for what was not inspected."""
        return {PASS: self.pass_share, REJECT: self.reject_share}.get(part.outcome, 0.0)

    def draws(self, part: LinePart) -> bool:
        """Whether this part is drawn; the same answer at any time."""
        if part.outcome == PASS:
            if keep_chance(part.epoch, part.ordinal) >= self.kept_share:
                return False
            return self.chance(part) < self.pass_share / self.kept_share
        return self.chance(part) < self.probability(part)

    def chance(self, part: LinePart) -> float:
        """A number in 0..1 that only the holder of the key can know beforehand."""
        return chance_of(part.name, self.key)


def state_plan(
    home: DatasetHome,
    station: str,
    *,
    pass_share: float,
    reject_share: float,
    kept_share: float,
    who: str,
    why: str,
) -> AuditPlan:
    """Draw like this from now on."""
    refuse_shares(pass_share, reject_share, kept_share)
    known = {share for plan in plans_of(home, station) for share in (plan.pass_share, plan.reject_share)}
    if len(known | {pass_share, reject_share}) > MOST_STRATA:
        raise StationFault(
            f"This station was audited with {len(known)} different shares: choose one of those again."
        )
    with home.acting("audit", who, why) as act:
        row = {
            "station": station,
            "pass_share": pass_share,
            "reject_share": reject_share,
            "kept_share": kept_share,
            "key": secrets.token_hex(16),
        }
        act.insert(t.audits, [row])
        return _plan(row | {"utc_ns": act.utc_ns})


def refuse_shares(pass_share: float, reject_share: float, kept_share: float) -> None:
    """StationFault for shares that no plan can have at a station that keeps so many pictures."""
    if not 0.0 < pass_share <= 1.0 or not 0.0 < reject_share <= 1.0:
        raise StationFault("A share to audit lies above 0 and up to 1: correct --passes or --rejects.")
    if pass_share > kept_share:
        raise StationFault(
            f"{pass_share:g} of the passes cannot be looked at where the station keeps the pictures of"
            f" {kept_share:g}: raise records.pass_share in its station.toml, or draw fewer with --passes."
        )


def plans_of(home: DatasetHome, station: str) -> list[AuditPlan]:
    """Every plan of a station, oldest first."""
    query = (
        select(t.audits, t.acts.c.utc_ns)
        .join(t.acts, t.acts.c.id == t.audits.c.act_id)
        .where(t.audits.c.station == station)
        .order_by(t.audits.c.id)
    )
    with home.reading() as connection:
        return [_plan(dict(row._mapping)) for row in connection.execute(query)]


def plan_for(plans: Sequence[AuditPlan], part: LinePart) -> AuditPlan | None:
    """The plan that was in force when the part came; None before the first."""
    for plan in reversed(plans):
        if part.trigger_utc_ns >= plan.since_utc_ns:
            return plan
    return None


def drawn_with(plans: Sequence[AuditPlan], part: LinePart) -> float | None:
    """The probability that the part was drawn with; None where it was not drawn."""
    plan = plan_for(plans, part)
    return plan.probability(part) if plan is not None and plan.draws(part) else None


def _plan(row: Mapping[str, object]) -> AuditPlan:
    return AuditPlan(
        station=str(row["station"]),
        pass_share=float(str(row["pass_share"])),
        reject_share=float(str(row["reject_share"])),
        kept_share=float(str(row["kept_share"])),
        key=bytes.fromhex(str(row["key"])),
        since_utc_ns=int(str(row["utc_ns"])),
    )
