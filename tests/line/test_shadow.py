# SPDX-License-Identifier: AGPL-3.0-or-later
"""A candidate in shadow sees the line and has no power over it: alive, stopped, killed or wrong about all."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import numpy_helper

from inspection.board import Board, InspectorCounter, ProcessState, ShadowCounter
from inspection.config import StationConfig
from inspection.records.database import open_reader
from inspection.records.disagreements import agreement, for_review
from inspection.twin.audit import audit
from inspection.twin.layout import LineOptions
from inspection.twin.line import SimulatedLine, kill_process
from tests.bundles.tiny_models import bright_spot_model, card_dict
from tests.line.killing import slowness
from tests.line.swap_line import judged_by, registry_of, wrong_stamps
from tests.line.toy_bundle import RECIPE
from weights.bundle import trust_bundle, write_bundle

pytestmark = pytest.mark.serial
_SLOW = 1.5


def alarmed_model() -> bytes:
    """A network that finds a defect with 0.95 on every picture."""
    model = onnx.load_from_string(bright_spot_model())
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name == "slope":
            values[:] = 0.0
        elif values.shape[-1:] == (6,):
            values[0, 0, 4] = 0.95
            values[0, 1, 4] = 0.0
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return model.SerializeToString()


def options_of(folder: Path) -> LineOptions:
    """A line with a calm bundle, and an alarmed one beside it in `folder`."""
    key = Ed25519PrivateKey.generate()
    for name, model in (("calm", bright_spot_model()), ("alarmed", alarmed_model())):
        write_bundle(folder / name, model=model, card=card_dict() | {"name": name}, key=key, recipe=RECIPE)
    trust_bundle(folder / "calm", folder / "trusted")
    return LineOptions(
        bundle=folder / "calm", trusted=(folder / "trusted",), engine="onnx", rate_parts_per_s=8.0, seed=6
    )


class Beside:
    """The shadow of a running line, as the status board shows it."""

    def __init__(self, config: StationConfig) -> None:
        self._board = Board.attach(config.board_path)
        self.row = self._board.row("shadow")
        self._inspector = self._board.row("inspector")

    def judged(self) -> int:
        return self.row.get(ShadowCounter.JUDGED)

    def sent(self) -> int:
        return self._inspector.get(InspectorCounter.SHADOW_SENT)

    def dropped(self) -> int:
        return self._inspector.get(InspectorCounter.SHADOW_DROPPED)

    def close(self) -> None:
        self._board.close()


@pytest.mark.timeout(400)
def test_a_shadow_that_is_wrong_stopped_and_killed_never_touches_a_verdict(tmp_path: Path) -> None:
    with SimulatedLine(options_of(tmp_path), tmp_path / "data") as line:
        line.start()
        config = line.config
        assert config is not None
        registry = registry_of(config)
        active = registry.adopt(config.station.bundle, who="Ada", why="configured")
        candidate = registry.add(tmp_path / "alarmed", who="Ada", why="candidate")
        registry.shadow(candidate, who="Ada", why="how does it do on the line?")
        with contextlib.closing(Beside(config)) as beside:
            assert line.run(60.0, lambda: beside.judged() >= 5), "the shadow never judged"
            os.kill(beside.row.pid, signal.SIGSTOP)
            dropped, pid = beside.dropped(), beside.row.pid
            assert line.run(60.0, lambda: beside.dropped() >= dropped + 8), "a stopped shadow holds no slots"
            os.kill(pid, signal.SIGCONT)
            sent = beside.sent()
            assert line.run(60.0, lambda: beside.sent() >= sent + 3), "it got no more parts after it went on"
            kill_process(pid)
            assert line.run(90.0, lambda: beside.row.pid != pid and beside.judged() >= 3), (
                "it did not come back"
            )
            assert beside.row.state is ProcessState.READY
        line.run(0.5)
        line.finish()
        report = audit(line)
    assert report["why_not"] == []
    assert report["truth"]["false_pass"] == 0
    slow = slowness()
    print(f"{report['not_inspected']} of {report['pass']} not inspected; {slow:.1f} times slower than idle")
    if slow < _SLOW:  # on a starved box any process may be late, shadow or none
        assert report["not_inspected"] == 0
    assert report["reject"] == 0  # the alarmed candidate would reject them all
    assert set(judged_by(config.journal_dir)) == {active}
    assert wrong_stamps(config.journal_dir) == []
    engine = open_reader(config.records_db)
    with engine.connect() as connection:
        counted = agreement(connection, candidate)
        first = for_review(connection, candidate, limit=5)
    engine.dispose()
    assert set(counted) == {"pass/reject"}
    assert counted["pass/reject"] >= 8
    assert all(item.differs and item.part_id is not None for item in first)
