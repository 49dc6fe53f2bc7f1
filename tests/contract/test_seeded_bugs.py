# SPDX-License-Identifier: AGPL-3.0-or-later
"""The property tests can fail: each seeded bug is caught by the very machine that the real code passes."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.code import Bug, load
from tests.contract.line_machine import bounded, line_machine
from tests.contract.pairing_machine import pairing_machine
from tests.contract.seeded_bugs import LINE_BUGS
from tests.contract.seeded_bugs_pairing import PAIRING_BUGS


def _name(bug: Bug) -> str:
    return bug.name.replace(" ", "-")


@pytest.mark.parametrize("bug", LINE_BUGS, ids=_name)
def test_line_machine_catches(bug: Bug) -> None:
    machine = line_machine(load(bug))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=bounded(300, shrink=False))


@pytest.mark.parametrize("bug", PAIRING_BUGS, ids=_name)
def test_pairing_machine_catches(bug: Bug) -> None:
    machine = pairing_machine(load(bug))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=bounded(300, shrink=False))
