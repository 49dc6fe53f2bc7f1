# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invariants 1 to 9 and 11 of the line contract over tracker, registers and an independent PLC and gate."""

from __future__ import annotations

from hypothesis.stateful import run_state_machine_as_test

from tests.contract.code import load
from tests.contract.line_machine import bounded, line_machine


def test_every_part_ends_as_the_oracle_says_whatever_happens_on_the_line() -> None:
    run_state_machine_as_test(line_machine(load()), settings=bounded(150, shrink=True))
