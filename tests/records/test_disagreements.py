# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the shadow said is kept, and people see first where the candidate would have decided otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from inspection.messages import ShadowJudged
from inspection.records.database import open_writer
from inspection.records.disagreements import agreement, for_review, keep
from inspection.types import Outcome

PASS, REJECT = Outcome.PASS, Outcome.REJECT


def said(
    ordinal: int, outcome: Outcome, score: float, shadow: Outcome, shadow_score: float, *, by: str = "c" * 64
) -> ShadowJudged:
    return ShadowJudged(
        epoch=7,
        ordinal=ordinal,
        seq=ordinal,
        bundle_sha256="a" * 64,
        outcome=int(outcome),
        score=score,
        shadow_sha256=by,
        shadow_outcome=int(shadow),
        shadow_score=shadow_score,
        rejected_by=("pit",) if shadow is REJECT else (),
        utc_ns=1_000 + ordinal,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = open_writer(tmp_path / "records.sqlite")
    keep(
        made,
        [
            said(1, PASS, 0.1, PASS, 0.1),
            said(2, REJECT, 0.9, PASS, 0.2),
            said(3, PASS, 0.2, PASS, 0.4),
            said(4, PASS, 0.1, REJECT, 0.6),
            said(5, PASS, 0.1, REJECT, 0.95),
            said(6, REJECT, 0.9, REJECT, 0.9),
            said(7, PASS, 0.0, REJECT, 1.0, by="d" * 64),
        ],
    )
    return made


def test_passed_parts_that_the_candidate_rejects_come_first_then_the_reverse_then_the_rest(
    engine: Engine,
) -> None:
    with engine.connect() as connection:
        order = [item.ordinal for item in for_review(connection, "c" * 64)]
        assert order == [5, 4, 2, 3, 1, 6]
        assert [item.differs for item in for_review(connection, "c" * 64, limit=4)] == [True, True, True, False]
    engine.dispose()


def test_the_two_are_counted_against_each_other(engine: Engine) -> None:
    with engine.connect() as connection:
        counted = agreement(connection, "c" * 64)
    assert counted == {"pass/pass": 2, "pass/reject": 2, "reject/pass": 1, "reject/reject": 1}
    engine.dispose()


def test_nothing_said_is_nothing_to_show(engine: Engine) -> None:
    keep(engine, [])
    with engine.connect() as connection:
        assert for_review(connection, "e" * 64) == []
        assert agreement(connection, "e" * 64) == {}
    engine.dispose()
