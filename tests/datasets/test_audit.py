# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit's rate is unbiased and its bound holds; picks that were chosen for looking bad would ruin both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.audit import Audit, Audited, AuditPick, draw, estimate
from inspection.statistics import upper_bound

PASSES, RUNS = 3000, 300


def line(rng: np.random.Generator, share: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Which passes are escapes, and how unsure the model was: escapes look unsure more often."""
    escapes = rng.random(PASSES) < share
    return escapes, rng.random(PASSES) * 0.5 + escapes * rng.random(PASSES)


def audit_of(escapes: np.ndarray, probability: np.ndarray, rng: np.random.Generator) -> Audit:
    drawn = np.flatnonzero(rng.random(len(escapes)) < probability)
    audited = [
        Audited(pick=AuditPick(part=str(i), probability=float(probability[i])), escape=bool(escapes[i]))
        for i in drawn
    ]
    values, counts = np.unique(probability, return_counts=True)
    return estimate(audited, {float(p): int(n) for p, n in zip(values, counts, strict=True)})


@pytest.mark.parametrize("strata", [1, 2])
def test_the_rate_is_unbiased_and_the_bound_holds_as_often_as_it_says(strata: int) -> None:
    rng = np.random.default_rng(strata)
    errors, held = [], 0
    for _ in range(RUNS):
        escapes, unsure = line(rng)
        probability = np.full(PASSES, 0.1)
        if strata == 2:  # a second look at the unsure ones, with its own stored probability
            probability[unsure > 0.5] = 0.4
        audit = audit_of(escapes, probability, rng)
        assert audit.exact == (strata == 1)
        errors.append((audit.rate or 0.0) - escapes.mean())
        held += audit.upper_95 >= escapes.mean()
    spread = np.std(errors) / np.sqrt(RUNS)
    assert abs(np.mean(errors)) < 3.5 * spread
    # 95 % of 300 is 285; 3.5 standard deviations of a binomial below it
    assert held >= 285 - 3.5 * np.sqrt(RUNS * 0.95 * 0.05)


def test_counting_the_samplers_picks_as_audit_would_bias_the_rate() -> None:
    """The control of the test above: the same check fails when chosen picks are thrown in."""
    rng = np.random.default_rng(9)
    errors = []
    for _ in range(100):
        escapes, unsure = line(rng)
        drawn = rng.random(PASSES) < 0.1
        drawn[np.argsort(-unsure)[:150]] = True
        errors.append((escapes[drawn] / 0.1).sum() / PASSES - escapes.mean())
    assert np.mean(errors) > 10 * np.std(errors) / np.sqrt(100)
    picked = AuditPick(part="7", probability=1.0)
    with pytest.raises(ValueError, match="never in force"):
        estimate([Audited(pick=picked, escape=True)], {0.1: PASSES})


def test_a_part_that_both_picked_counts_once_with_its_chance() -> None:
    pick = AuditPick(part="7", probability=0.1)
    with pytest.raises(ValueError, match="twice"):
        estimate([Audited(pick=pick, escape=True)] * 2, {0.1: PASSES})


def test_a_pick_that_nobody_judged_counts_as_an_escape_in_the_bound() -> None:
    picks = [AuditPick(part=str(i), probability=0.1) for i in range(100)]
    judged = [Audited(pick=pick, escape=False) for pick in picks]
    waiting = [*judged[:-2], *[Audited(pick=pick, escape=None) for pick in picks[-2:]]]
    assert estimate(judged, {0.1: 1000}).upper_95 == pytest.approx(upper_bound(0, 100))
    assert estimate(waiting, {0.1: 1000}).upper_95 == pytest.approx(upper_bound(2, 100))
    assert estimate(waiting, {0.1: 1000}).judged == 98
    nobody = estimate([Audited(pick=pick, escape=None) for pick in picks], {0.1: 1000})
    assert nobody.rate is None
    assert nobody.upper_95 == 1.0


def test_no_picks_claim_nothing() -> None:
    assert estimate([], {0.1: 50}).upper_95 == 1.0
    assert estimate([], {}).upper_95 == 1.0
    assert estimate([], {0.1: 50}).rate is None


@settings(max_examples=50, deadline=None)
@given(
    share=st.floats(0.01, 0.99),
    key=st.binary(min_size=1, max_size=16),
    start=st.integers(0, 10**6),
)
def test_the_draw_is_repeatable_grows_with_the_probability_and_takes_its_share(
    share: float, key: bytes, start: int
) -> None:
    parts = [f"1:{n}" for n in range(start, start + 2000)]
    picks = draw(parts, share, key)
    assert picks == draw(parts, share, key)
    assert {p.part for p in picks} <= {p.part for p in draw(parts, min(1.0, share * 1.2), key)}
    assert all(p.probability == share for p in picks)
    assert abs(len(picks) - 2000 * share) < 6 * np.sqrt(2000 * share * (1 - share)) + 1
    assert {p.part for p in draw(parts[:500], share, key)} == {p.part for p in picks} & set(parts[:500])


def test_another_key_draws_other_parts() -> None:
    parts = [str(n) for n in range(1000)]
    first, second = ({p.part for p in draw(parts, 0.2, key)} for key in (b"a", b"b"))
    assert len(first & second) < 90
    with pytest.raises(ValueError, match="probability"):
        draw(parts, 0.0, b"a")
