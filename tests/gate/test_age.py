# SPDX-License-Identifier: AGPL-3.0-or-later
"""How old a message may be: a loop that stood still must not take what lay in its sockets for new."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from inspection.gates.modbus import ModbusAccess
from tests.gate.modbus_rig import ServerRig, ask, client, receive, request
from tests.gate.rig import GateRig, until

MS = 1_000_000
PDU = b"\x06\x00\x00\x00\x07"
WRITE = request(PDU)
ACCESS = ModbusAccess(writer="127.0.0.1", readers=frozenset(), idle_timeout_s=30)


@pytest.fixture
def rig() -> Iterator[ServerRig]:
    rig = ServerRig(ACCESS, "127.0.0.1")
    yield rig
    rig.close()


@pytest.fixture
def patient() -> Iterator[ServerRig]:
    """A server that gives its clients five seconds to say what they could not say during a stall."""
    rig = ServerRig(ACCESS, "127.0.0.1", patience_ns=5_000 * MS)
    yield rig
    rig.close()


class Stall:
    """The server's loop stands still inside one callback, from before `with` until its end."""

    def __init__(self, rig: ServerRig) -> None:
        self._rig = rig
        self._go, self._stands = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        self._rig.soon(self._stand)
        assert self._stands.wait(10)

    def _stand(self) -> None:
        self._stands.set()
        self._go.wait(10)

    def __exit__(self, *_: object) -> None:
        time.sleep(0.05)
        self._go.set()


def test_write_that_lay_in_its_socket_is_as_old_as_the_last_look(rig: ServerRig) -> None:
    with client(rig.port) as plc:
        ask(plc, PDU)
        with Stall(rig):
            plc.sendall(WRITE)
            sent_ns = time.monotonic_ns()
        receive(plc)
    assert rig.sinces[1] < sent_ns


def test_write_to_a_loop_that_waits_is_hardly_older_than_its_arrival(rig: ServerRig) -> None:
    with client(rig.port) as plc:
        ask(plc, PDU)
        ages_ns = []
        for _ in range(20):
            time.sleep(0.03)  # many times as long as the loop waits without a look
            sent_ns = time.monotonic_ns()
            ask(plc, PDU)
            ages_ns.append(sent_ns - rig.sinces[-1])
    assert min(ages_ns) < 6 * MS
    assert all(age > 0 for age in ages_ns), "younger than it is"


def test_what_a_full_buffer_left_behind_is_as_old_as_what_was_read_first(rig: ServerRig) -> None:
    many = 200  # far more bytes than are read in one turn
    with client(rig.port) as plc:
        ask(plc, PDU)
        with Stall(rig):
            plc.sendall(WRITE * many)
            sent_ns = time.monotonic_ns()
        until(lambda: len(rig.sinces) == many + 1, "not all writes were handled")
    assert all(since < sent_ns for since in rig.sinces)


def test_first_write_of_a_connection_may_be_as_old_as_the_connection(rig: ServerRig) -> None:
    with Stall(rig):
        plc = socket.create_connection(("127.0.0.1", rig.port))
        plc.sendall(WRITE)
        sent_ns = time.monotonic_ns()
    with plc:
        receive(plc)
    assert rig.sinces[0] < sent_ns


def test_write_of_a_client_that_waited_for_its_answer_is_as_old_as_the_hold_up(patient: ServerRig) -> None:
    with client(patient.port) as plc:
        ask(plc, PDU)
        with Stall(patient):
            plc.sendall(request(b"\x04\x00\x00\x00\x50"))
            edge_ns = time.monotonic_ns()  # while it waits for the answer to this, a part breaks the beam
        receive(plc)
        ask(plc, PDU)
    assert patient.sinces[-1] < edge_ns


def test_write_long_after_a_hold_up_is_no_older_than_its_arrival(rig: ServerRig) -> None:
    with client(rig.port) as plc:
        ask(plc, PDU)
        with Stall(rig):
            over_ns = time.monotonic_ns()
        time.sleep(0.3)
        ask(plc, PDU)
    assert rig.sinces[-1] > over_ns


def test_gate_knows_that_a_trigger_may_have_waited_for_it(make_rig: Callable[..., GateRig]) -> None:
    gate = make_rig().start()
    plc = gate.plc()
    plc.arm()
    spreads_ns = []
    for seq in range(1, 6):  # the PLC may be waiting for an answer, and write its trigger only after the stop
        with gate.stopped():
            time.sleep(0.01)
            plc.trigger(seq, 1000 * seq)
            time.sleep(0.09)
        spreads_ns.append(gate.part(seq).edge_spread_ns)
    assert max(spreads_ns) > 75 * MS
