# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person sees next: unsure, disputed, new and spread out, in one list, with reasons that hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.sampling import Mix, Pool, Why, propose


def pool_of(count: int, seed: int = 0, models: int = 2, labelled: int = 5) -> Pool:
    rng = np.random.default_rng(seed)
    return Pool(
        names=tuple(f"p{i}" for i in range(count)),
        features=rng.normal(0, 1, (count, 4)),
        labelled=rng.normal(0, 1, (labelled, 4)),
        beliefs=tuple(rng.dirichlet([1, 1, 1], count) for _ in range(models)),
        classes=("good", "dent", "scratch"),
        times_s=rng.uniform(0, 7200, count),
        labelled_times_s=rng.uniform(0, 600, labelled),
    )


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 30),
    wanted=st.integers(0, 40),
    models=st.integers(0, 3),
    labelled=st.integers(0, 4),
    seed=st.integers(0, 9),
)
def test_picks_are_distinct_as_many_as_wanted_and_each_has_a_reason(
    count: int, wanted: int, models: int, labelled: int, seed: int
) -> None:
    picks = propose(pool_of(count, seed, models, labelled), wanted)
    assert len(picks) == min(count, wanted)
    assert len({pick.name for pick in picks}) == len(picks)
    assert all(pick.text and np.isfinite(pick.value) for pick in picks)
    if models < 2:
        assert all(pick.why is not Why.DISPUTED for pick in picks)


def only(why: Why) -> Mix:
    return Mix(weights={why: 1.0})


def test_the_least_sure_picture_comes_first() -> None:
    beliefs = np.array([[0.9, 0.1], [0.52, 0.48], [0.2, 0.8]])
    pool = Pool(
        names=("a", "b", "c"),
        features=np.eye(3),
        labelled=np.zeros((1, 3)),
        beliefs=(beliefs,),
        classes=("good", "dent"),
    )
    first = propose(pool, 1, only(Why.UNCERTAIN))[0]
    assert (first.name, first.text) == ("b", "unsure: good 0.52 or dent 0.48")


def test_where_models_disagree_comes_first() -> None:
    one, two = np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[0.8, 0.2], [0.1, 0.9]])
    pool = Pool(
        names=("a", "b"),
        features=np.eye(2),
        labelled=np.zeros((1, 2)),
        beliefs=(one, two),
        classes=("good", "dent"),
    )
    first = propose(pool, 1, only(Why.DISPUTED))[0]
    assert (first.name, first.text) == ("b", "models disagree: good 0.90, dent 0.90")


def test_new_looking_is_k_centre_each_pick_counts_as_seen() -> None:
    features = np.array([[0.0], [10.0], [10.1], [-9.0], [1.0]])
    pool = Pool(names=tuple("abcde"), features=features, labelled=np.array([[0.0]]))
    assert [pick.name for pick in propose(pool, 2, only(Why.NEW))] == ["c", "d"]


def test_copies_of_an_unsure_picture_do_not_fill_the_list() -> None:
    features = np.concatenate([np.zeros((10, 2)), np.array([[5.0, 0.0], [0.0, 5.0]])])
    beliefs = np.array([[0.5, 0.5]] * 10 + [[0.7, 0.3]] * 2)
    pool = Pool(
        names=tuple(f"p{i}" for i in range(12)),
        features=features,
        labelled=np.array([[-3.0, -3.0]]),
        beliefs=(beliefs,),
    )
    assert {pick.name for pick in propose(pool, 3, only(Why.UNCERTAIN))} == {"p0", "p10", "p11"}


def test_picks_spread_over_time() -> None:
    times = np.arange(0.0, 3600.0, 60.0)
    pool = Pool(
        names=tuple(f"{t:.0f}" for t in times),
        features=np.zeros((60, 1)),
        labelled=np.zeros((1, 1)),
        times_s=times,
        labelled_times_s=np.array([0.0]),
    )
    chosen = sorted(float(pick.name) for pick in propose(pool, 4, only(Why.TIME)))
    assert min(np.diff([0.0, *chosen])) >= 600.0


def test_kinds_take_turns_by_weight() -> None:
    picks = propose(pool_of(200), 130)
    counts = {why: sum(pick.why is why for pick in picks) for why in Why}
    assert counts == {Why.UNCERTAIN: 80, Why.DISPUTED: 20, Why.NEW: 20, Why.TIME: 10}
    assert len({pick.why for pick in picks[:6]}) >= 3


def test_the_list_is_the_same_at_every_call() -> None:
    assert propose(pool_of(50), 20) == propose(pool_of(50), 20)
    assert propose(pool_of(50), 20)[:5] == propose(pool_of(50), 5)
