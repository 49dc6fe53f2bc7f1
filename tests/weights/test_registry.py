# SPDX-License-Identifier: AGPL-3.0-or-later
"""The registry and its commands: verified copies, named people, and nothing promoted that is worse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inspection.types import StationFault
from tests.weights.conftest import STATION, Bench
from weights.history import Act, BundleState
from weights.registry import Registry, bundle_folder

Command = Callable[..., tuple[int, dict[str, Any], str]]
PERSON = ("--who", "Ada", "--why", "fewer escapes")


@pytest.fixture
def registry(bench: Bench) -> Registry:
    return Registry(bench.registry, [bench.trusted])


@pytest.fixture
def running(bench: Bench, command: Command) -> Bench:
    """`first` is active, evaluated; `second` is a candidate."""
    assert (
        command(
            "promote",
            bench.folder / "first",
            "--evaluation",
            bench.evaluation("first", escapes=1, overkill=2),
            *PERSON,
        )[0]
        == 0
    )
    return bench


def test_a_bundle_is_copied_by_content_and_verified_when_read(bench: Bench, registry: Registry) -> None:
    sha256 = registry.add(bench.folder / "first", who="Ada", why="new")
    shutil.rmtree(bench.folder / "first")
    assert registry.load(sha256).card.name == "first"
    assert registry.standing.states == {sha256: BundleState.CANDIDATE}
    model = bundle_folder(bench.registry, sha256) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(StationFault, match="changed or damaged"):
        registry.load(sha256)


def test_a_copy_that_was_exchanged_for_another_good_bundle_is_refused(bench: Bench, registry: Registry) -> None:
    first = registry.add(bench.folder / "first", who="Ada", why="new")
    folder = bundle_folder(bench.registry, first)
    shutil.rmtree(folder)
    shutil.copytree(bench.folder / "second", folder)
    with pytest.raises(StationFault, match="exchanged"):
        registry.load(first)


def test_a_bundle_of_an_unknown_maker_does_not_enter(bench: Bench, registry: Registry) -> None:
    bench.bundle("foreign", key=Ed25519PrivateKey.generate())
    with pytest.raises(StationFault, match="does not trust"):
        registry.add(bench.folder / "foreign", who="Ada", why="new")
    assert not registry.standing.states
    assert not list((bench.registry / "bundles").glob("*")) if (bench.registry / "bundles").exists() else True


def test_the_way_of_a_bundle_from_candidate_to_retired_and_back(running: Bench, command: Command) -> None:
    second = running.shas["second"]
    assert (
        command("add", running.folder / "second", "--evaluation", running.evaluation("second", overkill=1))[0]
        == 0
    )
    assert command("shadow", second[:12], *PERSON)[1]["shadow"] == second
    code, said, _ = command("promote", second[:12], *PERSON)
    assert (code, said["promoted"], said["from"]) == (0, True, running.shas["first"])
    assert any("0 against 1" in reason["sentence"] for reason in said["reasons"])
    code, said, _ = command("rollback", "--who", "Bea", "--why", "smears")
    assert (code, said["active"]) == (0, running.shas["first"])
    listed = {m["name"]: m for m in command("list")[1]["models"]}
    assert listed["first"]["state"] == "active"
    assert listed["second"]["state"] == "retired"
    assert [(a["act"], a["who"]) for a in listed["second"]["acts"]] == [
        ("add", listed["second"]["acts"][0]["who"]),
        ("shadow", "Ada"),
        ("promote", "Ada"),
        ("rollback", "Bea"),
    ]
    assert listed["second"]["acts"][2]["facts"]["figures"]["escapes_candidate"] == 0


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({"escapes": 2, "overkill": 2}, "Escapes on 60 defective golden parts: 2 against 1"),
        ({"escapes": 1, "overkill": 9}, "Overkill on 100 good golden parts: 9 against 2"),
        ({"escapes": 0, "golden": "h" * 64}, "same golden set"),
    ],
)
def test_a_worse_candidate_is_refused_and_nothing_moves(
    running: Bench, command: Command, figures: dict[str, Any], sentence: str
) -> None:
    evaluation = running.evaluation("second", **figures)
    code, said, error = command("promote", running.folder / "second", "--evaluation", evaluation, *PERSON)
    assert (code, said["promoted"], said["ok"]) == (3, False, False)
    assert sentence in error
    assert command("list")[1]["active"] == running.shas["first"]


def test_a_candidate_that_nobody_evaluated_or_whose_export_flips_is_refused(
    running: Bench, command: Command
) -> None:
    assert "not evaluated" in command("promote", running.folder / "second", *PERSON)[2]
    running.bundle("flips", training={"parity": {"pictures": 24, "verdict_flips": 2}})
    evaluation = running.evaluation("flips")
    assert (
        "2 verdicts flip"
        in command("promote", running.folder / "flips", "--evaluation", evaluation, *PERSON)[2]
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not JSON"),
        ('{"x": 1}', "no evaluation"),
        ('{"part": {}, "bundle": "00"}', "evaluation of bundle 00"),
    ],
)
def test_an_evaluation_of_something_else_is_refused(
    bench: Bench, command: Command, content: str, sentence: str
) -> None:
    path = bench.folder / "e.json"
    path.write_text(content)
    code, _, error = command("add", bench.folder / "first", "--evaluation", path)
    assert code == 3
    assert sentence in error
    assert not command("list")[1]["models"]


def test_an_evaluation_that_was_changed_in_the_registry_decides_nothing(
    running: Bench, command: Command
) -> None:
    kept = next((running.registry / "evaluations").iterdir())
    kept.write_text(kept.read_text().replace('"rejected": false', '"rejected": true', 1))
    evaluation = running.evaluation("second", escapes=1)
    error = command("promote", running.folder / "second", "--evaluation", evaluation, *PERSON)[2]
    assert "changed or damaged" in error


def test_a_decision_is_void_when_somebody_else_promoted_meanwhile(running: Bench, registry: Registry) -> None:
    third = registry.add(running.folder / "third", who="Ada", why="x")
    second = registry.add(running.folder / "second", who="Ada", why="x")
    registry.promote(third, who="Bea", why="x", expected_active=running.shas["first"], facts={})
    with pytest.raises(StationFault, match="decide again"):
        registry.promote(second, who="Ada", why="x", expected_active=running.shas["first"], facts={})
    assert registry.standing.active == third


def test_there_is_no_way_back_to_a_damaged_bundle(running: Bench, registry: Registry) -> None:
    second = registry.add(running.folder / "second", who="Ada", why="x")
    registry.promote(second, who="Ada", why="x", expected_active=running.shas["first"], facts={})
    (bundle_folder(running.registry, running.shas["first"]) / "card.json").write_text("{}")
    with pytest.raises(StationFault, match="fetch the bundle again"):
        registry.go_back(Act.ROLLBACK, who="Ada", why="x")
    assert registry.standing.active == second


# --- with a station


def test_a_stations_own_bundle_is_entered_first_so_that_there_is_a_way_back(
    bench: Bench, command: Command
) -> None:
    command("add", bench.folder / "first", "--evaluation", bench.evaluation("first"), station=True)
    evaluation = bench.evaluation("second")
    code, said, error = command(
        "promote", bench.folder / "second", "--evaluation", evaluation, *PERSON, station=True
    )
    assert code == 0, error
    assert said["from"] == bench.shas["first"]
    assert any("ms (p99)" in reason["sentence"] for reason in said["reasons"])
    assert command("rollback", *PERSON, station=True)[1]["active"] == bench.shas["first"]


def test_a_candidate_that_the_stations_recipe_does_not_fit_is_refused_before_anything_changes(
    bench: Bench, command: Command
) -> None:
    command("add", bench.folder / "first", "--evaluation", bench.evaluation("first"), station=True)
    bench.bundle("coarse", floor_score=0.95)
    evaluation = bench.evaluation("coarse")
    code, said, error = command(
        "promote", bench.folder / "coarse", "--evaluation", evaluation, *PERSON, station=True
    )
    assert (code, said["promoted"]) == (3, False)
    assert "floor_score 0.95" in error
    assert command("list", station=True)[1]["active"] == bench.shas["first"]


def test_a_station_that_asks_for_two_people_gets_two(bench: Bench, command: Command) -> None:
    bench.station(STATION + "\n[promotion]\npeople = 2\n")
    command("add", bench.folder / "first", "--evaluation", bench.evaluation("first"), station=True)
    words = ("promote", bench.folder / "second", "--evaluation", bench.evaluation("second"), *PERSON)
    assert "--second" in command(*words, station=True)[2]
    assert not (bench.registry / "bundles" / bench.shas["second"]).exists()
    assert "another one than Ada" in command(*words, "--second", "Ada", station=True)[2]
    assert command("list", station=True)[1]["active"] is None
    code, _, error = command(*words, "--second", "Bea", station=True)
    assert code == 0, error
    acts = [m["acts"][-1] for m in command("list", station=True)[1]["models"] if m["state"] == "active"]
    assert (acts[0]["who"], acts[0]["second"]) == ("Ada", "Bea")


def test_an_unknown_key_of_the_promotion_table_is_refused(bench: Bench, command: Command) -> None:
    bench.station(STATION + "\n[promotion]\nperson = 2\n")
    code, said, _ = command("list", station=True)
    assert code == 3
    assert "unknown key promotion.person" in said["error"]
    json.dumps(said)
