# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the simulated camera promises, each promise one function on a real harvesters session.

Run in a child process: `python scenarios.py PRODUCER FOLDER [NAME...]` prints one JSON line a scenario. The
same list runs against the plain build and against the sanitizer build.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path

from tests.simulator import promises_camera, promises_faults, promises_line
from tests.simulator.rig import Rig

SCENARIOS = {
    promise.__name__: promise
    for promise in (*promises_camera.SCENARIOS, *promises_line.SCENARIOS, *promises_faults.SCENARIOS)
}


def main(arguments: list[str]) -> int:
    """Run the named scenarios, or all; a line of JSON each."""
    rig = Rig(Path(arguments[0]), Path(arguments[1]))
    for name in arguments[2:] or list(SCENARIOS):
        started = time.monotonic()
        failure = ""
        try:
            SCENARIOS[name](rig)
        except Exception:  # noqa: BLE001 - the top of this process: every failure is reported by its test
            failure = traceback.format_exc()
        took_s = round(time.monotonic() - started, 2)
        sys.stdout.write(json.dumps({"name": name, "failure": failure, "took_s": took_s}) + "\n")
        sys.stdout.flush()
    rig.close()
    sys.stdout.write(json.dumps({"name": "done", "failure": "", "took_s": 0}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
