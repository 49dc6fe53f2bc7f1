# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stand back: a trainer takes what the line and its people leave.

Three things decide on Linux: the nice value within a session's group of processes (autogroup), the group's own
nice value against other sessions, and the scheduling class. Setting only the first leaves a trainer in a
session of its own as heavy as the whole station in another: see sched(7), autogroup.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

NICE = 10
_PR_SET_PDEATHSIG = 1


def stand_back(nice: int) -> None:
    """Lower this process and its session's group to `nice`, as a batch job. The caller leads a session.

    0 leaves everything as it is.
    """
    if nice <= 0:
        return
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError):  # some containers forbid it; nice holds all the same
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(OSError):  # kernels without autogroups have no such file
        Path("/proc/self/autogroup").write_text(str(nice))


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent dies, however it dies (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the call
        os._exit(1)
