# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Modbus server alone: the protocol, who may connect, who may write, and hostile bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from inspection.gates.modbus import ModbusAccess, ModbusServer
from inspection.gates.registers import Input, RegisterImage
from inspection.lookout import Lookout
from inspection.types import Outcome, StationFault
from tests.gate.modbus_rig import ServerRig, ask, client, is_closed, receive, request

READ_ALL = struct.pack(">BHH", 4, 0, 80)
ONE_WRITER = ModbusAccess(
    writer="127.0.0.1", readers=frozenset({"127.0.0.1", "127.0.0.3"}), idle_timeout_s=3600
)


@pytest.fixture
def rig() -> Iterator[ServerRig]:
    """A server that 127.0.0.1 may write and 127.0.0.3 may read."""
    rig = ServerRig(ONE_WRITER, "127.0.0.1")
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerRig]:
    """The same, for many examples."""
    rig = ServerRig(ONE_WRITER, "127.0.0.1")
    yield rig
    rig.close()


def write(address: int, *words: int) -> bytes:
    """PDU of an FC16."""
    return struct.pack(f">BHHB{len(words)}H", 16, address, len(words), 2 * len(words), *words)


# --- the protocol, against an independent client


def test_pymodbus_reads_and_writes_with_all_five_functions(rig: ServerRig) -> None:
    rig.in_loop(lambda: rig.image.store(Input.RECIPE_ID, 321))
    plc = ModbusTcpClient("127.0.0.1", port=rig.port, timeout=10, retries=0)
    assert plc.connect()
    image = plc.read_input_registers(0, count=80).registers
    assert (len(image), image[0], image[Input.RECIPE_ID]) == (80, 1, 321)
    assert not plc.write_register(5, 77).isError()
    assert not plc.write_registers(8, [1, 2, 3, 4]).isError()
    assert plc.read_holding_registers(5, count=7).registers == [77, 0, 0, 1, 2, 3, 4]
    answer = plc.readwrite_registers(read_address=8, read_count=2, write_address=9, values=[9, 9])
    assert answer.registers == [1, 9]
    assert rig.writes == 3
    plc.close()


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        (struct.pack(">BHH", 1, 0, 1), b"\x81\x01"),  # coils: no such function
        (b"\x2b\x0e\x01\x00", b"\xab\x01"),
        (struct.pack(">BHH", 4, 79, 2), b"\x84\x02"),
        (struct.pack(">BHH", 4, 0xFFFF, 1), b"\x84\x02"),
        (struct.pack(">BHH", 3, 0, 66), b"\x83\x02"),
        (struct.pack(">BHH", 4, 0, 0), b"\x84\x03"),
        (struct.pack(">BHH", 4, 0, 126), b"\x84\x03"),
        (b"\x04\x00\x00", b"\x84\x03"),
        (struct.pack(">BHHB", 4, 0, 1, 0), b"\x84\x03"),
        (struct.pack(">BHH", 6, 65, 1), b"\x86\x02"),
        (struct.pack(">BHHBH", 16, 64, 2, 4, 1) + b"\0\1", b"\x90\x02"),
        (struct.pack(">BHHBH", 16, 0, 2, 4, 1), b"\x90\x03"),
        (struct.pack(">BHHB", 16, 0, 0, 0), b"\x90\x03"),
        (struct.pack(">BHHHHBH", 23, 60, 10, 0, 1, 2, 5), b"\x97\x02"),
        (struct.pack(">BHHHHBH", 23, 0, 126, 0, 1, 2, 5), b"\x97\x03"),
        (struct.pack(">BHHHHBH", 23, 0, 1, 65, 1, 2, 5), b"\x97\x02"),
    ],
)
def test_bad_requests_get_the_standard_exception_and_change_nothing(
    shared: ServerRig, pdu: bytes, answer: bytes
) -> None:
    before = shared.image.holding(), shared.writes
    with client(shared.port) as sock:
        assert ask(sock, pdu) == answer
        assert ask(sock, READ_ALL) is not None  # the connection stays
    assert (shared.image.holding(), shared.writes) == before


def test_any_unit_id_is_answered_with_its_own_number(rig: ServerRig) -> None:
    with client(rig.port) as sock:
        for unit in (0, 1, 17, 255):
            sock.sendall(request(READ_ALL, unit=unit))
            assert sock.recv(7)[6] == unit
            sock.recv(4096)


def test_pipelined_and_split_requests_are_answered_in_order(rig: ServerRig) -> None:
    stream = b"".join(request(READ_ALL, transaction=i) for i in range(200))
    with client(rig.port) as sock:

        def send() -> None:
            for at in range(0, len(stream), 7):
                sock.sendall(stream[at : at + 7])

        sender = threading.Thread(target=send)
        sender.start()
        answers = [receive(sock) for _ in range(200)]
        sender.join()
    assert [a[0] for a in answers if a] == list(range(200))


def test_one_read_never_shows_half_a_change(rig: ServerRig) -> None:
    stop = threading.Event()

    def publish() -> None:
        seq = 0
        while not stop.is_set():
            seq = seq % 65535 + 1
            outcome = Outcome.PASS if seq % 2 else Outcome.REJECT
            rig.in_loop(lambda s=seq, o=outcome: rig.image.publish(s, o))

    publisher = threading.Thread(target=publish)
    publisher.start()
    with client(rig.port) as sock:
        for _ in range(300):
            pdu = ask(sock, READ_ALL)
            assert pdu is not None
            image = struct.unpack(">80H", pdu[2:])
            newest = image[Input.NEWEST_SEQ]
            if newest == 0:
                continue
            seq, epoch, verdict, check = image[16 + 4 * (newest % 16) : 20 + 4 * (newest % 16)]
            assert (seq, check) == (newest, seq ^ epoch ^ verdict)
    stop.set()
    publisher.join()


# --- who may connect, who may write


def test_address_that_is_not_listed_is_closed_at_accept(rig: ServerRig) -> None:
    with client(rig.port, source="127.0.0.2") as sock:
        assert is_closed(sock)
    assert rig.server.refused_count == 1
    assert "127.0.0.2" in rig.refusals[0]


def test_reader_may_read_and_may_not_write(rig: ServerRig) -> None:
    with client(rig.port, source="127.0.0.3") as sock:
        assert ask(sock, READ_ALL) is not None
        assert ask(sock, write(0, 5)) == b"\x90\x01"
        assert ask(sock, READ_ALL) is not None
    assert rig.writes == 0
    assert rig.server.refused_count == 1


def test_second_writer_is_refused_and_closed_while_the_first_is_open(rig: ServerRig) -> None:
    with client(rig.port) as first, client(rig.port) as second:
        assert ask(first, write(0, 1)) == struct.pack(">BHH", 16, 0, 1)
        assert ask(second, READ_ALL) is not None  # reading beside the writer is fine
        assert ask(second, write(0, 2)) == b"\x90\x06"
        assert is_closed(second)
        assert ask(first, write(0, 3)) is not None
    assert rig.image.holding()[0] == 3


def test_writer_that_left_makes_room_for_the_next(rig: ServerRig) -> None:
    for value in (1, 2):
        with client(rig.port) as sock:
            assert ask(sock, write(0, value)) == struct.pack(">BHH", 16, 0, 1)
        while rig.server.has_writer:
            rig.in_loop(lambda: None)
    assert rig.server.writer_number == 2


def test_writer_with_a_frozen_heartbeat_is_replaced_and_its_socket_closed(rig: ServerRig) -> None:
    with client(rig.port) as first, client(rig.port) as second:
        assert ask(first, write(0, 1)) is not None
        rig.frozen = True
        assert ask(second, write(0, 2)) == struct.pack(">BHH", 16, 0, 1)
        assert is_closed(first)
        rig.frozen = False
        assert ask(second, write(0, 3)) is not None


def test_idle_writer_is_replaced_and_idle_clients_are_swept() -> None:
    access = ModbusAccess(writer="127.0.0.1", readers=frozenset(), idle_timeout_s=-1)  # idle at once
    rig = ServerRig(access, "127.0.0.1")
    with client(rig.port) as first, client(rig.port) as second:
        assert ask(first, write(0, 1)) is not None
        assert ask(second, write(0, 2)) == struct.pack(">BHH", 16, 0, 1)
        assert is_closed(first)
        rig.in_loop(lambda: rig.server.sweep(asyncio.get_running_loop().time()))
        assert is_closed(second)
    rig.close()


def test_too_many_connections_are_refused(rig: ServerRig) -> None:
    socks = [socket.create_connection(("127.0.0.1", rig.port), timeout=30) for _ in range(32)]
    for sock in socks:
        assert ask(sock, READ_ALL) is not None
    with client(rig.port) as one_more:
        assert is_closed(one_more)
    for sock in socks:
        sock.close()


# --- hostile bytes


@pytest.mark.parametrize(
    "adu",
    [
        struct.pack(">HHHB", 1, 1, 6, 1) + READ_ALL,  # another protocol
        struct.pack(">HHHB", 1, 0, 0, 1) + READ_ALL,  # length too small
        struct.pack(">HHHB", 1, 0, 1, 1),
        struct.pack(">HHHB", 1, 0, 255, 1),  # too long
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_not_modbus_tcp_is_closed(shared: ServerRig, adu: bytes) -> None:
    with client(shared.port) as sock:
        sock.sendall(adu)
        assert is_closed(sock)


def test_client_that_does_not_read_is_closed_and_others_are_served(rig: ServerRig) -> None:
    with socket.socket() as deaf, client(rig.port) as good:
        # before connecting: a window that shrinks later makes the kernel drop acknowledgements, and the sender
        # may then stand for half a minute whatever the server does
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(60)
        deaf.connect(("127.0.0.1", rig.port))
        stream = request(READ_ALL) * 500
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _send_for_ever(deaf, stream)
        assert ask(good, READ_ALL) is not None
    assert any("does not read" in text for text in rig.refusals)


def _send_for_ever(sock: socket.socket, data: bytes) -> None:
    while True:
        sock.sendall(data)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.one_of(st.binary(max_size=300), st.binary(min_size=1, max_size=253).map(request))))
def test_any_bytes_leave_the_server_serving(shared: ServerRig, pieces: list[bytes]) -> None:
    with client(shared.port) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed by the server in the middle: its right
        is_closed(sock)
    with client(shared.port, source="127.0.0.3") as good:
        pdu = ask(good, READ_ALL)
        assert pdu is not None
        assert len(pdu) == 162


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pdu=st.binary(min_size=1, max_size=253))
def test_every_whole_request_has_one_answer_of_its_own_function(shared: ServerRig, pdu: bytes) -> None:
    with client(shared.port) as sock:
        answer = ask(sock, pdu)
        assert answer is not None
        assert answer[0] in (pdu[0], pdu[0] | 0x80)


# --- bind errors


def test_port_in_use_names_port_and_remedy(rig: ServerRig) -> None:
    with pytest.raises(
        StationFault, match=rf"port {rig.port} on 127\.0\.0\.1 is in use: stop .* station\.toml"
    ):
        rig.call(_other_server().start("127.0.0.1", rig.port))


def test_foreign_address_names_the_key(rig: ServerRig) -> None:
    with pytest.raises(StationFault, match=r"no address of this machine: correct \[modbus\] host"):
        rig.call(_other_server().start("192.0.2.77", 0))


def _other_server() -> ModbusServer:
    return ModbusServer(
        RegisterImage(epoch=1),
        ONE_WRITER,
        written=lambda _since_ns: None,
        looks=Lookout(0),
        refused=lambda _text: None,
        writer_frozen=lambda: False,
    )
