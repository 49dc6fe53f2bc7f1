# SPDX-License-Identifier: AGPL-3.0-or-later
"""The PLC's own Modbus client against a scripted server: right bytes out, and nothing odd is ever believed."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from inspection.twin.modbus_client import READ_INPUT, WRITE_MULTIPLE, ModbusClient, ModbusFault

Answer = Callable[[bytes], bytes]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], int]]:
    """Start a server that answers each request of one connection with answer(request)."""
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def start(answer: Answer) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def loop() -> None:
            connection, _ = listener.accept()
            with connection:
                while request := connection.recv(1024):
                    reply = answer(request)
                    if reply:
                        connection.sendall(reply)

        thread = threading.Thread(target=loop)
        threads.append(thread)
        thread.start()
        return listener.getsockname()[1]

    yield start
    for thread in threads:
        thread.join(5)
    for listener in listeners:
        listener.close()


def reply(request: bytes, body: bytes, shift: int = 0, function: int | None = None) -> bytes:
    transaction = int.from_bytes(request[:2], "big") + shift
    code = request[7] if function is None else function
    return struct.pack(">HHHBB", transaction, 0, len(body) + 2, 1, code) + body


def client_of(port: int, timeout_ms: int = 2000) -> ModbusClient:
    client = ModbusClient("127.0.0.1", port, timeout_ns=timeout_ms * 1_000_000)
    client.connect(timeout_s=2)
    return client


def test_read_and_write_have_the_standard_bytes(serve: Callable[[Answer], int]) -> None:
    requests: list[bytes] = []

    def answer(request: bytes) -> bytes:
        requests.append(request)
        if request[7] == READ_INPUT:
            return reply(request, bytes([4]) + struct.pack(">HH", 7, 65535))
        return reply(request, request[8:12])

    client = client_of(serve(answer))
    client.request_read_input(time.monotonic_ns(), 0, 2)
    assert client.wait() == (READ_INPUT, (7, 65535))
    client.request_write(time.monotonic_ns(), 3, [1, 2])
    assert client.wait() == (WRITE_MULTIPLE, ())
    client.close()
    assert requests[0].hex() == "000100000006010400000002"
    assert requests[1].hex() == "00020000000b0110000300020400010002"


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda r: reply(r, bytes([2, 0, 1]), shift=1),
        lambda r: reply(r, bytes([2]), function=READ_INPUT | 0x80),
        lambda r: reply(r, bytes([4, 0, 1])),
        lambda r: reply(r, bytes([2, 0, 1])) * 2,
        lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_an_answer_that_does_not_fit_closes_the_connection(
    serve: Callable[[Answer], int], nonsense: Answer
) -> None:
    client = client_of(serve(nonsense))
    client.request_read_input(time.monotonic_ns(), 0, 1)
    with pytest.raises(ModbusFault):
        client.wait()
    assert not client.connected


def test_silence_closes_the_connection_after_the_time_out(serve: Callable[[Answer], int]) -> None:
    client = client_of(serve(lambda _: b""), timeout_ms=50)
    client.request_read_input(time.monotonic_ns(), 0, 1)
    with pytest.raises(ModbusFault, match="no answer within 50 ms"):
        client.wait()
    assert not client.connected


def test_nobody_listening_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ModbusFault, match=f"no connection to 127.0.0.1:{port}"):
        ModbusClient("127.0.0.1", port).connect()
