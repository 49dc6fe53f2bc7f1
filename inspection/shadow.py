# SPDX-License-Identifier: AGPL-3.0-or-later
"""The shadow process: it is there at once, and does everything else when nobody wants the processor.

See inspection.shadowing. It says READY before it has imported what it works with, because from then on it runs
under SCHED_IDLE, and on a busy box that may take minutes; the station does not wait for it.
"""

from __future__ import annotations

import contextlib
import os
import sys

from inspection.board import ProcessState
from inspection.child import ChildContext, run_child

_NICEST = 19


def give_way() -> None:
    """Run only when nobody else wants the processor, for good."""
    with contextlib.suppress(OSError):
        os.nice(_NICEST)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def body(context: ChildContext) -> int:
    """Build, run, release."""
    recipe = context.recipe()
    context.row.report(ProcessState.READY, "no candidate")
    give_way()
    import cv2  # noqa: PLC0415 - see above: after READY

    from inspection.shadowing import Shadow  # noqa: PLC0415

    cv2.setNumThreads(1)
    return Shadow(context, recipe).run()


def main(argv: list[str] | None = None) -> int:
    """Process entry; see inspection.child."""
    return run_child("shadow", body, argv)


if __name__ == "__main__":
    sys.exit(main())
