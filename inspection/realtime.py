# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real-time rights of a process: asked for at start, reported when refused, never required."""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14
GATE_PRIORITY = 20


def ask_for_realtime(priority: int) -> list[str]:
    """Lock memory and take SCHED_FIFO at `priority`; one sentence for each right that was refused."""
    refusals: list[str] = []
    if not _may_lock_without_limit():
        # With a limit, mlockall(MCL_FUTURE) would make later allocations fail: worse than a page fault.
        refusals.append("memory is not locked: raise RLIMIT_MEMLOCK to unlimited")
    elif ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        refusals.append(f"memory is not locked ({os.strerror(ctypes.get_errno())})")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as e:
        refusals.append(f"no real-time priority ({e.strerror}): raise RLIMIT_RTPRIO to {priority}")
    return refusals


def _may_lock_without_limit() -> bool:
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return True
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False
