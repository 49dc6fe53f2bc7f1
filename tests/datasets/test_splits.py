# SPDX-License-Identifier: AGPL-3.0-or-later
"""Splits: nothing that belongs together straddles, nothing ever moves, shares as well as groups allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.splits import ASIDE, GOLDEN, Member, Plan, split
from inspection.types import StationFault

LEARNT_FROM_OR_NOT = {"train": "train", "val": "val", "test": "test", GOLDEN: "test"}


@st.composite
def members(draw: st.DrawFn, most: int = 40) -> list[Member]:
    few = st.sampled_from(["a", "b", "c", "d", None])
    return [
        Member(
            name=f"p{number}",
            sha256=draw(st.sampled_from([str(number), str(number), str(number), "same"])),
            part=draw(few),
            lot=draw(few),
            sequence=draw(few),
            strata=frozenset(draw(st.sampled_from([["good"], ["dent"], ["dent", "scratch"]]))),
            golden=draw(st.sampled_from([False] * 9 + [True])),
        )
        for number in range(draw(st.integers(1, most)))
    ]


PLANS = st.builds(Plan, seed=st.integers(0, 5), by=st.just("auto"))
TWINS = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=8)


def must_not_straddle(a: Member, b: Member) -> bool:
    """The oracle, written from the rule and not from the code: do these two belong together?"""
    if a.sha256 == b.sha256:
        return True

    def coarsest(m: Member) -> tuple[str, str] | None:
        for level in ("lot", "sequence", "part"):
            if getattr(m, level) is not None:
                return level, getattr(m, level)
        return None

    for one, other in ((a, b), (b, a)):
        key = coarsest(one)
        if key is not None and getattr(other, key[0]) == key[1]:
            return True
    return False


def straddling(given_members: Sequence[Member], sides: dict[str, str], twins: set[frozenset[str]]) -> list[str]:
    faults = []
    for i, a in enumerate(given_members):
        for b in given_members[:i]:
            if ASIDE in (sides[a.name], sides[b.name]):
                continue
            together = must_not_straddle(a, b) or frozenset((a.name, b.name)) in twins
            if together and LEARNT_FROM_OR_NOT[sides[a.name]] != LEARNT_FROM_OR_NOT[sides[b.name]]:
                faults.append(f"{a} in {sides[a.name]}, {b} in {sides[b.name]}")
    return faults


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=members(), more=members(), plan=PLANS, twins=TWINS)
def test_no_group_straddles_and_adding_pictures_moves_none(
    first: list[Member], more: list[Member], plan: Plan, twins: list[tuple[int, int]]
) -> None:
    pairs = [(f"p{a}", f"p{b}") for a, b in twins if a != b and max(a, b) < len(first)]
    before = split(first, plan, twins=pairs)
    assert set(before.sides) == {m.name for m in first}
    assert straddling(first, before.sides, set(map(frozenset, pairs))) == []
    assert all((before.sides[m.name] == GOLDEN) == m.golden for m in first)
    added = [
        Member(
            name=f"q{m.name}",
            sha256=m.sha256 if m.sha256 == "same" else f"q{m.sha256}",
            part=m.part,
            lot=m.lot,
            sequence=m.sequence,
            strata=m.strata,
        )
        for m in more
    ]
    new_pairs = [(f"p{a}", f"qp{b}") for a, b in twins if a < len(first) and b < len(more)]
    after = split([*first, *added], plan, twins=[*pairs, *new_pairs], earlier=before.sides)
    moved = {
        m.name for m in first if before.sides[m.name] != ASIDE and after.sides[m.name] != before.sides[m.name]
    }
    assert moved == set()
    together = set(map(frozenset, [*pairs, *new_pairs]))
    assert straddling([*first, *added], after.sides, together) == []
    asides = [name for name, side in after.sides.items() if side == ASIDE]
    assert bool(asides) <= bool(after.sentences), "who is left aside is said"


@settings(max_examples=60, deadline=None)
@given(given_members=members(), plan=PLANS, data=st.data())
def test_the_order_of_pictures_decides_nothing_but_ties_of_groups(
    given_members: list[Member], plan: Plan, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(given_members))
    assert split(given_members, plan).sides == split(shuffled, plan).sides


def _lots(lots: int, size: int, rare_every: int = 5) -> list[Member]:
    return [
        Member(
            name=f"l{lot}n{n}",
            sha256=f"{lot}.{n}",
            lot=f"lot {lot}",
            strata=frozenset(["dent" if lot % rare_every == 0 else "good"]),
        )
        for lot in range(lots)
        for n in range(size)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_shares_and_classes_are_met_where_groups_allow(seed: int) -> None:
    given_members = _lots(100, 10)
    done = split(given_members, Plan(seed=seed))
    assert done.counts() == {"train": 700, "val": 150, "test": 150}
    dents = Counter(done.sides[m.name] for m in given_members if "dent" in m.strata)
    assert dents == {"train": 140, "val": 30, "test": 30}
    assert done.sentences == ()


def test_another_seed_gives_another_split() -> None:
    given_members = _lots(100, 10)
    assert split(given_members, Plan(seed=1)).sides != split(given_members, Plan(seed=2)).sides
    assert split(given_members, Plan(seed=1)).sides == split(given_members, Plan(seed=1)).sides


def test_groups_too_coarse_for_the_shares_are_named_in_a_sentence() -> None:
    done = split(_lots(3, 30, rare_every=3), Plan())
    assert sorted(done.counts().values()) == [30, 30, 30]  # each side has something
    assert any("Wanted 70% train" in said and "3 groups" in said for said in done.sentences)
    assert any("No picture of dent in" in said for said in done.sentences)


def test_sides_of_the_source_are_kept() -> None:
    given_members = [
        Member(name=f"p{i}", sha256=str(i), source_side="test" if i < 10 else None) for i in range(100)
    ]
    done = split(given_members, Plan())
    assert [done.sides[f"p{i}"] for i in range(10)] == ["test"] * 10
    assert done.counts() == {"train": 70, "val": 15, "test": 15}


def test_the_lot_of_a_golden_picture_never_trains() -> None:
    given_members = _lots(10, 10)
    before = split(given_members, Plan())
    name = before.names("train")[0]
    lot = next(m.lot for m in given_members if m.name == name)
    locked = [
        Member(name=m.name, sha256=m.sha256, lot=m.lot, strata=m.strata, golden=m.name == name)
        for m in given_members
    ]
    after = split(locked, Plan(), earlier=before.sides)
    assert after.sides[name] == GOLDEN
    assert {after.sides[m.name] for m in locked if m.lot == lot and m.name != name} == {ASIDE}
    assert any("left aside" in said for said in after.sentences)


def test_a_locked_test_side_is_not_filled_again() -> None:
    """Golden pictures count as tested on: else all that comes next would go to test."""
    before = split(_lots(100, 10), Plan())
    locked = [replace(m, golden=before.sides[m.name] == "test") for m in _lots(100, 10)]
    more = [
        replace(m, name=f"new {m.name}", sha256=f"new {m.sha256}", lot=f"new {m.lot}") for m in _lots(20, 10)
    ]
    after = split([*locked, *more], Plan(), earlier=before.sides)
    assert after.counts() == {"train": 840, "val": 180, "test": 30, GOLDEN: 150}
    assert after.sentences == ()


def test_a_part_without_a_lot_goes_with_its_part() -> None:
    given_members = [
        Member(name="a", sha256="1", lot="L1", part="P1"),
        *(Member(name=f"o{i}", sha256=f"o{i}", lot=f"L{i + 2}", part=f"Q{i}") for i in range(20)),
        Member(name="b", sha256="2", part="P1"),
    ]
    for seed in range(10):
        done = split(given_members, Plan(seed=seed))
        assert done.sides["a"] == done.sides["b"]


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"train": 0.7, "val": 0.7, "test": 0.1}, "make no whole"),
        ({"train": 0.0, "val": 0.5, "test": 0.5}, "something to train on"),
        ({"by": "colour"}, "auto, lot, sequence, part"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(plan: dict[str, object], says: str) -> None:
    with pytest.raises(StationFault, match=says):
        Plan(**plan)  # type: ignore[arg-type]


def test_a_level_that_no_picture_names_is_refused() -> None:
    with pytest.raises(StationFault, match="No picture names a lot"):
        split([Member(name="a", sha256="1", part="P")], Plan(by="lot"))
