# SPDX-License-Identifier: AGPL-3.0-or-later
"""Another bundle takes over on a running line: no part is lost or judged half and half, and back in seconds."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from inspection.twin.audit import audit
from inspection.twin.line import SimulatedLine, kill_process
from tests.line.swap_line import (
    changes,
    judged_by,
    judges,
    lost_otherwise,
    promote,
    registry_of,
    swap_options,
    wrong_stamps,
)
from weights.history import Act, append, writing
from weights.registry import bundle_folder

pytestmark = pytest.mark.serial


@pytest.mark.timeout(300)
def test_a_swap_and_a_rollback_under_load_lose_no_part(tmp_path: Path) -> None:
    options, second = swap_options(tmp_path, rate_parts_per_s=10.0, seed=3)
    with SimulatedLine(options, tmp_path / "data") as line:
        line.start()
        line.run(1.5)
        config = line.config
        assert config is not None
        before, after = promote(line, second)
        assert judges(line, after)
        line.run(1.5)
        registry_of(config).go_back(Act.ROLLBACK, who="Bea", why="smears")
        asked_s = time.monotonic()
        assert judges(line, before)
        took_s = time.monotonic() - asked_s
        line.run(1.0)
        line.finish()
        report = audit(line)
    assert report["why_not"] == []
    assert report["truth"]["false_pass"] == 0
    assert lost_otherwise(config.journal_dir) == []
    assert wrong_stamps(config.journal_dir) == []
    assert min(judged_by(config.journal_dir).get(sha, 0) for sha in (before, after)) >= 5
    acts = [(c.bundle_sha256, c.who, c.why) for c in changes(config.journal_dir)]
    assert acts == [(after, "Ada", "a test"), (before, "Bea", "smears")]
    assert report["pass"] > 10 * report["not_inspected"]
    print(f"rollback took {took_s:.2f} s")


@pytest.mark.timeout(600)
def test_an_inspector_killed_in_the_middle_of_a_swap_ends_in_the_old_bundle_or_the_new(tmp_path: Path) -> None:
    options, second = swap_options(tmp_path, rate_parts_per_s=8.0, seed=4)
    chance = random.Random(4)
    with SimulatedLine(options, tmp_path / "data") as line:
        line.start()
        line.run(1.0)
        config = line.config
        assert config is not None
        for _ in range(2):
            before, after = promote(line, second)
            line.run(chance.uniform(0.0, 0.5))
            reading = line.read_board()
            assert reading is not None
            kill_process(reading.pids["inspector"])
            assert judges(line, after)  # told again after its restart
            line.run(1.0)
            registry_of(config).go_back(Act.ROLLBACK, who="Bea", why="back")
            assert judges(line, before)
        line.run(1.0)
        line.finish()
        report = audit(line)
    assert report["why_not"] == []
    assert report["truth"]["false_pass"] == 0
    assert wrong_stamps(config.journal_dir) == []
    assert set(judged_by(config.journal_dir)) <= {before, after}
    assert report["pass"] > 10


@pytest.mark.timeout(300)
def test_a_tampered_bundle_is_not_taken_and_the_registry_says_why(tmp_path: Path) -> None:
    options, second = swap_options(tmp_path, rate_parts_per_s=8.0, seed=5)
    with SimulatedLine(options, tmp_path / "data") as line:
        line.start()
        config = line.config
        assert config is not None
        registry = registry_of(config)
        before = registry.adopt(config.station.bundle, who="Ada", why="configured")
        after = registry.add(second, who="Ada", why="candidate")
        model = bundle_folder(config.registry_dir, after) / "model.onnx"
        model.write_bytes(model.read_bytes()[:-1] + b"x")
        with writing(config.registry_dir):
            append(config.registry_dir, Act.PROMOTE, after, who="Eve", why="past the rule")
        assert line.run(60.0, lambda: registry.standing.active == before)
        line.run(1.0)
        line.finish()
        assert audit(line)["why_not"] == []
    last = registry.standing.entries[-1]
    assert (last.act, last.who) == (Act.REFUSE, "station")
    assert "changed or damaged" in last.why
    assert set(judged_by(config.journal_dir)) == {before}
    assert lost_otherwise(config.journal_dir) == []
