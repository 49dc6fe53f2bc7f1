# SPDX-License-Identifier: AGPL-3.0-or-later
"""The books against an oracle that writes down the fate of every trigger, one by one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cameras.accounting import Accounting, Books, Fate
from cameras.base import DeviceCounters

# What can happen to one trigger. Missed ones use no frame id; all others do.
FATES = ("delivered", "ring_full", "incomplete", "underrun", "missed", "dropped")
SEEN = {f.value: f for f in Fate}


def played(fates: list[str], *, first_id: int = 1, bits: int = 64) -> tuple[Accounting, Counter[str]]:
    """Books of a camera whose triggers had these fates, and the oracle's count."""
    accounting = Accounting()
    frame_id = first_id - 1
    for fate in fates:
        if fate != "missed":
            frame_id += 1
            if bits == 16 and frame_id > 0xFFFF:
                frame_id = 1
        if fate in SEEN:
            accounting.saw(frame_id, SEEN[fate])
    return accounting, Counter(fates)


def in_terms(books: Books) -> Counter[str]:
    return +Counter(
        delivered=books.delivered,
        ring_full=books.ring_full,
        incomplete=books.incomplete,
        underrun=books.underrun,
        missed=books.missed,
        dropped=books.unexplained_id_gap,
    )


@given(st.lists(st.sampled_from(FATES), max_size=60))
def test_camera_that_counts_its_triggers_closes_to_the_last_one(fates: list[str]) -> None:
    accounting, oracle = played(fates)
    device = DeviceCounters(triggers=len(fates), missed=oracle["missed"], underrun=oracle["underrun"])
    books = accounting.books(device, at_rest=True)
    assert in_terms(books) == oracle
    assert books.triggers == len(fates)
    assert books.counted
    assert books.closes


@given(st.lists(st.sampled_from(FATES), max_size=60), st.integers(1, 0xFFFF), st.sampled_from([16, 64]))
def test_camera_without_a_counter_is_known_between_its_first_and_last_frame(
    fates: list[str], first_id: int, bits: int
) -> None:
    middle = ["delivered", *fates, "delivered"]
    accounting, oracle = played(middle, first_id=first_id, bits=bits)
    device = DeviceCounters(triggers=None, missed=oracle["missed"], underrun=oracle["underrun"])
    books = accounting.books(device, at_rest=True)
    assert in_terms(books) == oracle
    assert not books.counted
    assert books.closes


@given(st.lists(st.sampled_from(FATES), max_size=60), st.integers(0, 60))
def test_books_close_at_every_moment(fates: list[str], until: int) -> None:
    accounting, oracle = played(fates[:until])
    device = DeviceCounters(triggers=len(fates), missed=oracle["missed"], underrun=oracle["underrun"])
    books = accounting.books(device)
    assert books.closes
    assert not books.counted
    assert books.unexplained_id_gap <= oracle["dropped"]


def test_underrun_that_the_driver_counts_is_not_counted_again_as_a_hole() -> None:
    accounting, _ = played(["delivered", "underrun", "underrun", "dropped", "delivered"])
    books = accounting.books(DeviceCounters(underrun=2))
    assert (books.underrun, books.unexplained_id_gap, books.triggers) == (2, 1, 5)


def test_more_frames_than_triggers_do_not_close() -> None:
    accounting, _ = played(["delivered"] * 3)
    books = accounting.books(DeviceCounters(triggers=2), at_rest=True)
    assert books.surplus == 1
    assert not books.closes


def test_camera_that_counts_anew_makes_no_hole() -> None:
    accounting = Accounting()
    for frame_id in (5, 6, 0, 1):
        accounting.saw(frame_id, Fate.DELIVERED)
    assert accounting.id_restarts == 1
    assert accounting.books(DeviceCounters()).unexplained_id_gap == 0


@pytest.mark.parametrize(
    "bug",
    [
        lambda self, frame_id, fate: self._seen.__setitem__(fate, self._seen[fate] + 1),  # ids ignored
        lambda self, frame_id, fate: Accounting.saw(self, frame_id, Fate.DELIVERED),  # one fate for all
    ],
)
def test_seeded_bug_in_the_books_is_caught(bug: object) -> None:
    bugged = type("Bugged", (Accounting,), {"saw": bug})()
    for frame_id, fate in ((1, Fate.DELIVERED), (2, Fate.INCOMPLETE), (5, Fate.DELIVERED)):
        bugged.saw(frame_id, fate)
    books = bugged.books(DeviceCounters())
    assert in_terms(books) != Counter(delivered=2, incomplete=1, dropped=2)
