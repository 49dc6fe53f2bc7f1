# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the doctor says is true, whoever asks: rights are tried, not guessed from the user's name."""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys

from inspection.realtime import GATE_PRIORITY

_PR_CAPBSET_DROP, _SYS_NICE, _IPC_LOCK = 24, 23, 14


def _without_rights() -> None:
    """In the child: as in a container whose root may neither take priority nor lock memory."""
    libc = ctypes.CDLL(None)
    for capability in (_SYS_NICE, _IPC_LOCK):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused where there is nothing to drop
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))


def test_refused_rights_are_said_with_their_remedies() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inspection.doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=_without_rights,  # one thread, and only calls into the kernel
    )
    facts = {fact["name"]: fact for fact in json.loads(done.stdout)}
    for name, remedy in (
        ("real-time priority", f"rtprio {GATE_PRIORITY}"),
        ("locked memory", "memlock unlimited"),
    ):
        assert facts[name]["status"] == "warn", facts[name]
        assert remedy in facts[name]["remedy"]


def test_every_lack_has_a_remedy_and_the_exit_code_says_whether_the_station_can_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inspection.doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    facts = json.loads(done.stdout)
    assert {"openvino", "gpu", "sqlite", "clock", "producer linesim", "real-time priority", "disk"} <= {
        fact["name"] for fact in facts
    }
    assert all(fact["remedy"] for fact in facts if fact["status"] != "ok")
    assert done.returncode == int(any(fact["status"] == "missing" for fact in facts))
