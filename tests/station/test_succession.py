# SPDX-License-Identifier: AGPL-3.0-or-later
"""The supervisor follows the registry, and the registry follows what the station could take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from inspection.link import Link, link_pair
from inspection.messages import BundleTaken, UseBundle
from inspection.pins import Pins
from inspection.succession import Succession
from weights.history import Act, append, read, writing

A, B, C = "a" * 64, "b" * 64, "c" * 64
S = 1_000_000_000


class Rig:
    """A registry, a succession, and the inspector's end of its link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ends = link_pair()
        self.inspector = Link(self._ends[1])
        self.supervisor = Link(self._ends[0])
        self.said: list[str] = []
        self.now_ns = S
        self.act(Act.ADOPT, A)
        for bundle in (B, C):
            self.act(Act.ADD, bundle)
        config = SimpleNamespace(registry_dir=folder)
        pins = Pins(station="s", recipe="r", bundle=A)
        self.succession = Succession(config, pins, self.supervisor, self.said.append)  # type: ignore[arg-type]
        self.look()

    def act(self, what: Act, bundle: str) -> None:
        with writing(self.folder):
            append(self.folder, what, bundle, who="Ada", why="a reason")

    def look(self, seconds: float = 1.1) -> bool:
        self.now_ns += int(seconds * S)
        return self.succession.look(self.now_ns)

    def orders(self) -> list[UseBundle]:
        found: list[UseBundle] = []
        while (message := self.inspector.receive()) is not None:
            assert isinstance(message, UseBundle)
            found.append(message)
        return found

    def answer(self, order: UseBundle, refusal: str = "") -> bool:
        said = BundleTaken(act=order.act, bundle_sha256=order.bundle_sha256, refusal=refusal)
        assert self.inspector.send(said)
        return self.look()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.inspector.close()
    made.supervisor.close()


def test_nothing_is_ordered_while_the_registry_names_what_runs(rig: Rig) -> None:
    rig.look()
    assert rig.orders() == []


def test_a_promotion_is_ordered_until_it_is_taken_and_only_then_pinned(rig: Rig) -> None:
    rig.act(Act.PROMOTE, B)
    assert not rig.look()
    assert not rig.look()
    orders = rig.orders()
    assert len(orders) == 2
    assert {(o.bundle_sha256, o.who, o.why) for o in orders} == {(B, "Ada", "a reason")}
    assert rig.succession.pins.bundle == A
    assert rig.answer(orders[0])
    assert rig.succession.pins.bundle == B
    rig.look()
    assert rig.orders() == []


def test_what_the_station_cannot_take_is_taken_back_in_the_registry(rig: Rig) -> None:
    rig.act(Act.PROMOTE, B)
    rig.look()
    assert not rig.answer(rig.orders()[0], "its hash differs.")
    rig.look()
    standing = read(rig.folder)
    assert standing.active == A
    assert (standing.entries[-1].act, standing.entries[-1].who) == (Act.REFUSE, "station")
    assert "its hash differs" in standing.entries[-1].why
    rig.look()
    assert rig.orders() == []
    assert rig.succession.pins.bundle == A


def test_a_refusal_does_not_undo_what_somebody_promoted_since(rig: Rig) -> None:
    rig.act(Act.PROMOTE, B)
    rig.look()
    order = rig.orders()[0]
    rig.act(Act.PROMOTE, C)
    rig.answer(order, "too slow")
    assert read(rig.folder).active == C
    assert rig.orders()[-1].bundle_sha256 == C


def test_a_rollback_while_the_bundle_is_still_loading_ends_in_the_old_one(rig: Rig) -> None:
    rig.act(Act.PROMOTE, B)
    rig.look()
    first = rig.orders()[0]
    rig.act(Act.ROLLBACK, B)
    rig.look()
    second = rig.orders()[-1]
    assert second.bundle_sha256 == A
    rig.answer(first)  # it could not be stopped any more
    assert rig.succession.pins.bundle == B
    rig.answer(second)
    assert rig.succession.pins.bundle == A
    rig.orders()  # what it had repeated meanwhile
    rig.look()
    assert rig.orders() == []


def test_an_inspector_that_dies_over_a_bundle_three_times_is_spared_it(rig: Rig) -> None:
    rig.act(Act.PROMOTE, B)
    rig.look()
    for _ in range(3):
        assert not rig.succession.inspector_died(refused_to_start=False)
    rig.look()
    assert read(rig.folder).active == A
    assert rig.succession.pins.bundle == A


def test_an_inspector_that_cannot_start_is_given_what_the_registry_names_by_now(rig: Rig) -> None:
    """The way out for a person: the pinned bundle is damaged, nothing runs, and somebody rolls back."""
    assert not rig.succession.inspector_died(refused_to_start=True)
    rig.act(Act.PROMOTE, B)
    rig.look()
    assert rig.succession.inspector_died(refused_to_start=True)
    assert rig.succession.pins.bundle == B


def test_a_damaged_history_changes_nothing_and_is_said_once(rig: Rig) -> None:
    path = rig.folder / "history.jsonl"
    path.write_bytes(path.read_bytes().replace(b"a reason", b"a season"))
    rig.look()
    rig.look()
    assert rig.orders() == []
    assert len([s for s in rig.said if "changed or damaged" in s]) == 1
    assert rig.succession.pins.bundle == A


def test_a_held_registry_makes_nobody_wait(rig: Rig) -> None:
    rig.act(Act.PROMOTE, B)
    rig.look()
    with writing(rig.folder):
        rig.answer(rig.orders()[0], "no")
        rig.look()
        assert read(rig.folder).active == B
    rig.look()
    assert read(rig.folder).active == A
