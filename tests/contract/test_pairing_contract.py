# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invariant 10: which picture belongs to which part, under every offset, order, loss and repetition."""

from __future__ import annotations

from hypothesis.stateful import run_state_machine_as_test

from tests.contract.code import load
from tests.contract.line_machine import bounded
from tests.contract.pairing_machine import pairing_machine


def test_a_part_is_judged_on_its_own_pictures_or_not_at_all() -> None:
    run_state_machine_as_test(pairing_machine(load()), settings=bounded(200, shrink=True))
