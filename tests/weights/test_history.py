# SPDX-License-Identifier: AGPL-3.0-or-later
"""The registry's history: one active bundle at every moment, whatever is done, cut off or changed."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.types import StationFault
from weights.history import HISTORY_NAME, NOTHING, Act, BundleState, Entry, after, append, find, read, writing

A, B, C = "a" * 64, "b" * 64, "c" * 64


def act(folder: Path, what: Act, bundle: str, *, second: str = "") -> None:
    with writing(folder):
        append(folder, what, bundle, who="Ada", why="a reason", second=second, facts={"x": 1.5})


@pytest.fixture
def promoted(tmp_path: Path) -> Path:
    """A was adopted, B promoted over it, C waits."""
    act(tmp_path, Act.ADOPT, A)
    act(tmp_path, Act.ADD, B)
    act(tmp_path, Act.PROMOTE, B)
    act(tmp_path, Act.ADD, C)
    return tmp_path


def test_a_promotion_retires_the_bundle_before_in_the_same_act(promoted: Path) -> None:
    standing = read(promoted)
    assert standing.active == B
    assert standing.states == {A: BundleState.RETIRED, B: BundleState.ACTIVE, C: BundleState.CANDIDATE}
    assert [e.who for e in standing.entries] == ["Ada"] * 4
    assert standing.entries[0].facts == {"x": 1.5}
    assert standing.act_number == 3


@pytest.mark.parametrize("what", [Act.ROLLBACK, Act.WITHDRAW, Act.REFUSE])
def test_going_back_brings_the_predecessor_and_only_once(promoted: Path, what: Act) -> None:
    act(promoted, what, B)
    assert read(promoted).active == A
    with pytest.raises(StationFault, match="no earlier bundle"):
        act(promoted, what, A)
    assert read(promoted).active == A


def test_what_is_not_active_any_more_cannot_be_taken_back(promoted: Path) -> None:
    act(promoted, Act.PROMOTE, C)
    with pytest.raises(StationFault, match="not the active one"):
        act(promoted, Act.WITHDRAW, B)
    assert read(promoted).active == C


def test_a_second_shadow_takes_the_place_of_the_first(promoted: Path) -> None:
    act(promoted, Act.SHADOW, C)
    act(promoted, Act.SHADOW, A)
    standing = read(promoted)
    assert standing.shadow == A
    assert standing.states[C] is BundleState.CANDIDATE


def test_the_active_bundle_cannot_be_its_own_shadow(promoted: Path) -> None:
    with pytest.raises(StationFault, match="is active"):
        act(promoted, Act.SHADOW, B)


@pytest.mark.parametrize(("who", "why", "second"), [("", "x", ""), ("Ada", " ", ""), ("Ada", "x", "Ada")])
def test_an_act_without_a_name_a_reason_or_a_second_pair_of_eyes_is_refused(
    promoted: Path, who: str, why: str, second: str
) -> None:
    with writing(promoted), pytest.raises(StationFault, match=r"--who|--second"):
        append(promoted, Act.PROMOTE, C, who=who, why=why, second=second)


def test_a_line_cut_short_by_a_crash_never_happened(promoted: Path) -> None:
    path = promoted / HISTORY_NAME
    whole = path.read_bytes()
    act(promoted, Act.PROMOTE, C)
    longer = path.read_bytes()
    for size in range(len(whole), len(longer)):  # every byte at which a power cut may have come
        path.write_bytes(longer[:size])
        assert read(promoted).active == B
    act(promoted, Act.PROMOTE, C)
    assert read(promoted).active == C
    assert len(path.read_bytes().splitlines()) == 5


def test_every_changed_byte_of_the_history_is_seen(promoted: Path) -> None:
    path = promoted / HISTORY_NAME
    whole = path.read_bytes()
    for at in range(0, len(whole) - 1, 7):
        changed = bytearray(whole)
        changed[at] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(StationFault, match=r"history|Bundle|bundle"):
            read(promoted)


def test_a_line_taken_out_is_seen(promoted: Path) -> None:
    path = promoted / HISTORY_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(StationFault, match="line 2"):
        read(promoted)


def test_a_short_hash_names_a_bundle_only_when_it_names_one(promoted: Path) -> None:
    standing = read(promoted)
    assert find(standing, "aaaa") == A
    with pytest.raises(StationFault, match="holds no bundle"):
        find(standing, "abcd")


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Act)), st.sampled_from([A, B, C])),
        max_size=30,
    )
)
@settings(max_examples=300, deadline=None)
def test_at_no_moment_are_two_bundles_active_nor_none_after_there_was_one(acts: list[tuple[Act, str]]) -> None:
    standing, was_active = NOTHING, False
    for number, (what, bundle) in enumerate(acts, 1):
        entry = Entry(number=number, act=what, bundle=bundle, who="Ada", why="x", utc_ns=number)
        try:
            standing = after(standing, entry)
        except StationFault:
            continue
        active = [b for b, state in standing.states.items() if state is BundleState.ACTIVE]
        was_active = was_active or bool(active)
        assert len(active) == was_active
        assert standing.active == (active[0] if active else None)
        assert sum(s is BundleState.SHADOW for s in standing.states.values()) <= 1


def _promote_many(folder: Path, bundle: str) -> None:
    for _ in range(20):
        with writing(folder):
            if read(folder).active != bundle:
                append(folder, Act.PROMOTE, bundle, who=bundle[0], why="race")


def test_two_writers_at_a_time_leave_one_whole_history(promoted: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_promote_many, args=(promoted, name)) for name in (A, C)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    standing = read(promoted)
    assert [e.number for e in standing.entries] == list(range(1, len(standing.entries) + 1))
    assert list(standing.states.values()).count(BundleState.ACTIVE) == 1
