# SPDX-License-Identifier: AGPL-3.0-or-later
"""From reviews and records to a withdrawal in the watch's own name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert

from inspection.config import load_config
from inspection.records import schema as t
from inspection.records.database import open_writer
from inspection.watching import look, main
from tests.weights.conftest import Bench
from weights.history import Act
from weights.registry import Registry

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def promoted(bench: Bench) -> Registry:
    """`second` was promoted over `first`."""
    registry = Registry(bench.registry, [bench.trusted])
    registry.adopt(bench.folder / "first", who="Ada", why="configured")
    second = registry.add(bench.folder / "second", who="Ada", why="candidate")
    registry.promote(second, who="Ada", why="better", expected_active=bench.shas["first"], facts={})
    return registry


def records(
    bench: Bench, registry: Registry, before: np.ndarray, after: np.ndarray, *, sampled: float = 1.0
) -> Path:
    """Good parts: rejected or not, by the bundle before and the one after; reviews of all or of a sample."""
    since_ns = registry.standing.entry(registry.standing.act_number).utc_ns
    chance = np.random.default_rng(9)
    engine = open_writer(load_config(bench.folder / "station.toml").records_db)
    rows, lines = [], []
    for bundle, begin_ns, rejected in (
        (bench.shas["first"], since_ns - 10**10, before),
        (bench.shas["second"], since_ns + 10**9, after),
    ):
        for i, bad in enumerate(rejected):
            ordinal = i + 1 if bundle == bench.shas["first"] else 100_000 + i
            at_ns = begin_ns + i
            rows.append(
                {
                    "run_id": 1,
                    "epoch": 7,
                    "ordinal": ordinal,
                    "seq": 1,
                    "trigger_utc_ns": at_ns,
                    "outcome": "reject" if bad else "pass",
                    "reason": "none",
                    "rejected_by": "[]",
                    "trigger_ns": 1,
                    "deadline_ns": 2,
                    "closed_ns": 2,
                    "recipe_sha256": "r",
                    "bundle_sha256": bundle,
                }
            )
            if bad or chance.random() < sampled:
                review = {"epoch": 7, "ordinal": ordinal, "utc_ns": at_ns, "defective": False, "share": sampled}
                lines.append(json.dumps(review))
    with engine.begin() as connection:
        run = {"id": 1, "journal_index": 1, "epoch": 7, "started_utc_ns": 1, "station": "x"}
        connection.execute(insert(t.runs).values(**run, recipe_sha256="r", bundle_sha256="b"))
        connection.execute(insert(t.parts), rows)
    engine.dispose()
    path = bench.folder / "reviews.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def shares(before: float, after: float) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(2)
    return chance.random(2500) < before, chance.random(1000) < after


@pytest.mark.parametrize("sampled", [1.0, 0.2])
def test_a_bundle_that_rejects_three_times_as_many_good_parts_is_withdrawn(
    bench: Bench, promoted: Registry, sampled: float
) -> None:
    path = records(bench, promoted, *shares(0.02, 0.12 if sampled < 1 else 0.06), sampled=sampled)
    found = look(load_config(bench.folder / "station.toml"), path)
    assert found["withdrawn"]
    assert found["active"] == bench.shas["first"]
    last = promoted.standing.entries[-1]
    assert (last.act, last.who) == (Act.WITHDRAW, "watch")
    assert "overkill" in last.why


@pytest.mark.parametrize("sampled", [1.0, 0.2])
def test_one_that_is_as_good_stays_however_it_was_sampled(
    bench: Bench, promoted: Registry, sampled: float
) -> None:
    path = records(bench, promoted, *shares(0.02, 0.02), sampled=sampled)
    found = look(load_config(bench.folder / "station.toml"), path)
    assert not found["withdrawn"]
    assert promoted.standing.active == bench.shas["second"]
    assert found["overkill"]["parts"] > 100


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 1"),
        ('{"epoch": 1}', "line 1"),
        ('{"epoch": 1, "ordinal": 1, "utc_ns": 1, "defective": 1}', "true"),
    ],
)
def test_a_review_that_is_none_is_refused_with_its_line(
    bench: Bench, promoted: Registry, capsys: pytest.CaptureFixture[str], line: str, sentence: str
) -> None:
    path = bench.folder / "reviews.jsonl"
    path.write_text(line)
    code = main(["--config", str(bench.folder / "station.toml"), "--reviews", str(path), "--json"])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == 3
    assert sentence in said["error"]


def test_without_a_promotion_there_is_nothing_to_watch(bench: Bench, command: Callable[..., Any]) -> None:
    path = bench.folder / "reviews.jsonl"
    path.write_text("")
    open_writer(load_config(bench.folder / "station.toml").records_db).dispose()
    assert main(["--config", str(bench.folder / "station.toml"), "--reviews", str(path)]) == 3
