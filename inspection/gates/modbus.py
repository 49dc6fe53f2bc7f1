# SPDX-License-Identifier: AGPL-3.0-or-later
"""Modbus TCP server of the register image: moves bytes, knows no meaning. FC 3, 4, 6, 16, 23.

Source: MODBUS Application Protocol V1.1b3 and MODBUS Messaging on TCP/IP V1.0b. An asyncio.BufferedProtocol
of our own, because it costs a quarter of a general library's server, and because the rules of the line
contract are about connections: readers are allow-listed, only the configured address writes, and only one
writing connection at a time. A client that sends nonsense or does not read its answers is closed.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from inspection.types import StationFault

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
DEVICE_BUSY = 6

_MBAP = struct.Struct(">HHHB")  # transaction, protocol, length (unit and PDU), unit
_LONGEST_LENGTH = 254
_BUFFER_BYTES = 1024  # at most this much of a client's pipeline is answered in one turn of the loop
_UNREAD_BYTES = 8 * 1024
_MAX_CONNECTIONS = 32
_MAX_READ = 125
_MAX_WRITE = 123
_MAX_WRITE_WITH_READ = 121
_WRITES = frozenset({6, 16, 23})


class Registers(Protocol):
    """The image a server serves: `inspection.gates.registers.RegisterImage`."""

    def input_bytes(self) -> bytes: ...  # noqa: D102 - the names say it
    def holding_bytes(self) -> bytes: ...  # noqa: D102
    def write_holding(self, address: int, words: Sequence[int]) -> None: ...  # noqa: D102


class Looks(Protocol):
    """When the loop looked at its sockets: `inspection.lookout.Lookout`."""

    @property
    def since_ns(self) -> int: ...  # noqa: D102 - the names say it
    @property
    def before_ns(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusAccess:
    """Who may do what. Addresses are compared as the kernel prints them."""

    writer: str
    readers: frozenset[str]
    idle_timeout_s: float

    def may_connect(self, address: str) -> bool:
        """Whether a connection from this address is kept at all."""
        return address == self.writer or address in self.readers


class ModbusRefusal(Exception):
    """A request that is answered by an exception code; `close` ends the connection after it."""

    def __init__(self, code: int, *, close: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.close = close


class ModbusServer:
    """All connections of one listening socket; lives in the gate's event loop.

    `written(since_ns)` is called after each request that wrote, before its answer leaves; the request was not
    there yet at `since_ns`. `writer_frozen()` says whether the PLC's heartbeat, once seen on the present
    writing connection, has stood still too long.
    """

    def __init__(
        self,
        registers: Registers,
        access: ModbusAccess,
        *,
        written: Callable[[int], None],
        looks: Looks,
        refused: Callable[[str], None],
        writer_frozen: Callable[[], bool],
    ) -> None:
        self.registers = registers
        self.access = access
        self.written = written
        self.looks = looks
        self.refused_count = 0
        self.writer_number = 0  # counts writing connections, so that "since this one came" can be told
        self._refused = refused
        self._writer_frozen = writer_frozen
        self._connections: set[Connection] = set()
        self._writer: Connection | None = None
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the bound port (useful with 0). StationFault when the address cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Connection(self), host, port)
        except (OSError, OverflowError) as e:
            raise StationFault(_bind_sentence(host, port, e)) from e
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listening socket and every connection."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    def sweep(self, now_s: float) -> None:
        """Close connections that asked nothing for the idle time-out; call it now and then."""
        for connection in list(self._connections):
            if now_s - connection.last_request_s > self.access.idle_timeout_s:
                connection.abort()

    def drop_writer(self) -> None:
        """Close the writing connection (its PLC is dead): what still comes on it would be stale."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    @property
    def has_writer(self) -> bool:
        """Whether a writing connection is open."""
        return self._writer is not None

    # --- called by connections
    def admit(self, connection: Connection) -> bool:
        """Whether to keep a fresh connection; a refusal is counted."""
        if not self.access.may_connect(connection.peer):
            self.refuse(f"connection from {connection.peer}, which is not in [modbus] readers")
            return False
        if len(self._connections) >= _MAX_CONNECTIONS:
            self.refuse(f"connection from {connection.peer}: {_MAX_CONNECTIONS} are open already")
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._connections.discard(connection)
        if self._writer is connection:
            self._writer = None

    def claim_write(self, connection: Connection, now_s: float) -> None:
        """Let this connection write or raise ModbusRefusal: one writer, from one address, at a time."""
        if connection is self._writer:
            return
        if connection.peer != self.access.writer:
            self.refuse(f"write from {connection.peer}, which is not [modbus] writer")
            raise ModbusRefusal(ILLEGAL_FUNCTION)
        if self._writer is not None:
            idle = now_s - self._writer.last_request_s > self.access.idle_timeout_s
            if not idle and not self._writer_frozen():
                self.refuse(f"second writing connection from {connection.peer} while the first is alive")
                raise ModbusRefusal(DEVICE_BUSY, close=True)
            self._writer.abort()
        self._writer = connection
        self.writer_number += 1

    def refuse(self, text: str) -> None:
        """Count one refusal and report it."""
        self.refused_count += 1
        self._refused(text)


class Connection(asyncio.BufferedProtocol):
    """One client. Its buffer is bounded, so is what it may leave unread."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._filled = 0
        self._room = 0
        # asyncio makes us one look after it saw the connection, which may have brought its first request.
        self._since_ns = server.looks.before_ns
        self._drained = False
        self._time = asyncio.get_running_loop().time
        self.peer = ""
        self.last_request_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it or close it at once."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a Modbus connection is a stream")
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else "an unknown address"
        self.last_request_s = self._time()
        if not self._server.admit(self):
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=_UNREAD_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The server forgets it."""
        self._server.forget(self)
        self._transport = None

    def pause_writing(self) -> None:
        """The client does not read its answers: it is closed rather than buffered for."""
        self._server.refuse(f"connection from {self.peer} does not read its answers")
        self.abort()

    def abort(self) -> None:
        """Close now; what is unsent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Room behind what is there; never empty, since a whole request is always consumed."""
        room = memoryview(self._buffer)[self._filled :]
        self._room = len(room)
        return room

    def buffer_updated(self, nbytes: int) -> None:
        """Answer every whole request that has come."""
        if self._drained:  # else these bytes lay in the socket already when it was read before
            self._since_ns = self._server.looks.since_ns
        self._drained = nbytes < self._room
        self._filled += nbytes
        at = 0
        while self._transport is not None and not self._transport.is_closing():
            used = self._answer_one(at)
            if used == 0:
                break
            at += used
        rest = self._filled - at
        self._buffer[:rest] = self._buffer[at : self._filled]
        self._filled = rest

    def _answer_one(self, at: int) -> int:
        """Bytes consumed by the request at `at`; 0 when it is not whole, or the connection was closed."""
        transport = self._transport
        if transport is None or self._filled - at < _MBAP.size:
            return 0
        transaction, protocol, length, unit = _MBAP.unpack_from(self._buffer, at)
        if protocol != 0 or not 2 <= length <= _LONGEST_LENGTH:
            self._server.refuse(f"connection from {self.peer} does not speak Modbus TCP")
            transport.abort()
            return 0
        if self._filled - at < 6 + length:
            return 0
        pdu = bytes(self._buffer[at + _MBAP.size : at + 6 + length])
        self.last_request_s = self._time()
        close = False
        try:
            answer = self._serve(pdu)
        except ModbusRefusal as e:
            answer, close = bytes([pdu[0] | 0x80, e.code]), e.close
        transport.write(_MBAP.pack(transaction, 0, len(answer) + 1, unit) + answer)
        if close:
            transport.close()
        return 6 + length

    def _serve(self, pdu: bytes) -> bytes:
        function = pdu[0]
        try:
            if function in (3, 4):
                return self._read(function, *struct.unpack(">HH", pdu[1:]))
            if function in _WRITES:
                return self._write(function, pdu)
        except struct.error as e:
            raise ModbusRefusal(ILLEGAL_VALUE) from e
        raise ModbusRefusal(ILLEGAL_FUNCTION)

    def _read(self, function: int, address: int, count: int) -> bytes:
        registers = self._server.registers
        image = registers.input_bytes() if function == 4 else registers.holding_bytes()
        if not 1 <= count <= _MAX_READ:
            raise ModbusRefusal(ILLEGAL_VALUE)
        if 2 * (address + count) > len(image):
            raise ModbusRefusal(ILLEGAL_ADDRESS)
        return bytes([function, 2 * count]) + image[2 * address : 2 * (address + count)]

    def _write(self, function: int, pdu: bytes) -> bytes:
        if function == 6:
            address, value = struct.unpack(">HH", pdu[1:])
            self._store(address, (value,))
            return pdu
        if function == 16:
            address, count, size = struct.unpack_from(">HHB", pdu, 1)
            if not 1 <= count <= _MAX_WRITE or size != 2 * count or len(pdu) != 6 + size:
                raise ModbusRefusal(ILLEGAL_VALUE)
            self._store(address, struct.unpack_from(f">{count}H", pdu, 6))
            return struct.pack(">BHH", 16, address, count)
        read_at, read_count, address, count, size = struct.unpack_from(">HHHHB", pdu, 1)
        if not 1 <= count <= _MAX_WRITE_WITH_READ or size != 2 * count or len(pdu) != 10 + size:
            raise ModbusRefusal(ILLEGAL_VALUE)
        self._read(3, read_at, read_count)  # refuse before anything is written
        self._store(address, struct.unpack_from(f">{count}H", pdu, 10))
        return bytes([23]) + self._read(3, read_at, read_count)[1:]

    def _store(self, address: int, words: tuple[int, ...]) -> None:
        if 2 * (address + len(words)) > len(self._server.registers.holding_bytes()):
            raise ModbusRefusal(ILLEGAL_ADDRESS)
        self._server.claim_write(self, self._time())
        self._server.registers.write_holding(address, words)
        self._server.written(self._since_ns)


def _bind_sentence(host: str, port: int, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return (
            f"Modbus port {port} on {host} is in use: stop the program that has it "
            f"(`ss -ltnp 'sport = :{port}'` names it) or set another [modbus] port in station.toml."
        )
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"Modbus port {port} needs root rights or CAP_NET_BIND_SERVICE: set [modbus] port to 1024 or more."
        )
    if number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{host} is no address of this machine: correct [modbus] host in station.toml."
    return f"Modbus cannot listen on {host}, port {port} ({error}): correct [modbus] in station.toml."
