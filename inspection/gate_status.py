# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the gate's condition is shown: status bits for the PLC, counters on the board for everybody else."""

from __future__ import annotations

from inspection.board import GateCounter, Row
from inspection.gates.registers import Status
from inspection.journal import Journal
from inspection.tracker import Counters
from inspection.types import StationState


def status_bits(
    *, state: StationState, in_flight: int, max_in_flight: int, recipe_ok: bool, warning: bool
) -> Status:
    """The bits that follow from the present condition (latched ones are the gate's)."""
    executing = state is StationState.CONTINUOUS_EXECUTION
    prepared = executing or state is StationState.READY
    conditions = {
        Status.READY: prepared,
        Status.ONLINE: prepared or state is StationState.INITIALIZED,
        Status.TRIGGER_READY: executing and in_flight < max_in_flight,
        Status.BUSY: in_flight > 0,
        Status.RECIPE_OK: recipe_ok,
        Status.WARNING: warning,
        Status.ERROR: state is StationState.ERROR,
    }
    bits = Status(0)
    for bit, on in conditions.items():
        if on:
            bits |= bit
    return bits


def show_board(
    row: Row,
    *,
    counters: Counters,
    withheld: int,
    passed_without_pass: int,
    state: StationState,
    plc_alive: bool,
    newest_seq: int,
    margin_ms: int,
    journal: Journal,
) -> None:
    """Counters of the gate's row. `withheld` PASSes were never announced: they count as NOT_INSPECTED."""
    row.set(GateCounter.TRIGGERS, counters.triggers)
    row.set(GateCounter.PASS, counters.passed - withheld)
    row.set(GateCounter.REJECT, counters.rejected)
    row.set(GateCounter.NOT_INSPECTED, counters.not_inspected + withheld)
    row.set(GateCounter.IN_FLIGHT, counters.in_flight)
    row.set(GateCounter.STATION_STATE, state)
    row.set(GateCounter.ARMED, state is StationState.CONTINUOUS_EXECUTION)
    row.set(GateCounter.LATE, counters.late)
    row.set(GateCounter.MISSED_TRIGGERS, counters.missed_triggers)
    row.set(GateCounter.DUPLICATES, counters.duplicates)
    row.set(GateCounter.PLC_ALIVE, plc_alive)
    row.set(GateCounter.NEWEST_SEQ, newest_seq)
    row.set(GateCounter.LAST_MARGIN_MS, margin_ms)
    row.set(GateCounter.PASSED_WITHOUT_PASS, passed_without_pass)
    row.set(GateCounter.JOURNAL_RECORDS, journal.appended + 1)
    row.set(GateCounter.JOURNAL_SYNC_NS_LAST, journal.sync_ns_last)
    row.set(GateCounter.JOURNAL_SYNC_NS_MAX, journal.sync_ns_max)
