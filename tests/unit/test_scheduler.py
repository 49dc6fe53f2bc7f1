# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which waiting views form the next batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inspection.scheduler import ServiceTimes, Waiting, next_batch

MS = 1_000_000


def times(one_ms: int = 10) -> ServiceTimes:
    seen = ServiceTimes()
    for size in (1, 2, 4, 8):
        seen.observe(size, size * one_ms * MS)
    return seen


def view(ordinal: int, camera: int, deadline_ms: int) -> Waiting:
    return Waiting(ordinal=ordinal, camera=camera, deadline_ns=deadline_ms * MS)


def test_an_idle_engine_takes_what_has_queued_earliest_deadline_first() -> None:
    plan = next_batch([view(2, 0, 200), view(1, 1, 100), view(1, 0, 100)], now_ns=0, times=times(), max_batch=8)
    assert [(w.ordinal, w.camera) for w in plan.batch] == [(1, 0), (1, 1), (2, 0)]
    assert plan.shed == ()


def test_nothing_waiting_is_nothing_to_do() -> None:
    plan = next_batch([], now_ns=0, times=times(), max_batch=4)
    assert (plan.batch, plan.shed) == ((), ())


def test_work_that_cannot_finish_is_shed_before_it_costs_time() -> None:
    plan = next_batch([view(1, 0, 10), view(1, 1, 10), view(2, 0, 50)], now_ns=0, times=times(), max_batch=4)
    assert plan.shed == (1,)
    assert [w.ordinal for w in plan.batch] == [2]


def test_a_batch_is_no_larger_than_its_first_deadline_allows() -> None:
    plan = next_batch([view(n, 0, 30 + n) for n in range(1, 9)], now_ns=0, times=times(), max_batch=8)
    assert len(plan.batch) == 3


def test_where_nothing_could_finish_the_youngest_is_tried_so_that_recovery_is_seen() -> None:
    slow = times(one_ms=500)
    plan = next_batch([view(1, 0, 100), view(2, 0, 200)], now_ns=0, times=slow, max_batch=4)
    assert ([w.ordinal for w in plan.batch], plan.shed) == ([2], (1,))


def test_one_hiccup_of_the_engine_sheds_nothing() -> None:
    seen = times()
    for _ in range(4):
        seen.observe(1, 10 * MS)
    seen.observe(1, 900 * MS)
    assert seen.estimate_ns(1) == 10 * MS


def test_the_estimate_follows_an_engine_that_becomes_slower() -> None:
    seen = times()
    for _ in range(8):
        seen.observe(1, 30 * MS)
    assert seen.estimate_ns(1) == 30 * MS
    assert seen.estimate_ns(3) == 30 * MS  # not seen: in proportion to the 20 ms of two


@given(st.integers(-50, 200))
def test_a_view_alone_is_run_until_its_deadline_and_shed_from_there(deadline_ms: int) -> None:
    plan = next_batch([view(1, 0, deadline_ms)], now_ns=0, times=times(one_ms=40), max_batch=4)
    assert (len(plan.batch), plan.shed) == ((1, ()) if deadline_ms > 0 else (0, (1,)))


WAITING = st.builds(view, st.integers(1, 6), st.integers(0, 3), st.integers(1, 120))


@given(st.lists(WAITING, max_size=20, unique_by=lambda w: (w.ordinal, w.camera)), st.integers(1, 8))
def test_every_view_is_run_shed_or_still_waiting_and_a_live_queue_never_idles(
    waiting: list[Waiting], max_batch: int
) -> None:
    plan = next_batch(waiting, now_ns=0, times=times(), max_batch=max_batch)
    assert set(plan.batch) <= set(waiting)
    assert len(plan.batch) <= max_batch
    assert not {w.ordinal for w in plan.batch} & set(plan.shed)
    assert bool(plan.batch) == bool(waiting)
    left = [w for w in waiting if w not in plan.batch and w.ordinal not in plan.shed]
    assert all(w.deadline_ns >= b.deadline_ns for w in left for b in plan.batch)
