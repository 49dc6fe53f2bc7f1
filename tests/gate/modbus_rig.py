# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Modbus server on a loop of its own thread, over a plain register image; the test is its clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

from inspection.gates.modbus import ModbusAccess, ModbusServer
from inspection.gates.registers import RegisterImage
from inspection.lookout import Lookout

Answer = tuple[int, bytes]


class ServerRig:
    """Server, image, and what the server reported."""

    def __init__(self, access: ModbusAccess, host: str, patience_ns: int = 0) -> None:
        self.image = RegisterImage(epoch=7)
        self.writes = 0
        self.refusals: list[str] = []
        self.frozen = False
        self._access, self._host = access, host
        self.sinces: list[int] = []  # when each request that wrote had certainly not come yet
        self.lookout = Lookout(patience_ns)
        self._loop = asyncio.SelectorEventLoop(self.lookout)
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-modbus")
        self._thread.start()
        self.server, self.port = self.call(self._start())

    async def _start(self) -> tuple[ModbusServer, int]:
        server = ModbusServer(
            self.image,
            self._access,
            written=self._written,
            looks=self.lookout,
            refused=self.refusals.append,
            writer_frozen=lambda: self.frozen,
        )
        return server, await server.start(self._host, 0)

    def _written(self, since_ns: int) -> None:
        self.sinces.append(since_ns)
        self.writes += 1

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the server's loop."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(30)

    def in_loop(self, work: Callable[[], object]) -> None:
        """Run a function in the server's loop."""

        async def once() -> None:
            work()

        self.call(once())

    def soon(self, work: Callable[[], object]) -> None:
        """Run a function in the server's loop, and do not wait for it."""
        self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        """Stop server and loop."""
        self.call(self.server.stop())
        self.call(asyncio.sleep(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def client(port: int, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A plain socket to the server, from a chosen loopback address."""
    with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0)) as sock:
        yield sock


def request(pdu: bytes, transaction: int = 1, unit: int = 1) -> bytes:
    """One ADU."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def receive(sock: socket.socket) -> Answer | None:
    """(transaction, PDU) of the next answer; None when the server has closed."""
    head = _exactly(sock, 7)
    if head is None:
        return None
    transaction, protocol, length, _ = struct.unpack(">HHHB", head)
    assert protocol == 0
    pdu = _exactly(sock, length - 1)
    return None if pdu is None else (transaction, pdu)


def ask(sock: socket.socket, pdu: bytes) -> bytes | None:
    """Send one PDU and return the answer's PDU, None when the server closes instead."""
    try:
        sock.sendall(request(pdu))
    except (BrokenPipeError, ConnectionResetError):
        return None
    answer = receive(sock)
    return None if answer is None else answer[1]


def is_closed(sock: socket.socket) -> bool:
    """Whether the server closes this connection (waits for it; answers on the way are dropped)."""
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return True


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        try:
            piece = sock.recv(size - len(data))
        except ConnectionResetError:
            return None
        if not piece:
            return None
        data += piece
    return data
