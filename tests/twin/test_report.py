# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report on made-up runs: what closes, and that each way of not closing is found and said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inspection.journal_records import VerdictRecord
from inspection.messages import ViewSeen
from inspection.statistics import upper_bound
from inspection.twin import contract as c
from inspection.twin.records import JournalPart, JournalRun
from inspection.twin.renderer import DefectTruth, PartTruth
from inspection.twin.report import RunFacts, make_report, percentiles, size_bin
from inspection.twin.stamp import stamp
from inspection.twin.truth import RegisterTruth
from inspection.types import Box, Outcome, Reason

MS = 1_000_000
WIDTH = 240
PARTS = 40
WORDS = {
    Outcome.PASS: c.VERDICT_PASS,
    Outcome.REJECT: c.VERDICT_REJECT,
    Outcome.NOT_INSPECTED: c.VERDICT_NOT_INSPECTED,
}


class Plain:
    """Each fifth part is defective, each tenth below the limit."""

    width_px, height_px = WIDTH, 32

    def truth(self, part_no: int) -> PartTruth:
        if part_no % 5:
            return PartTruth(part_no=part_no, defective=False, defects=(), above_limit=False)
        box = Box(x0_px=0, y0_px=0, x1_px=12, y1_px=5)
        defect = DefectTruth(kind="pit", view=0, size_px=12, box=box, detectability=20)
        return PartTruth(part_no=part_no, defective=True, defects=(defect,), above_limit=part_no % 10 != 0)

    def render(self, part_no: int, view: int) -> np.ndarray:
        raise NotImplementedError


def strip(part_no: int, view: int) -> bytes:
    image = np.zeros((16, WIDTH), np.uint8)
    stamp(image, part_no, view)
    return image.tobytes()


def outcome_of(number: int) -> Outcome:
    return Outcome.REJECT if number % 5 == 0 else Outcome.PASS


def part_fact(number: int) -> dict[str, Any]:
    outcome = outcome_of(number)
    at = 1000 * MS + number * 100 * MS
    return {
        "number": number, "trigger_ns": at, "told_ns": at + 5 * MS, "acked_ns": at + 6 * MS,
        "decided_ns": at + 400 * MS, "epoch": 9, "seq": number + 1, "told": True, "verdict": WORDS[outcome],
        "verdict_ns": at + 70 * MS, "bin": outcome.name.lower(), "disposition": 1, "why": "",
    }  # fmt: skip


def journal_part(number: int) -> JournalPart:
    fact = part_fact(number)
    record = VerdictRecord(
        epoch=9, ordinal=number + 1, seq=number + 1, encoder=1, trigger_ns=fact["trigger_ns"], deadline_ns=0,
        trigger_utc_ns=0, outcome=outcome_of(number), reasons=(Reason.NONE,),
        ready_ns=fact["trigger_ns"] + 20 * MS,
        views=tuple(
            ViewSeen(camera=v, frame_id=1, encoder_pulses=1, exposure_ns=0, ready_ns=0, strip=strip(number, v))
            for v in (0, 1)
        ),
    )  # fmt: skip
    return JournalPart(
        epoch=9, ordinal=number + 1, seq=number + 1, verdict=record, published_ns=fact["trigger_ns"] + 60 * MS
    )


@pytest.fixture
def run() -> RunFacts:
    counters = {
        "triggers": PARTS,
        "delivered": PARTS,
        "ring_full": 0,
        "incomplete": 0,
        "underrun": 0,
        "missed": 0,
    }
    outcomes = [outcome_of(k) for k in range(PARTS)]
    return RunFacts(
        truth=RegisterTruth(parts=[part_fact(k) for k in range(PARTS)]),
        journal=JournalRun(epochs=[9], parts={(9, k + 1): journal_part(k) for k in range(PARTS)}),
        source=Plain(), world=[], world_status={}, views=2, width_px=WIDTH, colour=False,
        cameras={s: {**counters, "unexplained_id_gap": 0} for s in ("A", "B")},
        gate={
            "pass": outcomes.count(Outcome.PASS), "reject": outcomes.count(Outcome.REJECT), "not_inspected": 0,
            "in_flight": 0, "epoch": 9,
        },
        deadline_ms=280, cycle_ns=40 * MS, limit_applies=True,
    )  # fmt: skip


def put_outcome(run: RunFacts, number: int, outcome: Outcome, *, where: str = "both") -> None:
    part = run.journal.parts[9, number + 1]
    assert part.verdict is not None
    changes: dict[str, Any] = {name: getattr(part.verdict, name) for name in part.verdict.__struct_fields__}
    part.verdict = VerdictRecord(**(changes | {"outcome": outcome}))
    for name in ("pass", "reject", "not_inspected"):
        run.gate[name] = sum(p.outcome is Outcome[name.upper()] for p in run.journal.parts.values())
    if where == "both":
        names = {Outcome.PASS: "pass", Outcome.REJECT: "reject", Outcome.NOT_INSPECTED: "not_inspected"}
        run.truth.parts[number]["bin"] = names[outcome]


def test_a_clean_run_reconciles(run: RunFacts) -> None:
    report = make_report(run)
    assert report["why_not"] == []
    assert report["reconciled"]
    assert (report["triggers"], report["pass"], report["reject"]) == (PARTS, 32, 8)
    assert report["truth"]["good"] == 32
    assert report["truth"]["above_limit"] == report["truth"]["below_limit"] == 4
    assert report["latency_ms"]["trigger_to_verdict"]["p50"] == 60
    assert report["latency_ms"]["ready_to_verdict"]["max"] == 40
    assert report["frames"]["triggers"] == 2 * PARTS


def test_escapes_and_overkill_come_with_exact_bounds(run: RunFacts) -> None:
    put_outcome(run, 5, Outcome.PASS)
    put_outcome(run, 10, Outcome.PASS)
    put_outcome(run, 1, Outcome.REJECT)
    put_outcome(run, 15, Outcome.NOT_INSPECTED)
    report = make_report(run)
    truth = report["truth"]
    assert report["reconciled"]
    assert (truth["escapes"], truth["escapes_above_limit"], truth["overkill"]) == (2, 1, 1)
    assert truth["bounds"]["escapes_above_limit"]["upper_95"] == pytest.approx(upper_bound(1, 3))
    assert truth["bounds"]["overkill"]["of"] == 32
    assert report["escapes_by_size"]["above_limit"] == {"10-16": {"parts": 4, "judged": 3, "escapes": 1}}
    assert report["escapes_by_size"]["below_limit"] == {"10-16": {"parts": 4, "judged": 4, "escapes": 1}}


def _wrong_strip(run: RunFacts) -> None:
    run.journal.parts[9, 3].verdict, run.journal.parts[9, 4].verdict = (
        run.journal.parts[9, 4].verdict,
        run.journal.parts[9, 3].verdict,
    )


def _no_strip(run: RunFacts) -> None:
    verdict = run.journal.parts[9, 3].verdict
    assert verdict is not None
    fields = {name: getattr(verdict, name) for name in verdict.__struct_fields__}
    run.journal.parts[9, 3].verdict = VerdictRecord(**(fields | {"views": ()}))


def _frame_lost(run: RunFacts) -> None:
    run.cameras["A"]["delivered"] -= 1


def _not_recorded(run: RunFacts) -> None:
    del run.journal.parts[9, 6]
    run.gate["reject"] -= 1


def _phantom(run: RunFacts) -> None:
    run.journal.parts[9, 77] = journal_part(77 - 1)
    run.gate["pass"] += 1


def _never_closed(run: RunFacts) -> None:
    run.journal.parts[9, 6].verdict = None
    run.gate["reject"] -= 1


def _wrong_bin(run: RunFacts) -> None:
    put_outcome(run, 1, Outcome.REJECT, where="journal")


def _board_differs(run: RunFacts) -> None:
    run.gate["pass"] += 1


def _lost_picture_judged(run: RunFacts) -> None:
    run.world.append({"fact": "pushed", "number": 7, "dropped": [1]})


def _skipped_judged(run: RunFacts) -> None:
    run.truth.parts[7]["told"] = False


def _false_pass(run: RunFacts) -> None:
    run.truth.false_pass.append(3)


def _read_late_and_published_late(run: RunFacts) -> None:
    run.truth.late_read.append(3)
    run.journal.parts[9, 4].published_ns = run.truth.parts[3]["trigger_ns"] + 321 * MS


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_wrong_strip, "mispaired is 2"),
        (_no_strip, "unproven_pairings is 1"),
        (_frame_lost, "the frames of camera A do not add up"),
        (_not_recorded, "part 5 .* is not in its journal"),
        (_phantom, "that the PLC never numbered"),
        (_never_closed, "never closed"),
        (_wrong_bin, "part 1 lies in bin pass and is REJECT"),
        (_board_differs, "the gate's counters"),
        (_lost_picture_judged, "lost picture"),
        (_skipped_judged, "skipped trigger"),
        (_false_pass, "false_pass is 1"),
        (_read_late_and_published_late, "late_pass is 1"),
    ],
)
def test_whatever_does_not_close_is_said(
    run: RunFacts, spoil: Callable[[RunFacts], None], sentence: str
) -> None:
    spoil(run)
    report = make_report(run)
    assert not report["reconciled"]
    assert any(__import__("re").search(sentence, text) for text in report["why_not"]), report["why_not"]


def test_a_number_told_just_before_the_line_was_disarmed_is_explained(run: RunFacts) -> None:
    _not_recorded(run)
    run.truth.parts[5].update(bin="not_inspected", verdict=0)
    run.truth.disarmed_ns.append(run.truth.parts[5]["told_ns"] + 30 * MS)
    report = make_report(run)
    assert report["why_not"] == []
    assert report["unrecorded"] == 1


def test_a_pass_read_late_but_published_in_time_is_not_late(run: RunFacts) -> None:
    run.truth.late_read.append(3)
    report = make_report(run)
    assert report["truth"]["late_pass"] == 0
    assert report["truth"]["late_read"] == 1


def test_size_bins_and_percentiles() -> None:
    assert [size_bin(s) for s in (3.9, 4, 5.99, 6, 16, 59.9, 60)] == [
        "<4",
        "4-6",
        "4-6",
        "6-10",
        "16-25",
        "40-60",
        ">=60",
    ]
    assert percentiles(range(1000)) == {"p50": 500, "p99": 990, "p99_9": 999, "max": 999}
    assert percentiles([]) == {"p50": None, "p99": None, "p99_9": None, "max": None}
