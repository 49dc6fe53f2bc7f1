# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small Modbus TCP client of the PLC's own: one outstanding request, never blocking, never trusting.

Anything that does not fit (a wrong transaction number, a time-out, an exception answer) closes the connection:
after a network cut an old connection can deliver a late answer, and a late answer read as a fresh one is how a
wrong part gets passed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time

READ_INPUT = 4
WRITE_MULTIPLE = 16


class ModbusFault(Exception):
    """The connection is closed; the text says why."""


class ModbusClient:
    """Owns one socket at a time. Times are monotonic nanoseconds, passed in."""

    def __init__(self, host: str, port: int, *, timeout_ns: int = 150_000_000, unit_id: int = 1) -> None:
        self.host = host
        self.port = port
        self.timeout_ns = timeout_ns
        self._unit_id = unit_id
        self._sock: socket.socket | None = None
        self._transaction = 0
        self._function = 0  # of the outstanding request, 0: none
        self._sent_ns = 0
        self._received = b""

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""
        return self._sock is not None

    @property
    def idle(self) -> bool:
        """Connected, with no answer outstanding."""
        return self._sock is not None and self._function == 0

    def fileno(self) -> int:
        """Descriptor for a selector; -1 without a connection."""
        return -1 if self._sock is None else self._sock.fileno()

    def connect(self, timeout_s: float = 0.05) -> None:
        """Open a fresh connection; ModbusFault when nobody answers."""
        self.close()
        try:
            sock = socket.create_connection((self.host, self.port), timeout=timeout_s)
        except OSError as e:
            raise ModbusFault(f"no connection to {self.host}:{self.port} ({e})") from e
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._sock = sock

    def close(self) -> None:
        """Drop the connection and whatever was outstanding."""
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        self._function = 0
        self._received = b""

    def request_read_input(self, now_ns: int, address: int, count: int) -> None:
        """Ask for input registers (FC04)."""
        self._send(now_ns, READ_INPUT, struct.pack(">HH", address, count))

    def request_write(self, now_ns: int, address: int, words: list[int]) -> None:
        """Write holding registers (FC16)."""
        body = struct.pack(f">HHB{len(words)}H", address, len(words), 2 * len(words), *words)
        self._send(now_ns, WRITE_MULTIPLE, body)

    def _send(self, now_ns: int, function: int, body: bytes) -> None:
        if self._sock is None or self._function != 0:
            raise ModbusFault("a request was made without a free connection")
        self._transaction = (self._transaction + 1) & 0xFFFF
        frame = struct.pack(">HHHBB", self._transaction, 0, len(body) + 2, self._unit_id, function) + body
        try:
            sent = self._sock.send(frame)
        except OSError as e:
            raise self._fault(f"sending failed ({e})") from e
        if sent != len(frame):
            raise self._fault("the station does not take what is sent")
        self._function = function
        self._sent_ns = now_ns

    def answer(self, now_ns: int) -> tuple[int, tuple[int, ...]] | None:
        """What has arrived: (function, words), or None while it is still on its way.

        Words are the registers read, empty for a write. ModbusFault (and closed) on time-out or nonsense.
        """
        if self._sock is None or self._function == 0:
            return None
        closed = False
        try:
            data = self._sock.recv(4096)
            closed = not data
            self._received += data
        except BlockingIOError:
            pass
        except OSError as e:
            raise self._fault(f"receiving failed ({e})") from e
        if closed:
            raise self._fault("the station closed the connection")
        result = self._parse()
        if result is None and now_ns - self._sent_ns > self.timeout_ns:
            raise self._fault(f"no answer within {self.timeout_ns // 1_000_000} ms")
        return result

    def _parse(self) -> tuple[int, tuple[int, ...]] | None:
        if len(self._received) < 8:
            return None
        transaction, protocol, length, _unit, function = struct.unpack(">HHHBB", self._received[:8])
        if protocol != 0 or not 3 <= length <= 260:
            raise self._fault("the answer is not Modbus")
        if len(self._received) < 6 + length:
            return None
        body, rest = self._received[8 : 6 + length], self._received[6 + length :]
        if transaction != self._transaction or rest:
            raise self._fault("an answer to another request arrived")
        if function != self._function:
            raise self._fault(f"exception answer {body[:1].hex()} to function {self._function}")
        self._function = 0
        self._received = b""
        if function != READ_INPUT:
            return function, ()
        if body[0] != len(body) - 1 or body[0] % 2:
            raise self._fault("a read answer has the wrong length")
        return function, struct.unpack(f">{body[0] // 2}H", body[1:])

    def _fault(self, text: str) -> ModbusFault:
        self.close()
        return ModbusFault(text)

    def wait(self) -> tuple[int, tuple[int, ...]]:
        """Block for the outstanding answer; for tests and tools, the PLC itself never calls it."""
        while True:
            result = self.answer(time.monotonic_ns())
            if result is not None:
                return result
            with contextlib.suppress(InterruptedError):
                select.select([self], [], [], self.timeout_ns / 2e9)
