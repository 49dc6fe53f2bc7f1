# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch by reviews of a dataset home: only drawn parts count, and nothing that waits withdraws a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest

from benchmarks.watch import Fed, Line, watched
from datasets.line_audit import AuditPlan
from datasets.line_parts import LinePart
from datasets.line_review import Review, Said
from inspection import review_home
from tests.datasets.line_reviews import reviewed
from weights.history import NOTHING, Act, Entry, Standing, after
from weights.watch import Streams, WatchResult, watch

FIRST, SECOND = "a" * 64, "b" * 64
DAY_NS = 86_400 * 10**9
BEGIN_NS, SINCE_NS = 20_000 * DAY_NS, 20_001 * DAY_NS
PLAN = AuditPlan(station="x", pass_share=0.1, reject_share=1.0, kept_share=0.5, key=b"k", since_utc_ns=BEGIN_NS)
Order = Callable[[LinePart, bool], bool]
"""Whether somebody has reviewed this part already; the part, and whether it is defective."""


def promoted() -> Standing:
    standing = NOTHING
    for number, (act, bundle) in enumerate([(Act.ADOPT, FIRST), (Act.ADD, SECOND), (Act.PROMOTE, SECOND)], 1):
        entry = Entry(number=number, act=act, bundle=bundle, who="Ada", why="test", utc_ns=SINCE_NS)
        standing = after(standing, entry)
    return standing


def line(
    chance: np.random.Generator, bundle: str, count: int, *, overkill: float, escape: float = 0.005
) -> list[tuple[LinePart, bool]]:
    """Parts, and whether each is defective: 5 % are, some of those are missed, and some good ones rejected."""
    begin_ns = BEGIN_NS if bundle == FIRST else SINCE_NS
    found = []
    for number in range(count):
        defective = bool(chance.random() < 0.05)
        rejected = chance.random() < (1 - escape * 20 if defective else overkill)
        part = LinePart(
            id=number,
            epoch=7 if bundle == FIRST else 8,
            ordinal=number,
            trigger_utc_ns=begin_ns + number * 10**9,
            outcome="reject" if rejected else "pass",
            bundle_sha256=bundle,
        )
        found.append((part, defective))
    return found


def reviews(
    parts: Iterable[tuple[LinePart, bool]], has_reviewed: Order, utc_ns: int, plan: AuditPlan = PLAN
) -> list[Review]:
    return [
        reviewed(part, Said.DEFECTIVE if defective else Said.GOOD, utc_ns=utc_ns, probability=0.1)
        for part, defective in parts
        if plan.draws(part) and has_reviewed(part, defective)
    ]


def everybody(part: LinePart, defective: bool) -> bool:
    return True


def withdrawal_of(
    before: list[tuple[LinePart, bool]],
    now: list[tuple[LinePart, bool]],
    *,
    order: Order = everybody,
    plan: AuditPlan = PLAN,
) -> tuple[Streams, WatchResult]:
    every = reviews(before, everybody, SINCE_NS - 1, plan) + reviews(now, order, SINCE_NS + DAY_NS, plan)
    parts = [part for part, _ in (*before, *now)]
    streams = review_home.streams_of(promoted(), parts, [plan], every)
    return streams, watch(overkill=streams.overkill, escapes=streams.escapes)


def runs(
    count: int, overkill: float, *, order: Order = everybody, parts: int = 1100, plan: AuditPlan = PLAN
) -> int:
    """How many of so many promotions are withdrawn; 2 % overkill before, known from 2,000 good parts."""
    withdrawn = 0
    for seed in range(count):
        chance = np.random.default_rng(seed)
        before = line(chance, FIRST, 2150, overkill=0.02)
        now = line(chance, SECOND, parts, overkill=overkill)
        withdrawn += withdrawal_of(before, now, order=order, plan=plan)[1].withdraw
    return withdrawn


def test_overkill_from_two_to_six_per_cent_is_withdrawn_by_reviewing_the_rejects_alone() -> None:
    """1,100 parts are about 1,000 good ones; nobody has looked at a single pass."""
    assert runs(40, 0.06, order=lambda part, _: part.outcome == "reject", parts=1060) >= 36


@pytest.mark.parametrize(
    "order",
    [
        everybody,
        lambda part, defective: part.outcome == "reject" and not defective,  # the worst news first
        lambda part, defective: defective or part.outcome == "reject",
    ],
    ids=["all", "overkill first", "escapes and rejects first"],
)
def test_a_bundle_that_is_no_worse_stays_in_whatever_order_people_review(order: Order) -> None:
    assert runs(30, 0.02, order=order) <= 2


@pytest.mark.parametrize("overkill", [0.02, 0.06])
def test_the_benchmark_of_the_watch_feeds_what_the_home_feeds(overkill: float) -> None:
    chance = np.random.default_rng(11)
    before = line(chance, FIRST, 2150, overkill=0.02, escape=0.01)
    now = line(chance, SECOND, 1500, overkill=overkill, escape=0.01)
    streams, result = withdrawal_of(before, now)
    fed = Fed.of(*(as_arrays(parts) for parts in (before, now)))
    for mine, (baseline, seen) in ((fed.overkill, streams.overkill), (fed.escapes, streams.escapes)):
        assert mine.baseline == baseline
        assert list(mine.bad) == [one.bad for one in seen]
        assert {one.share for one in seen} == {1.0}
    assert (watched(fed) > 0) == result.withdraw == (overkill > 0.02)
    if result.withdraw:
        assert result.overkill.at_part is not None
        assert watched(fed) == fed.overkill.at[result.overkill.at_part - 1]


def as_arrays(parts: list[tuple[LinePart, bool]]) -> Line:
    return Line(
        defective=np.array([defective for _, defective in parts]),
        rejected=np.array([part.outcome == "reject" for part, _ in parts]),
        drawn=np.array([PLAN.draws(part) for part, _ in parts]),
    )


def test_dropping_what_waits_would_withdraw_good_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeded bug: passes that nobody has judged are left out, as if only reviews were parts."""
    right = review_home._said

    def only_reviewed(
        standing: Standing, parts: Sequence[LinePart], plans: Sequence[AuditPlan], every: Sequence[Review]
    ) -> Streams:
        known = {one.key for one in every}
        return plain(standing, [part for part in parts if part.key in known], plans, every)

    plain = review_home.streams_of
    monkeypatch.setattr(review_home, "streams_of", only_reviewed)
    assert right is review_home._said
    assert runs(10, 0.02, order=lambda part, defective: part.outcome == "reject") >= 8


def test_parts_that_were_chosen_for_looking_bad_count_for_nothing() -> None:
    chance = np.random.default_rng(3)
    before, now = (
        line(chance, FIRST, 2150, overkill=0.02),
        line(chance, SECOND, 800, overkill=0.02, escape=0.02),
    )
    honest = withdrawal_of(before, now)[0]
    chosen = [
        reviewed(part, Said.DEFECTIVE, utc_ns=SINCE_NS + 1, probability=0.1)
        for part, bad in now
        if bad and part.outcome == "pass"
    ]
    assert len(chosen) > 8
    every = reviews(before, everybody, SINCE_NS - 1) + reviews(now, everybody, SINCE_NS + 1) + chosen
    found = review_home.streams_of(promoted(), [part for part, _ in (*before, *now)], [PLAN], every)
    assert found == honest


def test_escapes_that_grow_are_withdrawn_by_the_audit_of_passes() -> None:
    chance = np.random.default_rng(5)
    plan = AuditPlan(
        station="x", pass_share=0.5, reject_share=1.0, kept_share=1.0, key=b"k", since_utc_ns=BEGIN_NS
    )
    before = line(chance, FIRST, 2150, overkill=0.02, escape=0.0)
    now = line(chance, SECOND, 1500, overkill=0.02, escape=0.05)
    streams, result = withdrawal_of(before, now, plan=plan)
    assert result.escapes.withdraw
    assert not result.overkill.withdraw
    assert streams.waiting == 0


def test_where_a_share_of_the_rejects_is_drawn_the_same_share_of_the_passes_counts() -> None:
    plan = AuditPlan(
        station="x", pass_share=0.1, reject_share=0.25, kept_share=1.0, key=b"k", since_utc_ns=BEGIN_NS
    )
    chance = np.random.default_rng(6)
    before, now = line(chance, FIRST, 4000, overkill=0.02), line(chance, SECOND, 4000, overkill=0.1)
    streams, result = withdrawal_of(before, now, plan=plan)
    baseline, seen = streams.overkill
    assert 0.012 < baseline.events / baseline.trials < 0.03
    assert 0.08 < sum(one.bad for one in seen) / len(seen) < 0.12
    assert result.overkill.withdraw
    assert runs(12, 0.02, plan=plan) <= 1


def test_the_baseline_is_what_had_been_said_when_the_promotion_was_made() -> None:
    chance = np.random.default_rng(7)
    before = line(chance, FIRST, 2000, overkill=0.02)
    parts = [part for part, _ in before]
    in_time = review_home.streams_of(promoted(), parts, [PLAN], reviews(before, everybody, SINCE_NS - 1))
    late = review_home.streams_of(promoted(), parts, [PLAN], reviews(before, everybody, SINCE_NS + 1))
    rejects = sum(part.outcome == "reject" for part in parts)
    drawn = sum(part.outcome == "pass" and PLAN.draws(part) for part in parts)
    assert in_time.overkill[0].events < 70
    assert (late.overkill[0].events, late.escapes[0].events) == (rejects, drawn)
