# SPDX-License-Identifier: AGPL-3.0-or-later
"""The property tests can fail: each seeded bug is caught by the very machine that the real code passes."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.code import Bug, load
from tests.contract.line_machine import bounded, line_machine
from tests.contract.seeded_bugs import LINE_BUGS


@pytest.mark.parametrize("bug", LINE_BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_line_machine_catches(bug: Bug) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(line_machine(load(bug)), settings=bounded(150, shrink=False))
