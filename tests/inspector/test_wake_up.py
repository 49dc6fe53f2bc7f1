# SPDX-License-Identifier: AGPL-3.0-or-later
"""An engine's answer wakes the inspector's loop: no part waits for the next heartbeat."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from inspection import inspecting
from inspection.board import ProcessState
from inspection.child import ChildContext
from inspection.inspector import body
from inspection.link import Link
from inspection.messages import LineReset
from inspection.types import Outcome
from tests.inspector.line_stub import inspector_line, write_station


def test_every_answer_wakes_a_loop_that_would_sleep_for_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "_BEAT_S", 60.0)  # a lost wake-up must not be healed by the beat
    path = write_station(tmp_path, cameras=1, script={"delay_ms": 2}, deadline_ms=5000)
    with inspector_line(path, start=False) as line:
        stop = threading.Event()
        context = ChildContext(
            config=line.config,
            board=line.board,
            links={name: Link(end) for name, end in line.theirs.items()},
            row=line.row,
            stop=stop,
        )
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(body(context)))
        thread.start()
        while line.row.state != ProcessState.READY:
            assert thread.is_alive()
        for ordinal in range(1, 9):
            line.trigger(ordinal)
            line.expose(0, ordinal)
            assert line.judged().verdict.outcome is Outcome.PASS
        stop.set()
        assert line.links["gate"].send(
            LineReset(epoch=1, armed=False)
        )  # stop is looked at between two messages
        thread.join(20)
        assert codes == [0]
