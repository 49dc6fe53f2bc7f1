# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector process with a real engine whose inferences fail, and take for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspection.config import load_config
from inspection.types import Outcome, Reason
from tests.bundles.tiny_models import FAILS_AT, SLOW_AT, card_dict, moody_model
from tests.inspector.line_stub import inspector_line, write_station
from weights.bundle import write_bundle
from weights.signing import station_key


def write_moody_station(folder: Path, engine: str) -> Path:
    """One camera, and a model that fails on grey pictures and is slow on white ones."""
    path = write_station(folder, cameras=1, engine=f'kind = "{engine}"\nthreads = 2', deadline_ms=2000)
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["classes"] = {"bright": {"min_score": 0.95}, "dark": {"min_score": 0.95}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    key = station_key(load_config(path).key_dir)
    write_bundle(folder / "bundle", model=moody_model(), card=card_dict(), key=key)
    return path


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_an_inference_that_fails_costs_its_part_as_a_fault_and_not_as_a_hang(
    tmp_path: Path, engine: str
) -> None:
    with inspector_line(write_moody_station(tmp_path, engine)) as line:
        for ordinal in range(1, 13):  # failures alternate with good parts: they are not five in a row
            fails = ordinal % 2 == 0
            line.trigger(ordinal)
            line.expose(0, ordinal, grey=FAILS_AT[ordinal] if fails else 0)
            judged = line.judged()
            assert judged.ordinal == ordinal
            assert judged.verdict.reasons == ((Reason.ENGINE_FAULT,) if fails else ())
            assert (judged.verdict.outcome is Outcome.PASS) == (not fails)
        assert line.process is not None
        assert line.process.poll() is None


def test_an_inference_that_hangs_costs_its_part_and_not_the_one_beside_it(tmp_path: Path) -> None:
    with inspector_line(write_moody_station(tmp_path, "openvino")) as line:
        line.trigger(1)
        line.expose(0, 1, grey=SLOW_AT)
        line.trigger(2)
        line.expose(0, 2, grey=0)
        judged = {part.ordinal: part.verdict for part in (line.judged(), line.judged())}
        assert judged[2].outcome is Outcome.PASS
        assert judged[1].outcome is Outcome.NOT_INSPECTED
        assert judged[1].reasons == (Reason.ENGINE_HUNG,)
