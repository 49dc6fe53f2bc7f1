# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process killed between passing a slot on and saying so costs its picture, never the slot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cameras.ring import SlotOwner, SlotState
from inspection.board import ProcessState
from inspection.link import link_pair
from inspection.messages import SlotsLeft
from inspection.types import Outcome
from tests.cameras.harness import ROOT, WorkerLine, wait_until
from tests.inspector.line_stub import inspector_line, write_station

pytestmark = pytest.mark.serial

# The real worker and a real SIGKILL, in the send that would have told the inspector of the slot just published.
DIES_UNTOLD = """
import os, signal, sys
from inspection.link import Link
from inspection.messages import FrameReady
send = Link.send
def die(self, message):
    if isinstance(message, FrameReady) and message.frame.encoder_pulses == 666:
        os.kill(os.getpid(), signal.SIGKILL)
    return send(self, message)
Link.send = die
from cameras.worker import main
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def inspector_beside(line: WorkerLine) -> Iterator[None]:
    """A real inspector at the other end of the worker's link."""
    (line.folder / "script.json").write_text("{}")
    recipe = json.loads((line.folder / "recipe.json").read_text()) | {"default_limit": {}}
    (line.folder / "recipe.json").write_text(json.dumps(recipe))
    pairs = {name: link_pair() for name in ("gate", "recorder")}
    fds = {"camera0": line.link.fileno(), **{name: theirs.fileno() for name, (_, theirs) in pairs.items()}}
    links = ",".join(f"{name}={fd}" for name, fd in fds.items())
    process = subprocess.Popen(
        [sys.executable, "-m", "inspection.inspector", "--config", str(line.config_path), "--links", links],
        pass_fds=list(fds.values()),
        cwd=ROOT,
    )
    try:
        wait_until(lambda: line.board.row("inspector").state == ProcessState.READY, 60.0)
        yield
    finally:
        process.terminate()
        process.wait(20)
        for ours, theirs in pairs.values():
            ours.close()
            theirs.close()


def states(line: WorkerLine) -> list[SlotState]:
    return [line.ring.state(slot) for slot in range(line.ring.slots)]


def test_every_slot_comes_back_when_the_worker_dies_before_it_tells(tmp_path: Path) -> None:
    engine = '\n[engine]\nkind = "scripted"\nscript = "script.json"'
    with WorkerLine(tmp_path, slots=3, more=engine) as line, inspector_beside(line):
        for _ in range(3):  # as often as there are slots: were they lost, the camera would have none left
            line.start(DIES_UNTOLD)
            line.wait_ready()
            line.push(40, 1)
            line.push(50, 666)
            assert line.process is not None
            line.process.wait(10)
            line.ring.reclaim(SlotOwner.WORKER)  # as the supervisor does
            wait_until(lambda: states(line).count(SlotState.READY) == 1)  # the told one was freed, with no part
        line.start()
        line.wait_ready()
        wait_until(lambda: set(states(line)) == {SlotState.FREE})
        for encoder in (10, 20, 30, 40):
            line.push(encoder, encoder)
        wait_until(lambda: line.feed is not None and line.feed.edges_accepted >= 4)
        wait_until(lambda: set(states(line)) == {SlotState.FREE})


def test_a_slot_that_the_inspector_was_told_of_stays_its_own(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path, cameras=1, deadline_ms=1700)) as line:
        ring = line.rings[0]
        told = line.expose(0, 1)
        slot = ring.acquire()
        assert slot is not None
        generation = ring.publish(slot)  # and nobody says so
        left = ((told.slot, told.generation), (slot, generation), (99, 1))
        assert line.links["camera0"].send(SlotsLeft(camera=0, slots=left))
        assert line.links["camera0"].send(SlotsLeft(camera=9, slots=left))  # nonsense harms nobody
        wait_until(lambda: ring.state(slot) == SlotState.FREE)
        assert ring.state(told.slot) == SlotState.READY
        line.trigger(1)
        assert line.judged().verdict.outcome is Outcome.PASS
        line.wait_slots_free()


def test_a_new_inspector_says_what_the_recorder_was_perhaps_never_told_of(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path, cameras=2), start=False) as line:
        ring = line.rings[1]
        slot = ring.acquire()
        assert slot is not None
        generation = ring.publish(slot)
        ring.hand_over(slot, generation)  # the inspector died here
        line.start()
        left = line.receive("recorder", SlotsLeft)
        assert (left.camera, left.slots) == (1, ((slot, generation),))
