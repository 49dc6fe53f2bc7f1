# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch as a process of the station: see `Watcher` in inspection.watching.

It says READY and stands back before it imports what it works with: nobody waits for it, least of all a start.
"""

from __future__ import annotations

import contextlib
import os
import sys

from inspection.board import ProcessState
from inspection.child import ChildContext, run_child
from inspection.types import StationFault

_NICEST = 19


def body(context: ChildContext) -> int:
    """Build, run, release."""
    dataset = context.config.watch.dataset
    if dataset is None:
        raise StationFault("watch.dataset names no dataset home: there is nothing to watch.")
    context.row.report(ProcessState.READY, "")
    with contextlib.suppress(OSError):
        os.nice(_NICEST)
    from inspection.watching import Watcher  # noqa: PLC0415 - see above: after READY

    return Watcher(context, dataset).run()


def main(argv: list[str] | None = None) -> int:
    """Process entry; see inspection.child."""
    return run_child("watch", body, argv)


if __name__ == "__main__":
    sys.exit(main())
