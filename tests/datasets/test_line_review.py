# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reviews of parts of the line: drawn by chance, on record for good, and rates that follow from them alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert

from datasets.beliefs import read
from datasets.cli import main
from datasets.line_audit import AuditPlan, plan_for, plans_of
from datasets.line_parts import PASS, REJECT, LinePart, find_part, judged_parts, reading_records
from datasets.line_rates import rates
from datasets.line_review import Said, reviews_of
from datasets.store import open_home
from inspection.records import schema as t
from inspection.records.database import open_writer
from inspection.types import StationFault
from tests.datasets.line_reviews import reviewed
from tests.weights.conftest import STATION

Tell = Callable[..., dict[str, Any]]
AT_NS = 1_900_000_000 * 10**9  # after any plan of today


def part_of(number: int, outcome: str = PASS, *, at_ns: int = AT_NS) -> LinePart:
    return LinePart(
        id=number,
        epoch=9,
        ordinal=number,
        trigger_utc_ns=at_ns + number * 10**9,
        outcome=outcome,
        bundle_sha256="b" * 64,
    )


def plan_of(pass_share: float = 0.1, *, kept: float = 0.5, since: int = 0, rejects: float = 1.0) -> AuditPlan:
    return AuditPlan(
        station="x", pass_share=pass_share, reject_share=rejects, kept_share=kept, key=b"k", since_utc_ns=since
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A station with 400 parts on record, every tenth of them rejected; its pictures are all kept."""
    (tmp_path / "station.toml").write_text(
        STATION + '\n[records]\npass_share = 1.0\n[watch]\ndataset = "home"\n'
    )
    engine = open_writer(tmp_path / "data" / "records.sqlite")
    with engine.begin() as connection:
        run = {"journal_index": 1, "epoch": 9, "started_utc_ns": 1, "station": "test"}
        connection.execute(insert(t.runs).values(id=1, recipe_sha256="r", bundle_sha256="b" * 64, **run))
        rows = []
        for number in range(1, 401):
            part = part_of(number, REJECT if number % 10 == 0 else PASS)
            row = {"run_id": 1, "epoch": 9, "ordinal": number, "seq": 1, "outcome": part.outcome}
            row |= {"trigger_utc_ns": part.trigger_utc_ns, "bundle_sha256": part.bundle_sha256}
            row |= {"reason": "none", "rejected_by": "[]", "trigger_ns": 1, "deadline_ns": 2, "closed_ns": 2}
            rows.append(row | {"recipe_sha256": "r"})
        connection.execute(insert(t.parts), rows)
    engine.dispose()
    return tmp_path


@pytest.fixture
def tell(folder: Path, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Run `gatesight data`; the answer, with its exit code."""

    def run(*words: object) -> dict[str, Any]:
        code = main([*(str(word) for word in words), "--config", str(folder / "station.toml"), "--json"])
        return json.loads(capsys.readouterr().out) | {"code": code}

    return run


def name_of(number: int) -> str:
    return part_of(number).name


# --- the draw


def test_the_draw_takes_its_share_of_kept_passes_and_depends_on_nothing_else() -> None:
    plan = plan_of(0.1, kept=0.4)
    drawn = [part for part in map(part_of, range(20_000)) if plan.draws(part)]
    assert abs(len(drawn) - 2000) < 5 * np.sqrt(2000 * 0.9)
    assert all(plan_of(0.4, kept=0.4).draws(part) for part in drawn), "every drawn one has its pictures kept"
    assert sum(plan.draws(part_of(n, REJECT)) for n in range(100)) == 100
    assert not plan.draws(part_of(1, "not_inspected"))


def test_a_part_belongs_to_the_plan_that_was_in_force_when_it_came() -> None:
    plans = [plan_of(0.1, since=AT_NS), plan_of(0.3, since=AT_NS + 10 * 10**9)]
    assert plan_for(plans, part_of(0, at_ns=AT_NS - 1)) is None
    assert [plan_for(plans, part_of(n)) for n in (0, 9, 10)] == [plans[0], plans[0], plans[1]]


@pytest.mark.parametrize("changed", [False, True])
def test_rates_are_unbiased_and_their_bound_holds_though_chosen_parts_are_reviewed_too(changed: bool) -> None:
    """2 % escapes; besides those drawn, every escape that somebody found otherwise is on record as well."""
    errors, held = [], 0
    for seed in range(60):
        chance = np.random.default_rng(seed)
        plan = AuditPlan(
            station="x",
            pass_share=0.1,
            reject_share=1.0,
            kept_share=1.0,
            key=seed.to_bytes(2, "big"),
            since_utc_ns=0,
        )
        plans = [plan, plan_of(0.3, kept=1.0, since=AT_NS + 1000 * 10**9)] if changed else [plan]
        parts = [part_of(n) for n in range(1500)]
        bad = chance.random(len(parts)) < 0.02
        known = {
            part.key: reviewed(part, Said.DEFECTIVE if wrong else Said.GOOD)
            for part, wrong in zip(parts, bad, strict=True)
            if wrong or plan_for(plans, part).draws(part)  # type: ignore[union-attr]
        }
        found = rates(parts, plans, known).escapes
        assert found.exact is not changed
        errors.append((found.rate or 0.0) - bad.mean())
        held += found.upper_95 >= bad.mean()
    assert abs(np.mean(errors)) < 3.5 * np.std(errors) / np.sqrt(len(errors))
    assert held >= 52  # 57 are due; three standard deviations below


# --- the commands


def test_a_plan_is_stated_reviews_are_given_and_rates_follow(folder: Path, tell: Tell) -> None:
    assert tell("audit", "--passes", "0.25", "--who", "Ada")["plan"]["passes"] == 0.25
    with open_home(folder / "home") as home:
        (plan,) = plans_of(home, "test")
    with reading_records(folder / "data" / "records.sqlite") as connection:
        parts = list(judged_parts(connection))
    drawn = [part for part in parts if plan.draws(part)]
    passes = [part for part in drawn if part.outcome == PASS]
    rows = [f"{part.name},{'defective' if part is passes[0] else 'good'}" for part in drawn[:-1]]
    (folder / "said.csv").write_text("part,said\n" + "\n".join(rows) + "\n")
    assert tell("review", "--file", folder / "said.csv", "--who", "Bea")["saved"] == len(rows)
    again = tell("review", "--file", folder / "said.csv", "--who", "Bea")
    assert (again["saved"], again["known"]) == (0, len(rows))
    found = tell("audit")
    assert (found["inspected"], found["escapes"]["passes"], found["escapes"]["picked"]) == (
        400,
        360,
        len(passes),
    )
    assert (found["escapes"]["escapes"], found["escapes"]["exact"]) == (1, True)
    assert found["escapes"]["rate"] == pytest.approx(4 / 360)  # it stands for 1 / 0.25 passes
    assert found["overkill"]["good"] == found["overkill"]["judged"] == 39  # the last drawn one waits
    assert found["overkill"]["rate"] == pytest.approx(0.1)
    assert "key" not in found["plans"][0]
    assert tell("audit", "--bundle", "cc")["inspected"] == 0


def test_a_second_word_about_a_part_needs_to_say_so_and_both_stay_on_record(tell: Tell) -> None:
    word = ("review", "--part", name_of(3), "--who")
    assert tell(*word, "Bea", "--said", "good")["saved"] == 1
    refused = tell(*word, "Cem", "--said", "defective")
    assert refused["code"] == 3
    assert "Bea said good" in refused["error"]
    assert tell(*word, "Cem", "--said", "defective", "--class", "dent", "--replace")["saved"] == 1
    listed = tell("review", "--list")["reviews"]
    assert [(one["who"], one["said"], one["class"], one["counts"]) for one in listed] == [
        ("Bea", "good", None, False),
        ("Cem", "defective", "dent", True),
    ]
    assert listed[0]["outcome"] == "pass"


def test_a_review_keeps_the_probability_it_was_drawn_with_and_a_chosen_one_has_none(
    folder: Path, tell: Tell
) -> None:
    tell("audit", "--passes", "0.25", "--rejects", "0.5")
    with open_home(folder / "home") as home:
        (plan,) = plans_of(home, "test")
    rejects = [part_of(n, REJECT) for n in range(10, 401, 10)]
    one, other = (next(part for part in rejects if plan.draws(part) is drawn) for drawn in (True, False))
    for part in (one, other):
        tell("review", "--part", part.name, "--said", "good")
    with open_home(folder / "home") as home:
        known = reviews_of(home, "test")
    assert (known[one.key].probability, known[other.key].probability) == (0.5, None)
    assert tell("audit")["overkill"]["judged"] == 1


def test_pictures_of_a_good_part_are_good_and_those_of_a_defective_one_still_ask_where(
    folder: Path, tell: Tell
) -> None:
    from datasets.adding import add
    from datasets.labels import LabelledSet, Picture
    from tests.datasets.homes import draw

    with open_home(folder / "home", create=True) as home:
        pictures = tuple(
            Picture(name=f"line/{name_of(n)}-0.png", path=draw(folder, f"{n}.png", n), width_px=8, height_px=8)
            for n in (1, 2)
        )
        add(home, LabelledSet(classes=(), pictures=pictures, source=folder), who="A", why="b", unlabelled=True)
    tell("review", "--part", name_of(1), "--said", "good")
    tell("review", "--part", name_of(2), "--said", "defective")
    with open_home(folder / "home") as home:
        assert [one.name for one in read(home, unlabelled=False).pictures] == [f"line/{name_of(1)}-0.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["review", "--part", "2030-01-01/9-000001", "--said", "good"], "hold no part"),
        (["review", "--part", "the third", "--said", "good"], "names no part"),
        (["review", "--part", "2030-13-01/9-000001", "--said", "good"], "names no part"),
        (["review", "--part", "x"], "--said good"),
        (["review"], "--part NAME"),
        (["review", "--file", "{}/bad.csv"], "line 3: 'perhaps' is none of"),
        (["audit"], "ever drawn"),
        (["audit", "--passes", "1.5"], "above 0 and up to 1"),
        (["audit", "--rejects", "0.5"], "--passes"),
    ],
)
def test_bad_input_gets_one_sentence_and_changes_nothing(
    folder: Path, tell: Tell, words: list[str], sentence: str
) -> None:
    open_home(folder / "home", create=True).close()
    (folder / "bad.csv").write_text(f"part,said\n{name_of(1)},good\n{name_of(2)},perhaps\n")
    refused = tell(*(word.format(folder) for word in words))
    assert refused["code"] == 3
    assert sentence in refused["error"]
    with open_home(folder / "home") as home:
        assert not reviews_of(home, "test")
        assert not plans_of(home, "test")


def test_more_passes_than_have_pictures_cannot_be_drawn(folder: Path, tell: Tell) -> None:
    toml = folder / "station.toml"
    toml.write_text(toml.read_text().replace("pass_share = 1.0", "pass_share = 0.1"))
    assert "records.pass_share" in tell("audit", "--passes", "0.2")["error"]
    assert not (folder / "home").exists(), "a refusal leaves no new home behind"
    assert tell("audit", "--passes", "0.1")["ok"]


def test_records_that_are_not_there_are_named(folder: Path) -> None:
    with pytest.raises(StationFault, match="run yet"), reading_records(folder / "none.sqlite"):
        pass
    with reading_records(folder / "data" / "records.sqlite") as connection:
        assert find_part(connection, name_of(7)) == part_of(7)
