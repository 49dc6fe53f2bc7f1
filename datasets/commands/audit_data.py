# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data audit`: draw a share of the line's parts by chance, and say which rates follow from them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datasets.audit import Audit
from datasets.commands.line_options import add_line, moment_ns, placed
from datasets.commands.person import add_who, person
from datasets.line_audit import AuditPlan, plans_of, refuse_shares, state_plan
from datasets.line_parts import NS_PER_S, judged_parts, reading_records
from datasets.line_rates import LineRates, rates
from datasets.line_review import reviews_of
from datasets.store import open_home
from inspection.config import StationConfig
from inspection.types import StationFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[DATASET], --config; --passes and --rejects state a plan; --bundle and --since choose the parts."""
    add_line(parser)
    parser.add_argument("--passes", type=float, metavar="P", help="from now on draw this share of the passes")
    parser.add_argument("--rejects", type=float, metavar="P", help="and this share of the rejects (1)")
    parser.add_argument("--bundle", metavar="HASH", help="rates of the parts that this bundle judged")
    parser.add_argument("--since", metavar="WHEN", help="rates from then on, UTC: 2026-11-23T08:30")
    add_who(parser, "states the plan")
    parser.add_argument("--why", default="audit of the line", help="why")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """State a plan, or give the rates."""
    config, folder = placed(args)
    if args.passes is not None:
        return _state(args, config, folder)
    if args.rejects is not None:
        raise StationFault("A plan names the share of the passes: give --passes beside --rejects.")
    with open_home(folder) as home:
        plans, reviews = plans_of(home, config.station.name), reviews_of(home, config.station.name)
    if not plans:
        raise StationFault(
            f"No part of {config.station.name} was ever drawn: state a plan with --passes 0.05, and review."
        )
    with reading_records(config.records_db) as connection:
        parts = judged_parts(connection, since_utc_ns=max(moment_ns(args.since), plans[0].since_utc_ns))
        found = rates((p for p in parts if p.bundle_sha256.startswith(args.bundle or "")), plans, reviews)
    answer = {"station": config.station.name, **found.to_plain(), "plans": [_plain(plan) for plan in plans]}
    return answer | {"said": _said(found, plans[-1], config)}


def _state(args: argparse.Namespace, config: StationConfig, folder: Path) -> Mapping[str, Any]:
    shares = {
        "pass_share": args.passes,
        "reject_share": 1.0 if args.rejects is None else args.rejects,
        "kept_share": config.records.pass_share,
    }
    refuse_shares(**shares)  # first: a refusal leaves no new home behind
    with open_home(folder, create=True) as home:
        plan = state_plan(
            home,
            config.station.name,
            **shares,
            who=person(args),
            why=args.why,
        )
    said = (
        f"From now on {plan.pass_share:.1%} of the passes and {plan.reject_share:.0%} of the rejects of"
        f" {plan.station} are drawn by chance; `gatesight data next` names them."
    )
    return {"said": said, "plan": _plain(plan)}


def _plain(plan: AuditPlan) -> dict[str, Any]:
    """Without the key: who does not hold it cannot foresee the draw."""
    return {
        "passes": plan.pass_share,
        "rejects": plan.reject_share,
        "kept": plan.kept_share,
        "since": datetime.fromtimestamp(plan.since_utc_ns // NS_PER_S, UTC).isoformat(),
    }


def _said(found: LineRates, plan: AuditPlan, config: StationConfig) -> str:
    share = found.overkill.passes / found.inspected if found.inspected else 1.0
    lines = [
        f"{found.inspected} parts inspected while an audit was in force.",
        _rate("escapes among the passes", found.escapes, 1.0, "defective"),
        _rate("overkill of all parts", found.overkill, share, "good"),
    ]
    if config.records.pass_share < plan.kept_share:
        lines.append(
            f"The station keeps pictures of {config.records.pass_share:g} of its passes by now, and the plan"
            f" counts on {plan.kept_share:g}: state a new plan, or what has no picture counts as an escape."
        )
    return "\n".join(lines)


def _rate(name: str, audit: Audit, share: float, found: str) -> str:
    how = "one-sided exact 95 %" if audit.exact else "one-sided 95 %, over all probabilities in force"
    rate = "unknown" if audit.rate is None else f"{audit.rate * share:.2%}"
    waiting = audit.picked - audit.judged
    left = f"; {waiting} that nobody has judged count as {found}" if waiting else ""
    return (
        f"{name}: {rate}, at most {audit.upper_95 * share:.2%} ({how}); {audit.escapes} {found} of"
        f" {audit.judged} judged, {audit.picked} drawn of {audit.passes}{left}."
    )
