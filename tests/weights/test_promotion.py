# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rule of promotion: a worse candidate is refused with the sentence that says by which figure."""

from __future__ import annotations

from math import comb

import pytest

from weights.promotion import Decision, Examined, GoldenPart, Requirements, decide, mcnemar

GOOD, BAD = 400, 120


def examined(
    bundle: str,
    *,
    escaping: range = range(0),
    overkill: range = range(0),
    golden: str = "g" * 64,
    **more: object,
) -> Examined:
    """A bundle that passes the defects of `escaping` and rejects the goods of `overkill`."""
    parts = {f"bad {i}": GoldenPart(defective=True, rejected=i not in escaping) for i in range(BAD)}
    parts |= {f"good {i}": GoldenPart(defective=False, rejected=i in overkill) for i in range(GOOD)}
    known: dict[str, object] = {
        "parity_pictures": 40,
        "parity_flips": 0,
        "latency_ms": 40.0,
        "robustness": {"blur": 2.0, "noise": None},
    }
    return Examined(bundle=bundle, golden_set=golden, parts=parts, **(known | more))  # type: ignore[arg-type]


ACTIVE = examined("a", escaping=range(2), overkill=range(8))
ASKED = Requirements(latency_ms=100.0, escape_upper=0.08)


def against(candidate: Examined, active: Examined | None = ACTIVE, asked: Requirements = ASKED) -> Decision:
    return decide(active, candidate, asked)


def test_an_equal_candidate_is_allowed_and_each_ground_is_a_sentence_with_figures() -> None:
    decision = against(examined("c", escaping=range(2), overkill=range(8)))
    assert decision.allowed
    assert {r.about for r in decision.reasons} == {
        *("parity", "latency", "escape bound", "golden set", "escapes", "overkill", "robustness")
    }
    for reason in decision.reasons:
        assert reason.sentence.endswith(".")
        assert any(c.isdigit() for c in reason.sentence)
    assert decision.figures["escapes_candidate"] == 2
    assert decision.figures["overkill_active"] == 8


@pytest.mark.parametrize(
    ("what", "candidate", "sentence"),
    [
        ("one more escape", examined("c", escaping=range(3), overkill=range(8)), "bad 2"),
        ("as many escapes, but others", examined("c", escaping=range(1, 3), overkill=range(8)), "bad 2"),
        ("under-trained", examined("c", escaping=range(30), overkill=range(8)), "30 escapes in 120"),
        ("limits shifted down", examined("c", escaping=range(2), overkill=range(24)), "24 against 8"),
        ("a verdict flips", examined("c", escaping=range(2), parity_flips=1), "1 verdicts flip"),
        ("parity never proven", examined("c", escaping=range(2), parity_flips=None), "Nobody proved"),
        ("parity on no picture", examined("c", escaping=range(2), parity_pictures=0), "Nobody proved"),
        ("slower than the deadline", examined("c", escaping=range(2), latency_ms=101.0), "101.0 ms"),
        ("never timed", examined("c", escaping=range(2), latency_ms=None), "Nobody measured"),
        (
            "blur breaks it earlier",
            examined("c", escaping=range(2), robustness={"blur": 1.0, "noise": None}),
            "blur",
        ),
        (
            "noise breaks it at all",
            examined("c", escaping=range(2), robustness={"blur": 2.0, "noise": 9.0}),
            "noise",
        ),
        ("half a robustness card", examined("c", escaping=range(2), robustness={"blur": 2.0}), "noise"),
        ("no robustness card", examined("c", escaping=range(2), robustness=None), "no robustness card"),
        ("another golden set", examined("c", escaping=range(2), golden="h" * 64), "same golden set"),
        (
            "the station cannot run it",
            examined("c", escaping=range(2), refusal="no such class."),
            "no such class",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_worse_candidate_is_refused_by_the_figure_that_is_worse(
    what: str, candidate: Examined, sentence: str
) -> None:
    decision = against(candidate)
    assert not decision.allowed, what
    assert any(sentence.lower() in reason.lower() for reason in decision.against), decision.against


def test_the_bound_that_the_station_asks_for_holds_for_the_first_bundle_too() -> None:
    """3 escapes in 120 are at most 6.3 %; a station that asks for 5 % does not take them."""
    decision = against(examined("c", escaping=range(3)), None, Requirements(escape_upper=0.05))
    assert not decision.allowed
    assert "at most 6." in decision.against[0]


def test_nothing_is_promoted_that_nobody_evaluated() -> None:
    unknown = Examined(bundle="c", golden_set="", parts={}, parity_pictures=4, parity_flips=0)
    assert not against(unknown, None, Requirements()).allowed


def test_a_part_that_escapes_is_made_up_for_only_by_gains_beyond_chance() -> None:
    active = examined("a", escaping=range(20))
    better = examined("c", escaping=range(19, 21))  # 19 of its escapes caught, one new one
    assert against(better, active).allowed
    lucky = examined("c", escaping=range(17, 21))
    few = examined("a", escaping=range(17, 20))
    assert not against(lucky, few).allowed  # one new, none regained


def test_a_twisted_truth_is_no_comparison() -> None:
    parts = dict(ACTIVE.parts) | {"bad 7": GoldenPart(defective=False, rejected=True)}
    twisted = Examined(bundle="c", golden_set=ACTIVE.golden_set, parts=parts, parity_pictures=4, parity_flips=0)
    decision = against(twisted)
    assert any("disagree on what is true of 1" in reason for reason in decision.against)


@pytest.mark.parametrize(("worse", "better"), [(1, 0), (5, 1), (6, 0), (3, 9), (40, 20)])
def test_mcnemar_is_the_exact_binomial_tail(worse: int, better: int) -> None:
    n = worse + better
    exact = sum(comb(n, k) for k in range(worse, n + 1)) / 2**n
    assert mcnemar(worse, better) == pytest.approx(exact, rel=1e-9)
    assert mcnemar(0, better) == 1.0


@pytest.mark.parametrize(
    ("candidate", "sentence"),
    [
        (examined("c", escaping=range(BAD)), "finds nothing: it passes all 120"),
        (examined("c", overkill=range(GOOD)), "defective ones no more often"),
        (examined("c", escaping=range(114)), "finds next to nothing: it catches 6 of 120"),
    ],
    ids=["passes everything", "rejects everything", "one in twenty"],
)
@pytest.mark.parametrize(
    "active", [None, examined("a", escaping=range(BAD)), ACTIVE], ids=["the first", "a blind one", "a good one"]
)
def test_a_candidate_that_finds_nothing_is_refused_whatever_is_active(
    candidate: Examined, sentence: str, active: Examined | None
) -> None:
    """Nothing is compared or bounded for the first bundle of a station that asks for no bound."""
    decision = against(candidate, active, Requirements())
    assert any(sentence in reason for reason in decision.against), decision.against
