# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the PLC's log proves about the station. Pure, and a second reading of the raw register reads: it does
not use what the PLC's program concluded, only what it read, when, and which parts its gate let through.

- false_pass: a part passed although no valid PASS of its own epoch and number had been read by then.
- late_pass: a PASS first read after deadline + 2 x poll + 2 x scan, counted from the true trigger instant.
- late_read: the same, but the PLC had read nothing at all for more than 40 ms, since before that instant: the
  PASS may have stood there in time. Whether it did is for the report to find out.
- breaches: things the contract forbids the station whatever the gate did with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspection.twin import contract as c

Fact = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class RegisterTruth:
    """Counts from register reads alone, and the log's parts in belt order."""

    parts: list[Fact] = field(default_factory=list)
    on_belt: list[Fact] = field(default_factory=list)  # triggered, but the run ended before the gate
    false_pass: list[int] = field(default_factory=list)  # part numbers
    late_pass: list[int] = field(default_factory=list)
    late_read: list[int] = field(default_factory=list)
    changed_outcome: list[tuple[int, int]] = field(default_factory=list)  # (epoch, seq) told two outcomes
    unasked: list[tuple[int, int]] = field(default_factory=list)  # PASS or REJECT for a number never told
    broken_slots: int = 0  # non-empty slots that fail their check or lie in the wrong place
    armed_ns: list[int] = field(default_factory=list)
    disarmed_ns: list[int] = field(default_factory=list)
    crowded_scans: int = 0
    late_scans: int = 0

    @property
    def breaches(self) -> dict[str, int]:
        """Breaches of the contract by kind; all zero on a station that keeps it."""
        return {
            "changed_outcome": len(self.changed_outcome),
            "unasked": len(self.unasked),
            "broken_slots": self.broken_slots,
        }


def read_log(path: Path) -> Iterator[Fact]:
    """Facts of a PLC log; a last line cut short by a kill is left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def register_truth(facts: Iterable[Fact], *, deadline_ns: int, poll_ns: int, scan_ns: int) -> RegisterTruth:
    """Work out the truth of one run from the facts of its PLC."""
    truth = RegisterTruth()
    first_read: dict[tuple[int, int], tuple[int, int]] = {}  # (epoch, seq) -> (verdict, read at)
    told: dict[tuple[int, int], int] = {}
    gaps: dict[int, int] = {}  # instant of a read -> instant of the one before, where that is long ago
    for fact in facts:
        match fact["fact"]:
            case "slot":
                _read_slot(truth, first_read, fact)
            case "part" | "on_belt":
                (truth.parts if fact["fact"] == "part" else truth.on_belt).append(fact)
                if fact["told"]:
                    told[(fact["epoch"], fact["seq"])] = fact["number"]
            case "phase":
                (truth.armed_ns if fact["phase"] == "armed" else truth.disarmed_ns).append(fact["ns"])
            case "gap":
                gaps[fact["ns"]] = fact["since_ns"]
            case "crowded":
                truth.crowded_scans += 1
            case "late_scan":
                truth.late_scans += 1
    limit_ns = deadline_ns + 2 * poll_ns + 2 * scan_ns
    for part in truth.parts:
        verdict, read_ns = first_read.get((part["epoch"], part["seq"]), (0, 0))
        proven = verdict == c.VERDICT_PASS and read_ns <= part["decided_ns"] and part["told"]
        if part["bin"] == "pass" and not proven:
            truth.false_pass.append(part["number"])
        if verdict == c.VERDICT_PASS and part["told"] and read_ns > part["trigger_ns"] + limit_ns:
            blind = gaps.get(read_ns, read_ns) <= part["trigger_ns"] + limit_ns
            (truth.late_read if blind else truth.late_pass).append(part["number"])
    numbered = {(p["epoch"], p["seq"]) for p in (*truth.parts, *truth.on_belt) if p["seq"]}
    for key, (verdict, _) in first_read.items():
        judged = verdict in (c.VERDICT_PASS, c.VERDICT_REJECT)
        if key not in numbered or (judged and key not in told):
            truth.unasked.append(key)
    return truth


def _read_slot(truth: RegisterTruth, first_read: dict[tuple[int, int], tuple[int, int]], fact: Fact) -> None:
    words = tuple(fact["words"])
    word = c.read_slot(fact["slot"], words)  # type: ignore[arg-type]
    if word is None:
        truth.broken_slots += any(words)
        return
    if word.epoch != fact["epoch"]:
        return  # what another station left behind; never believed, no breach either
    key = (word.epoch, word.seq)
    known = first_read.setdefault(key, (word.verdict, fact["ns"]))
    if known[0] != word.verdict:
        truth.changed_outcome.append(key)
