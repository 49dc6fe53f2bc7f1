# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report of a run: the station's story (journal, board) against the twin's truth (PLC log, seed, stamps).

`make_report` gives the JSON of `--json`. Shares carry exact one-sided 95 % upper bounds. `reconciled` is true
only when every count closes and nothing happened that never may; `why_not` says what did not, in sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from inspection.statistics import upper_bound
from inspection.twin.records import JournalPart, JournalRun, stamped_numbers
from inspection.twin.renderer import DETECTABILITY_LIMIT, PartTruth
from inspection.twin.source import PartSource
from inspection.twin.truth import Fact, RegisterTruth
from inspection.types import Outcome

SIZE_BINS_PX = (4, 6, 10, 16, 25, 40, 60)
_FRAME_TERMS = ("delivered", "ring_full", "incomplete", "underrun", "missed", "unexplained_id_gap")
JUDGED = (Outcome.PASS, Outcome.REJECT)


@dataclass(slots=True, kw_only=True)
class RunFacts:
    """Everything a report is made of."""

    truth: RegisterTruth
    journal: JournalRun
    source: PartSource
    world: list[Fact]
    world_status: dict[str, Any]
    cameras: dict[str, dict[str, int]]  # board counters of each camera at the end
    gate: dict[str, int]  # board counters of the gate at the end
    views: int
    width_px: int
    colour: bool
    deadline_ms: float
    cycle_ns: int  # 2 x poll + 2 x scan
    limit_applies: bool  # drawn parts have a detectability limit, photographs have none
    header: dict[str, Any] = field(default_factory=dict)  # seed, bundle, rate ...


@dataclass(slots=True, kw_only=True)
class _Matched:
    """One part of the belt with what the station recorded of it."""

    fact: Fact
    part: JournalPart | None

    @property
    def outcome(self) -> Outcome | None:
        return None if self.part is None else self.part.outcome


def make_report(facts: RunFacts) -> dict[str, Any]:
    """The whole report as JSON-ready values."""
    numbered = [f for f in (*facts.truth.parts, *facts.truth.on_belt) if f["seq"]]
    matched = [_Matched(fact=f, part=facts.journal.parts.get((f["epoch"], f["seq"]))) for f in numbered]
    outcomes = Counter(part.outcome for part in facts.journal.parts.values())
    affected = affected_parts(facts, matched)
    report: dict[str, Any] = {
        "triggers": len(facts.journal.parts),
        "pass": outcomes[Outcome.PASS],
        "reject": outcomes[Outcome.REJECT],
        "not_inspected": outcomes[Outcome.NOT_INSPECTED],
        "in_flight": outcomes[None],
        "not_inspected_by_reason": _reasons(facts.journal),
        "truth": _truth(facts, matched),
        "escapes_by_size": _by_size(facts, matched),
        "diverted_total": sum(f["bin"] != "pass" for f in facts.truth.parts),
        "bins": dict(Counter(f["bin"] for f in facts.truth.parts)),
        "parts_on_belt": len(facts.truth.parts) + len(facts.truth.on_belt),
        "plc_triggers": len(numbered),
        "latency_ms": _latencies(matched),
        "deadline_ms": facts.deadline_ms,
        "detectability_limit": DETECTABILITY_LIMIT if facts.limit_applies else None,
        "frames": _frames(facts),
        "faults_injected": affected,
        "plc": {"late_scans": facts.truth.late_scans, "crowded_scans": facts.truth.crowded_scans},
        "world": {
            k: facts.world_status.get(k) for k in ("world_late", "late_pushes", "worst_push_ms", "dropped")
        },
        "breaches": facts.truth.breaches,
        "parts_per_s": _rate(facts.truth.parts),
        "epoch": facts.journal.epochs[-1] if facts.journal.epochs else None,
        "epochs": facts.journal.epochs,
        "recipe": facts.journal.recipe_sha256,
        "bundle": facts.journal.bundle_sha256,
        **facts.header,
    }
    report["unrecorded"] = sum(m.part is None for m in matched)
    report["why_not"] = list(why_not(facts, report, matched))
    report["reconciled"] = not report["why_not"]
    return report


def _reasons(journal: JournalRun) -> dict[str, int]:
    found: Counter[str] = Counter()
    for part in journal.parts.values():
        if part.verdict is not None and part.outcome is Outcome.NOT_INSPECTED:
            found[part.verdict.reasons[0].value if part.verdict.reasons else "none"] += 1
    return dict(found.most_common())


def _share(count: int, of: int) -> dict[str, Any]:
    return {
        "count": count,
        "of": of,
        "share": count / of if of else None,
        "upper_95": upper_bound(count, of) if of else None,
    }


def _truth(facts: RunFacts, matched: Sequence[_Matched]) -> dict[str, Any]:
    """Escapes and overkill of judged parts; NOT_INSPECTED and untracked parts count apart."""
    counts: Counter[str] = Counter()
    for m in matched:
        truth = facts.source.truth(m.fact["number"])
        kind = "good" if not truth.defective else ("above_limit" if truth.above_limit else "below_limit")
        counts[kind] += 1
        if m.outcome in JUDGED:
            counts[f"judged_{kind}"] += 1
        counts[f"{kind}_{m.outcome.name.lower() if m.outcome else 'unrecorded'}"] += 1
    above, below = counts["above_limit_pass"], counts["below_limit_pass"]
    mispaired, unproven, undecodable = _pairing(facts, matched)
    return {
        "good": counts["good"],
        "defective": counts["above_limit"] + counts["below_limit"],
        "above_limit": counts["above_limit"],
        "below_limit": counts["below_limit"],
        "escapes": above + below,
        "escapes_above_limit": above,
        "overkill": counts["good_reject"],
        "mispaired": mispaired,
        "unproven_pairings": unproven,
        "undecodable_strips": undecodable,
        "false_pass": len(facts.truth.false_pass),
        "late_pass": len(facts.truth.late_pass) + late_after_all(facts, matched),
        "late_read": len(facts.truth.late_read),
        "bounds": {
            "escapes": _share(above + below, counts["judged_above_limit"] + counts["judged_below_limit"]),
            "escapes_above_limit": _share(above, counts["judged_above_limit"]),
            "overkill": _share(counts["good_reject"], counts["judged_good"]),
            "mispaired": _share(mispaired, sum(m.outcome in JUDGED for m in matched)),
        },
    }


def late_after_all(facts: RunFacts, matched: Iterable[_Matched]) -> int:
    """Of the PASSes that the PLC read late because it could not read: those that were not published in time."""
    blind = set(facts.truth.late_read)
    limit_ns = int(facts.deadline_ms * 1e6)
    late = 0
    for m in matched:
        if m.fact["number"] in blind:
            published_ns = None if m.part is None else m.part.published_ns
            late += published_ns is None or published_ns > m.fact["trigger_ns"] + limit_ns + facts.cycle_ns
    return late


def _pairing(facts: RunFacts, matched: Iterable[_Matched]) -> tuple[int, int, int]:
    """(parts judged on another part's picture, judged parts with no readable strip, unreadable strips)."""
    mispaired = unproven = undecodable = 0
    for m in matched:
        if m.part is None or m.part.verdict is None or m.outcome not in JUDGED:
            continue
        stamps = stamped_numbers(m.part.verdict, facts.width_px, colour=facts.colour)
        cameras = [view.camera for view in m.part.verdict.views]
        wanted = [(m.fact["number"], camera) for camera in cameras]
        mispaired += any(s is not None and s != w for s, w in zip(stamps, wanted, strict=True))
        undecodable += stamps.count(None)
        unproven += len(stamps) < facts.views or None in stamps
    return mispaired, unproven, undecodable


def size_bin(size_px: float) -> str:
    """Name of the size bin, "<4" and ">60" outside."""
    if size_px < SIZE_BINS_PX[0]:
        return f"<{SIZE_BINS_PX[0]}"
    for low, high in pairwise(SIZE_BINS_PX):
        if size_px < high:
            return f"{low}-{high}"
    return f">={SIZE_BINS_PX[-1]}"


def part_size_px(truth: PartTruth, *, limit_applies: bool) -> float | None:
    """Size that a part counts under: of its most visible drawn defect, or its largest mark; None unknown."""
    if not truth.defects:
        return None
    if limit_applies:
        return max(truth.defects, key=lambda d: d.detectability).size_px
    return max(d.size_px for d in truth.defects)


def _by_size(facts: RunFacts, matched: Iterable[_Matched]) -> dict[str, dict[str, dict[str, int]]]:
    """Defective parts and escapes by size: {side of the limit: {bin: {parts, judged, escapes}}}."""
    names = [f"{a}-{b}" for a, b in pairwise(SIZE_BINS_PX)]
    order = [f"<{SIZE_BINS_PX[0]}", *names, f">={SIZE_BINS_PX[-1]}", "unknown"]
    table: dict[str, dict[str, dict[str, int]]] = {"above_limit": {}, "below_limit": {}}
    for m in matched:
        truth = facts.source.truth(m.fact["number"])
        if not truth.defective:
            continue
        size = part_size_px(truth, limit_applies=facts.limit_applies)
        name = "unknown" if size is None else size_bin(size)
        row = table["above_limit" if truth.above_limit else "below_limit"].setdefault(
            name, {"parts": 0, "judged": 0, "escapes": 0}
        )
        row["parts"] += 1
        row["judged"] += m.outcome in JUDGED
        row["escapes"] += m.outcome is Outcome.PASS
    return {side: {n: rows[n] for n in order if n in rows} for side, rows in table.items()}


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """p50, p99, p99.9 (nearest rank) and maximum, rounded to microseconds when given in ms."""
    ordered = sorted(values)
    names = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
    if not ordered:
        return dict.fromkeys(names)
    return {n: round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3) for n, q in names.items()}


def _latencies(matched: Iterable[_Matched]) -> dict[str, dict[str, float | None]]:
    """From the true trigger instant, and from the last picture's slot, to the verdict in the registers."""
    from_trigger, from_ready = [], []
    for m in matched:
        if m.part is None or m.part.verdict is None or m.part.published_ns is None or m.outcome not in JUDGED:
            continue
        from_trigger.append((m.part.published_ns - m.fact["trigger_ns"]) / 1e6)
        if m.part.verdict.ready_ns is not None:
            from_ready.append((m.part.published_ns - m.part.verdict.ready_ns) / 1e6)
    return {"trigger_to_verdict": percentiles(from_trigger), "ready_to_verdict": percentiles(from_ready)}


def _frames(facts: RunFacts) -> dict[str, Any]:
    names = ("triggers", *_FRAME_TERMS)
    total: dict[str, Any] = {n: sum(c[n] for c in facts.cameras.values()) for n in names}
    total["per_camera"] = {s: {n: c[n] for n in names} for s, c in facts.cameras.items()}
    return total


def _rate(parts: Sequence[Fact]) -> float | None:
    if len(parts) < 2:
        return None
    span_ns = parts[-1]["trigger_ns"] - parts[0]["trigger_ns"]
    return round((len(parts) - 1) / (span_ns / 1e9), 3) if span_ns else None


def affected_parts(facts: RunFacts, matched: Sequence[_Matched]) -> dict[str, Any]:
    """Parts that lost a picture or whose trigger was skipped; each must end NOT_INSPECTED, never judged."""
    dropped = {f["number"] for f in facts.world if f["fact"] == "pushed" and f["dropped"]}
    dropped |= {f["number"] for f in facts.world if f["fact"] == "world_late"}
    hit = [m for m in matched if m.fact["number"] in dropped or not m.fact["told"]]
    return {
        "dropped_parts": len(dropped),
        "skipped_triggers": sum(not m.fact["told"] for m in matched),
        "affected": len(hit),
        "affected_judged": [m.fact["number"] for m in hit if m.outcome in JUDGED],
        "affected_passed": [m.fact["number"] for m in hit if m.fact["bin"] == "pass"],
    }


def why_not(facts: RunFacts, report: dict[str, Any], matched: Sequence[_Matched]) -> Iterable[str]:
    """Every reason for which the counts do not reconcile, one sentence each."""
    r = report
    if r["triggers"] != r["pass"] + r["reject"] + r["not_inspected"] + r["in_flight"]:
        yield "triggers are not the sum of the outcomes"
    if r["in_flight"]:
        yield f"{r['in_flight']} parts were opened in the journal and never closed"
    if facts.journal.repeated_numbers:
        yield f"{facts.journal.repeated_numbers} numbers stand for two parts of one epoch"
    known = {(m.fact["epoch"], m.fact["seq"]) for m in matched}
    phantoms = [key for key in facts.journal.parts if key not in known]
    if phantoms:
        yield f"{len(phantoms)} parts stand in the journal that the PLC never numbered, first {phantoms[0]}"
    yield from _unrecorded(facts, matched)
    yield from _bins(matched)
    yield from _frame_sums(r["frames"]["per_camera"])
    yield from _board(facts)
    for name in ("false_pass", "late_pass", "mispaired", "unproven_pairings"):
        if r["truth"][name]:
            yield f"{name} is {r['truth'][name]}"
    for name, count in facts.truth.breaches.items():
        if count:
            yield f"{count} breaches of the line contract: {name}"
    if r["faults_injected"]["affected_judged"] or r["faults_injected"]["affected_passed"]:
        yield "parts with a lost picture or a skipped trigger were judged or passed"


def _unrecorded(facts: RunFacts, matched: Iterable[_Matched]) -> Iterable[str]:
    """A number the station never recorded is explained only by the line being disarmed under it."""
    for m in matched:
        if m.part is not None:
            continue
        told_ns = m.fact["told_ns"] or m.fact["trigger_ns"]
        explained = any(told_ns - 50_000_000 <= at <= m.fact["decided_ns"] for at in facts.truth.disarmed_ns)
        if m.fact["bin"] == "pass" or not explained:
            yield (
                f"part {m.fact['number']} (epoch {m.fact['epoch']}, number {m.fact['seq']}) was told to the "
                "station and is not in its journal"
            )


_BINS = {"pass": Outcome.PASS, "reject": Outcome.REJECT}


def _bins(matched: Iterable[_Matched]) -> Iterable[str]:
    for m in matched:
        wanted = _BINS.get(m.fact["bin"])
        if wanted is not None and m.part is not None and m.outcome is not wanted:
            name = m.outcome.name if m.outcome else "open"
            yield f"part {m.fact['number']} lies in bin {m.fact['bin']} and is {name} in the journal"


def _frame_sums(cameras: dict[str, dict[str, int]]) -> Iterable[str]:
    for serial, counts in cameras.items():
        if counts["triggers"] != sum(counts[n] for n in _FRAME_TERMS):
            yield f"the frames of camera {serial} do not add up: {counts}"


def _board(facts: RunFacts) -> Iterable[str]:
    """The gate's own counters of its last epoch, against the journal's."""
    if not facts.gate or not facts.journal.epochs:
        yield "the station left no counters"
        return
    last = [p for p in facts.journal.parts.values() if p.epoch == facts.journal.epochs[-1]]
    counted = Counter(p.outcome for p in last)
    journal = {
        "pass": counted[Outcome.PASS],
        "reject": counted[Outcome.REJECT],
        "not_inspected": counted[Outcome.NOT_INSPECTED],
    }
    board = {n: facts.gate[n] for n in journal}
    board["not_inspected"] += facts.gate["in_flight"]  # closed while the line was being stopped
    if board != journal and facts.gate["epoch"] == facts.journal.epochs[-1]:
        yield f"the gate's counters {board} are not the journal's {journal}"
