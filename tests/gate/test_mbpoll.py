# SPDX-License-Identifier: AGPL-3.0-or-later
"""mbpoll, as the README shows it, against a gate with no PLC connected, unarmed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from inspection.gates.registers import Holding, Input
from inspection.types import StationState
from tests.gate.modbus_rig import ask, client, is_closed
from tests.gate.rig import GateRig
from tests.gate.test_modbus import READ_ALL, write

MBPOLL = shutil.which("mbpoll")

# apt-get install mbpoll; where CI runs, its absence is a failure of the set-up and must show
pytestmark = pytest.mark.skipif(
    MBPOLL is None and not os.environ.get("CI"), reason="mbpoll is not installed: apt-get install mbpoll"
)


def mbpoll(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One run of mbpoll; arguments as in the README."""
    assert MBPOLL is not None, "mbpoll is not installed: apt-get install mbpoll"
    command = [MBPOLL, "-m", "tcp", "-a", "1", "-p", str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_mbpoll_reads_the_image_and_writes_a_trigger_that_is_not_judged(rig: GateRig) -> None:
    done = mbpoll(rig.port, "-t", "3", "-r", "1", "-c", "80", "-1", "127.0.0.1")
    assert done.returncode == 0, done.stderr + done.stdout
    image = [int(value) for value in re.findall(r"^\[\d+\]:\s+(\d+)", done.stdout, re.MULTILINE)]
    assert len(image) == 80
    assert image[Input.MAP_VERSION] == 1
    assert image[Input.EPOCH] == rig.counters()["EPOCH"]
    assert image[Input.STATE] == StationState.READY
    # trigger 1 at encoder 100000 into slot 1, then its number (mbpoll counts registers from 1)
    slot = str(Holding.TRIGGER_RING + 4 + 1)
    done = mbpoll(rig.port, "-t", "4", "-r", slot, "-1", "127.0.0.1", "1", "1", "34464", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    done = mbpoll(rig.port, "-t", "4", "-r", str(Holding.NEWEST_TRIGGER_SEQ + 1), "-1", "127.0.0.1", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    done = mbpoll(rig.port, "-t", "4", "-r", slot, "-c", "4", "-1", "127.0.0.1")
    assert re.findall(r"^\[\d+\]:\s+(\d+)", done.stdout, re.MULTILINE) == ["1", "1", "34464", "0"]
    assert rig.counters()["TRIGGERS"] == 0


def test_second_writer_and_unlisted_reader_are_refused_and_closed(rig: GateRig) -> None:
    with client(rig.port) as first:
        assert ask(first, write(8, 1, 0, 0, 0)) is not None
        done = mbpoll(rig.port, "-t", "4", "-r", "9", "-1", "127.0.0.1", "2")
        assert done.returncode != 0
        assert "busy" in (done.stdout + done.stderr).lower()
        assert ask(first, write(8, 3, 0, 0, 0)) is not None
    with client(rig.port, source="127.0.0.2") as stranger:
        assert is_closed(stranger)
    with client(rig.port) as reader:
        assert ask(reader, READ_ALL) is not None
    assert rig.counters()["REFUSED_CONNECTIONS"] == 2
