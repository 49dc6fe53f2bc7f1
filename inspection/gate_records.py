# SPDX-License-Identifier: AGPL-3.0-or-later
"""Turns what the tracker decides, and what recovery finds, into journal records. Pure but for the append."""

from __future__ import annotations

from inspection.journal import Journal
from inspection.journal_records import PartOpened, VerdictRecord
from inspection.journal_recovery import Recovered
from inspection.tracker_effects import JournalVerdict
from inspection.types import Outcome, Reason


def verdict_record(effect: JournalVerdict, *, now_ns: int, utc_ns: int, recipe_sha256: str) -> VerdictRecord:
    """The record of one decision. `utc_ns` is the wall time at monotonic `now_ns`."""
    part, judged = effect.part, effect.judged
    return VerdictRecord(
        epoch=part.epoch,
        ordinal=part.ordinal,
        seq=part.seq,
        encoder=None if Reason.TRIGGER_MISSED in effect.reasons else part.encoder_pulses,
        trigger_ns=part.trigger_ns,
        deadline_ns=part.deadline_ns,
        trigger_utc_ns=utc_ns - (now_ns - part.trigger_ns),
        outcome=effect.outcome,
        reasons=effect.reasons,
        rejected_by=judged.verdict.rejected_by if judged else (),
        findings=judged.verdict.findings if judged else (),
        views=judged.views if judged else (),
        recipe_sha256=judged.recipe_sha256 if judged else recipe_sha256,
        bundle_sha256=judged.bundle_sha256 if judged else effect.bundle_sha256,
        ready_ns=judged.ready_ns if judged else None,
        judged_ns=judged.judged_ns if judged else None,
        closed_ns=now_ns,
    )


def closed_as(record: VerdictRecord, reason: Reason, now_ns: int) -> VerdictRecord:
    """The record that supersedes a PASS which was never announced."""
    return VerdictRecord(
        epoch=record.epoch,
        ordinal=record.ordinal,
        seq=record.seq,
        encoder=record.encoder,
        trigger_ns=record.trigger_ns,
        deadline_ns=record.deadline_ns,
        trigger_utc_ns=record.trigger_utc_ns,
        outcome=Outcome.NOT_INSPECTED,
        reasons=(reason,),
        findings=record.findings,
        views=record.views,
        recipe_sha256=record.recipe_sha256,
        bundle_sha256=record.bundle_sha256,
        ready_ns=record.ready_ns,
        judged_ns=record.judged_ns,
        closed_ns=now_ns,
    )


def never_decided(opened: PartOpened, reason: Reason, now_ns: int) -> VerdictRecord:
    """The outcome of a part that was in flight when the gate went down."""
    part = opened.part
    return VerdictRecord(
        epoch=part.epoch,
        ordinal=part.ordinal,
        seq=part.seq,
        encoder=part.encoder_pulses,
        trigger_ns=part.trigger_ns,
        deadline_ns=part.deadline_ns,
        trigger_utc_ns=opened.trigger_utc_ns,
        outcome=Outcome.NOT_INSPECTED,
        reasons=(reason,),
        closed_ns=now_ns,
    )


def close_what_was_open(journal: Journal, recovered: Recovered, reason: Reason, now_ns: int) -> int:
    """Write NOT_INSPECTED for every PASS without its mark and every part without a verdict; how many."""
    records = [closed_as(r, reason, now_ns) for r in recovered.unmarked]
    records += [never_decided(p, reason, now_ns) for p in recovered.undecided]
    for record in sorted(records, key=lambda r: r.ordinal):
        journal.append(record, closing=True)
    return len(records)
