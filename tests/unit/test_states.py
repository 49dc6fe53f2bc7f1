# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state table of the line contract, and who may arm."""

from __future__ import annotations

import itertools

import pytest

from inspection.states import TRANSITIONS, Event, StateMachine, arming_refusal
from inspection.types import StationState


def test_the_line_runs_after_devices_recipe_and_arming() -> None:
    machine = StateMachine()
    assert [machine.fire(e) for e in (Event.DEVICES_FOUND, Event.PREPARED, Event.ARMED)] == [True] * 3
    assert machine.executing


def test_execution_is_entered_from_ready_by_arming_and_in_no_other_way() -> None:
    into = {key for key, target in TRANSITIONS.items() if target is StationState.CONTINUOUS_EXECUTION}
    assert into == {(StationState.READY, Event.ARMED)}


@pytest.mark.parametrize("event", [Event.DEVICE_LOST, Event.STATION_FAULT, Event.HALTED])
def test_after_any_loss_or_fault_execution_needs_preparation_and_arming_again(event: Event) -> None:
    """Breadth first: every way back to execution from where the event leads goes through PREPARED and ARMED."""
    start = TRANSITIONS[StationState.CONTINUOUS_EXECUTION, event]
    for length in (1, 2, 3, 4):
        for way in itertools.product(Event, repeat=length):
            machine = StateMachine(start)
            if all(machine.fire(step) for step in way) and machine.executing:
                assert Event.PREPARED in way
                assert Event.ARMED in way


def test_an_event_that_has_no_line_in_the_table_changes_nothing() -> None:
    machine = StateMachine(StationState.ERROR)
    assert not machine.fire(Event.ARMED)
    assert machine.state is StationState.ERROR


def test_arming_needs_ready_the_echoed_epoch_and_a_living_plc() -> None:
    def refusal(**change: object) -> str | None:
        good = {"state": StationState.READY, "epoch": 7, "epoch_echo": 7, "plc_alive": True}
        return arming_refusal(**{**good, **change})  # type: ignore[arg-type]

    assert refusal() is None
    assert "not READY" in (refusal(state=StationState.INITIALIZED) or "")
    assert "epoch_echo is 6" in (refusal(epoch_echo=6) or "")
    assert "heartbeat" in (refusal(plc_alive=False) or "")
