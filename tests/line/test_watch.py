# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bad model on the running line: people review what was drawn, and the station withdraws it by itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets.cli import main as data
from datasets.line_parts import judged_parts, reading_records
from inspection.board import ProcessState
from inspection.config import StationConfig
from inspection.twin.audit import audit
from inspection.twin.line import SimulatedLine, kill_process
from inspection.types import StationFault
from tests.line.swap_line import changes, judges, promote, registry_of, wrong_stamps
from tests.line.test_shadow import options_of
from weights.history import Act

pytestmark = pytest.mark.serial
_PATIENCE_S = 150.0  # with a box that others work on; a quiet one needs seconds


def said(config: StationConfig, bundle: str, outcome: str) -> list[str]:
    """Names of the parts of which this bundle has said this, as far as the recorder has come."""
    with contextlib.suppress(StationFault), reading_records(config.records_db) as connection:
        return [p.name for p in judged_parts(connection, bundles=[bundle]) if p.outcome == outcome]
    return []  # it has not made its database yet


def counted(line: SimulatedLine, counter: str, least: int) -> Callable[[], bool]:
    """Whether the gate has counted so many."""

    def now() -> bool:
        reading = line.read_board()
        return reading is not None and reading.gate[counter] >= least

    return now


@pytest.mark.timeout(900)
def test_a_bad_model_is_withdrawn_by_itself_once_people_have_reviewed_its_rejects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    with SimulatedLine(replace(options_of(tmp_path), reviews=home), tmp_path / "data") as line:
        config = line.prepare()
        station = ["--config", str(tmp_path / "data" / "station.toml")]

        def tell(*words: str) -> dict[str, Any]:
            code = data([*words, *station, "--json"])
            answer = json.loads(capsys.readouterr().out)
            assert code == 0, answer
            return answer

        tell("audit", "--passes", "0.1", "--who", "Ada", "--why", "before the new model")
        line.start()
        calm = registry_of(config).find(str(tmp_path / "calm"))
        assert line.run(_PATIENCE_S, counted(line, "pass", 45))
        assert line.run(_PATIENCE_S, lambda: len(said(config, calm, "pass")) >= 40)
        before, alarmed = promote(line, tmp_path / "alarmed")
        assert judges(line, alarmed)
        assert line.run(_PATIENCE_S, counted(line, "reject", 12))
        assert line.run(_PATIENCE_S, lambda: len(said(config, alarmed, "reject")) >= 12)
        reading = line.read_board()
        assert reading is not None
        assert (reading.states["watch"], registry_of(config).standing.active) == (
            ProcessState.READY,
            alarmed,
        ), "twelve rejects in a row are no evidence while nobody has looked at one of them"
        kill_process(reading.pids["watch"])  # the supervisor starts it again
        reviews = tmp_path / "reviews.csv"
        names = said(config, alarmed, "reject")
        reviews.write_text("part,said\n" + "".join(f"{name},good\n" for name in names))
        assert tell("review", "--file", str(reviews), "--who", "Bea", "--why", "reject bin")["saved"] == len(
            names
        )
        assert line.run(_PATIENCE_S, lambda: registry_of(config).standing.active == before), (
            "nobody withdrew it"
        )
        assert judges(line, before)
        line.run(1.0)
        line.finish()
        report = audit(line)
    last = registry_of(config).standing.entries[-1]
    assert (last.act, last.bundle, last.who) == (Act.WITHDRAW, alarmed, "watch")
    assert "overkill" in last.why
    assert report["why_not"] == []
    assert report["truth"]["false_pass"] == 0
    assert [(c.bundle_sha256, c.who) for c in changes(config.journal_dir)] == [
        (alarmed, "Ada"),
        (before, "watch"),
    ]
    assert wrong_stamps(config.journal_dir) == []
