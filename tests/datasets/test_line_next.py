# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person sees next of a line: disagreements first, then what was drawn by chance, then what teaches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sqlalchemy import insert

from datasets.cli import main
from datasets.labelling import judge
from datasets.line_audit import plans_of
from datasets.line_parts import judged_parts, reading_records
from datasets.store import open_home
from inspection.records import schema as t
from inspection.records.database import open_writer
from inspection.storage.images import ImageStore
from tests.datasets.test_line_review import AT_NS
from tests.weights.conftest import RECIPE, STATION

Tell = Callable[..., dict[str, Any]]
PARTS, SHADOWED, ODD, UNSURE = 40, (3, 5), 17, 23


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty passes with pictures. The shadow would reject two, one looks odd, one came near its limit."""
    (tmp_path / "station.toml").write_text(STATION + "\n[records]\npass_share = 1.0\n")
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    engine, store = open_writer(tmp_path / "data/records.sqlite"), ImageStore(tmp_path / "data/images")
    chance = np.random.default_rng(0)
    with engine.begin() as c:
        run = {"journal_index": 1, "epoch": 9, "started_utc_ns": 1, "station": "test"}
        c.execute(insert(t.runs).values(id=1, recipe_sha256="r", bundle_sha256="b" * 64, **run))
        for number in range(1, PARTS + 1):
            at_ns = AT_NS + number * 10**9
            row = {"id": number, "run_id": 1, "epoch": 9, "ordinal": number, "seq": 1, "outcome": "pass"}
            row |= {"reason": "none", "rejected_by": "[]", "trigger_ns": 1, "deadline_ns": 2, "closed_ns": 2}
            row |= {"recipe_sha256": "r", "bundle_sha256": "b" * 64, "trigger_utc_ns": at_ns}
            c.execute(insert(t.parts).values(row))
            pixels = np.clip(chance.normal(120, 3, (32, 32)), 0, 255).astype(np.uint8)
            if number == ODD:
                pixels[::2] = 255
            data = cv2.imencode(".png", pixels)[1].tobytes()
            view = {"part_id": number, "camera": 0, "serial": "LS0001", "width": 32, "height": 32}
            c.execute(insert(t.views).values(image_sha256=store.put(data, "png"), image_type="png", **view))
            score = 0.88 if number == UNSURE else 0.05  # the recipe's limit is 0.9
            box = {"x0": 1.0, "y0": 1.0, "x1": 4.0, "y1": 4.0}
            c.execute(
                insert(t.findings).values(part_id=number, camera=0, defect_class="dent", score=score, **box)
            )
            shadow = {"epoch": 9, "ordinal": number, "seq": 1, "utc_ns": at_ns + 10**8, "outcome": "pass"}
            wrong = number in SHADOWED
            shadow |= {"bundle_sha256": "b" * 64, "score": score, "shadow_sha256": "s" * 64, "rejected_by": ""}
            shadow |= {"shadow_outcome": "reject" if wrong else "pass", "agrees": not wrong}
            c.execute(insert(t.shadow).values(shadow_score=0.8 if number == SHADOWED[1] else 0.6, **shadow))
    engine.dispose()
    return tmp_path


@pytest.fixture
def tell(folder: Path, capsys: pytest.CaptureFixture[str]) -> Tell:
    def run(*words: object) -> dict[str, Any]:
        place = ["--config", folder / "station.toml", "--json"]
        code = main([str(word) for word in (words[0], folder / "home", *words[1:], *place)])
        return json.loads(capsys.readouterr().out) | {"code": code}

    return run


def ordinals(answer: dict[str, Any], why: str | None = None) -> list[int]:
    return [int(one["part"].rpartition("-")[2]) for one in answer["next"] if why in (None, one["why"])]


def test_disagreements_come_first_then_the_draw_then_what_teaches(folder: Path, tell: Tell) -> None:
    tell("audit", "--passes", "0.2")
    found = tell("next", "--count", "12", "--quick")
    assert ordinals(found)[:2] == [5, 3], "the farther apart, the sooner"
    kinds = [one["why"] for one in found["next"]]
    assert kinds == sorted(kinds, key=lambda why: 0 if why == "disputed" else 1 if why == "audit" else 2)
    assert len(found["next"]) == len(set(ordinals(found))) == 12
    with open_home(folder / "home") as home, reading_records(folder / "data/records.sqlite") as connection:
        (plan,) = plans_of(home, "test")
        drawn = [p.ordinal for p in judged_parts(connection) if plan.draws(p) and p.ordinal not in SHADOWED]
    assert ordinals(found, "audit") == drawn[:5], "oldest first, half of what is left"
    assert {ODD, UNSURE} <= {*ordinals(found), *drawn}
    assert all(Path(one["pictures"][0]).is_file() for one in found["next"])
    assert not any(word in json.dumps(found["next"]) for word in ("pass", "reject")), "the reviewer looks first"


def test_what_was_reviewed_is_not_asked_again(tell: Tell) -> None:
    tell("audit", "--passes", "0.2")
    asked = tell("next", "--count", "6", "--quick")
    for one in asked["next"]:
        tell("review", "--part", one["part"], "--said", "good")
    assert not {one["part"] for one in tell("next", "--count", "30", "--quick")["next"]} & {
        one["part"] for one in asked["next"]
    }


def test_the_sampler_brings_what_is_unsure_and_what_looks_new(tell: Tell) -> None:
    found = tell("next", "--count", "12", "--quick")  # no audit: its places go to the sampler
    assert ordinals(found, "audit") == []
    assert ordinals(found, "uncertain")[0] == UNSURE
    assert ODD in ordinals(found, "new")
    assert ordinals(tell("next", "--count", "12", "--quick")) == ordinals(found)


def test_without_a_line_the_unlabelled_pictures_of_a_dataset_are_ranked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = np.random.default_rng(1)
    for name, bright in (("good", 100), ("dent", 160)):
        (tmp_path / "known" / name).mkdir(parents=True)
        for n in range(6):
            pixels = np.clip(chance.normal(bright, 4, (32, 32)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "known" / name / f"{n}.png"), pixels)
    (tmp_path / "new").mkdir()
    for n, bright in enumerate((100, 130, 160)):
        pixels = np.clip(chance.normal(bright, 4, (32, 32)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "new" / f"n{n}.png"), pixels)
    home = str(tmp_path / "home")
    assert main(["import", str(tmp_path / "known"), "--into", home]) == 0
    assert main(["import", str(tmp_path / "new"), "--into", home, "--unlabelled"]) == 0
    capsys.readouterr()
    assert main(["next", home, "--pictures", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["picture"] for one in found["next"]} == {"n0.png", "n1.png", "n2.png"}
    assert found["next"][0]["text"].startswith("unsure: ")
    with open_home(tmp_path / "home") as opened:
        judge(opened, "n1.png", "good", who="Ann", why="seen")
    assert main(["next", home, "--pictures", "--quick", "--json"]) == 0
    assert "n1.png" not in capsys.readouterr().out


def test_bad_numbers_and_missing_places_are_one_sentence(tmp_path: Path, tell: Tell) -> None:
    assert "1 at least" in tell("next", "--count", "0")["error"]
    (tmp_path / "data" / "records.sqlite").rename(tmp_path / "data" / "elsewhere.sqlite")
    assert "run yet" in tell("next", "--quick")["error"]
    assert not (tmp_path / "home").exists(), "a refusal leaves no new home behind"
    assert main(["next", "--pictures"]) == 3
