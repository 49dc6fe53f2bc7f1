# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch: a bad bundle goes in time, a good one stays, and looking after every part costs nothing.

The suite runs small samples; `python -m benchmarks.watch` runs the whole ones.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.watch import BAD_SHARE, GOOD_SHARE, peeked, sequential, watched, withdrawn
from inspection.statistics import lower_bound
from weights.watch import OVERKILL_ALPHA, Baseline, Evidence, Seen, SequentialTest, watch

KNOWN = Baseline(events=40, trials=2000)


def run(test: SequentialTest, bad: np.ndarray, share: float = 1.0) -> Evidence:
    for value in bad:
        test.see(Seen(bad=bool(value), share=share))
    return test.evidence


def test_the_class_and_the_benchmark_compute_one_and_the_same_product() -> None:
    chance = np.random.default_rng(5)
    for share in (0.02, 0.04, 0.06, 0.2):
        bad = chance.random(800) < share
        evidence = run(SequentialTest("overkill", KNOWN, OVERKILL_ALPHA), bad)
        assert (evidence.at_part or 0) == sequential(KNOWN, bad[None])[0]
        assert evidence.bad == bad.sum()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_overkill_that_goes_from_two_to_six_per_cent_is_withdrawn_within_a_thousand_parts(seed: int) -> None:
    caught, _ = withdrawn(watched, share=BAD_SHARE, parts=1000, runs=200, trials=2000, seed=seed)
    assert caught >= 190


@pytest.mark.parametrize("seed", [1, 2])
def test_a_bundle_that_is_no_worse_stays_for_twenty_thousand_parts(seed: int) -> None:
    false, _ = withdrawn(watched, share=GOOD_SHARE, parts=20_000, runs=200, trials=2000, seed=seed)
    assert false <= 10


def test_a_fixed_test_looked_at_after_every_part_withdraws_good_bundles() -> None:
    """The seeded bug: what the two tests above must be able to fail on."""
    false, _ = withdrawn(peeked, share=GOOD_SHARE, parts=20_000, runs=100, trials=2000, seed=1)
    assert lower_bound(false, 100) > 0.25


def test_a_baseline_of_few_parts_makes_the_watch_patient_not_hasty() -> None:
    """3 of 100 may well be 8 %: against that, 6 % is no evidence at all."""
    few = SequentialTest("overkill", Baseline(events=3, trials=100), OVERKILL_ALPHA)
    bad = np.random.default_rng(1).random(3000) < 0.06
    assert not run(few, bad).withdraw
    assert SequentialTest("x", Baseline(events=0, trials=0), OVERKILL_ALPHA).against > 0.99
    assert not run(SequentialTest("x", Baseline(events=0, trials=0), OVERKILL_ALPHA), bad).withdraw


def test_rejects_that_are_all_reviewed_do_not_look_like_overkill() -> None:
    """Every rejected part is looked at and one pass in twenty: among reviewed good parts 29 % were rejected."""
    chance = np.random.default_rng(7)
    rejected = chance.random(20_000) < 0.02
    reviewed = rejected | (chance.random(20_000) < 0.05)
    weighed = run(SequentialTest("overkill", KNOWN, OVERKILL_ALPHA), rejected[reviewed], share=0.05)
    naive = run(SequentialTest("overkill", KNOWN, OVERKILL_ALPHA), rejected[reviewed])
    assert not weighed.withdraw
    assert naive.withdraw  # the seeded bug
    worse = chance.random(20_000) < 0.06
    reviewed = worse | (chance.random(20_000) < 0.05)
    assert run(SequentialTest("overkill", KNOWN, OVERKILL_ALPHA), worse[reviewed], share=0.05).withdraw


def test_once_called_for_a_withdrawal_stays_called_for() -> None:
    bad = np.concatenate([np.ones(60, bool), np.zeros(5000, bool)])
    evidence = run(SequentialTest("overkill", KNOWN, OVERKILL_ALPHA), bad)
    assert evidence.withdraw
    assert evidence.at_part is not None
    assert evidence.at_part < 60
    assert evidence.factor < 1.0 < evidence.limit < evidence.highest


def test_the_reason_names_the_stream_and_its_figures() -> None:
    result = watch(
        overkill=(KNOWN, [Seen(bad=i % 10 == 0) for i in range(400)]),
        escapes=(Baseline(events=1, trials=3000), [Seen(bad=False)] * 200),
    )
    assert result.withdraw
    assert "overkill: 40 of 400 (10.00%)" in result.sentence
    assert "escapes" not in result.sentence
    quiet = watch(overkill=(KNOWN, []), escapes=(KNOWN, []))
    assert not quiet.withdraw
    assert "escapes: none" in quiet.sentence


def test_escapes_found_by_the_audit_are_watched_too() -> None:
    audited = [Seen(bad=i % 100 == 90) for i in range(1500)]
    known = Baseline(events=1, trials=3000)
    assert watch(overkill=(KNOWN, []), escapes=(known, audited)).withdraw
    assert not watch(overkill=(KNOWN, []), escapes=(known, audited[:90])).withdraw


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="review share"):
        SequentialTest("overkill", KNOWN, OVERKILL_ALPHA).see(Seen(bad=True, share=share))
