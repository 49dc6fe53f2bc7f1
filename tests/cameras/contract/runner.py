# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs every clause over one rig in a process of its own: harvesters finds devices only once a process.

    python -m tests.cameras.contract.runner --rig linesim

Prints one JSON line a clause: {"clause", "outcome": passed|failed|skipped, "text"}; a crash ends it early.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback

import pytest

from cameras.base import CameraFault
from tests.cameras.contract import clauses, clauses_clock  # noqa: F401 - registers the clauses
from tests.cameras.contract.kit import CLAUSES, NEEDS, opened, what_lacks
from tests.cameras.contract.rigs import RIGS, Rig


def _say(**facts: str) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _run_all(rig: Rig) -> None:
    with opened(rig, start=False) as camera:
        lacking = {name: what_lacks(needs, camera, rig) for name, needs in NEEDS.items()}
    for name, run in CLAUSES.items():
        if lacking[name]:
            _say(clause=name, outcome="skipped", text=", ".join(lacking[name]))
            continue
        try:
            run(rig)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - a clause may fail in any way
            _say(clause=name, outcome="failed", text=traceback.format_exc())
        else:
            _say(clause=name, outcome="passed", text="")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rig", choices=list(RIGS), required=True)
    parser.add_argument("--open-only", action="store_true")
    arguments = parser.parse_args()
    rig = RIGS[arguments.rig]()
    try:
        if arguments.open_only:
            try:
                with opened(rig, start=False):
                    _say(fault="")
            except CameraFault as fault:
                _say(fault=fault.kind.value)
        else:
            _run_all(rig)
    finally:
        rig.close()


if __name__ == "__main__":
    main()
