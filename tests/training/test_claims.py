# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a sample carries and what it does not: the numbers of the rule of three, and sentences that say so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.statistics import upper_bound
from inspection.types import StationFault
from training.claims import Claim, bound_sentence, parse_claim, parts_needed, percent, rule_on, two_sided

UNDER_ONE = Claim(kind="escapes", under=0.01)


def test_no_escape_in_37_is_at_most_7_8_percent_and_no_claim_of_one():
    ruling = rule_on(UNDER_ONE, 0, 37)
    assert not ruling.carried
    assert ruling.bound == pytest.approx(0.0778, abs=1e-4)
    assert ruling.more_parts == 299 - 37
    assert "at most 7.8 %" in ruling.sentence
    assert "262 more defective parts without an escape (299 in all)" in ruling.sentence


def test_under_one_percent_needs_299():
    assert parts_needed(0.01) == 299
    assert not rule_on(UNDER_ONE, 0, 298).carried
    assert rule_on(UNDER_ONE, 0, 299).carried
    assert not rule_on(UNDER_ONE, 1, 299).carried


@given(under=st.floats(0.002, 0.6), events=st.integers(0, 6))
@settings(max_examples=80, deadline=None)
def test_parts_needed_is_the_first_number_that_carries(under: float, events: int):
    needed = parts_needed(under, events)
    assert needed is not None
    assert upper_bound(events, needed) < under
    assert needed == max(1, events) or upper_bound(events, needed - 1) >= under


def test_a_sample_that_speaks_against_a_claim_says_so():
    ruling = rule_on(UNDER_ONE, 30, 300)
    assert not ruling.carried
    assert "speaks against it" in ruling.sentence


def test_nothing_shown_is_nothing_known():
    assert "unknown" in bound_sentence(0, 0, "escape", "defective")
    assert not rule_on(UNDER_ONE, 0, 0).carried


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("escapes<1%", UNDER_ONE),
        ("escapes < 0.01", UNDER_ONE),
        ("overkill<2%", Claim(kind="overkill", under=0.02)),
    ],
)
def test_claims_are_read(text: str, claim: Claim):
    assert parse_claim(text) == claim


@pytest.mark.parametrize(
    "text", ["escapes", "escapes<0", "misses<1%", "escapes<150%", "escapes<x", "escapes>1%"]
)
def test_what_is_no_claim_is_refused(text: str):
    with pytest.raises(StationFault, match="is no claim"):
        parse_claim(text)


def test_percentages_never_round_a_bound_down_or_a_share_to_nothing():
    assert percent(0.0777) == "7.8 %"
    assert percent(0.0771, up=True) == "7.8 %"
    assert percent(0.00161) == "0.16 %"
    assert percent(0.0000123) == "0.0012 %"
    assert percent(0.0) == "0 %"
    assert percent(1.0, up=True) == "100 %"
    assert percent(0.009969, up=True) == "1 %"


def test_two_sided_intervals_agree_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    low, high = two_sided(3, 40)
    expected = stats.binomtest(3, 40).proportion_ci(0.95, "exact")
    assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))
