# SPDX-License-Identifier: AGPL-3.0-or-later
"""How messages travel: SOCK_SEQPACKET pairs made by the supervisor and inherited by the processes.

A message is whole or absent, and a restarted process finds the same ends. Every sender is non-blocking; a
full link is a counted drop, and silence is reject.
"""

from __future__ import annotations

import socket

from inspection.messages import Message, decode, encode

MAX_MESSAGE_BYTES = 128 * 1024


class Link:
    """One end of a SOCK_SEQPACKET pair: whole messages, never blocking, drops counted.

    The socket is owned by the caller's process for its life; `fileno` serves selectors and asyncio readers.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        # One buffer for all messages: a fresh one of this size costs 26 us a message in page faults.
        self._buffer = memoryview(bytearray(MAX_MESSAGE_BYTES))
        self.dropped = 0

    @classmethod
    def from_fd(cls, fd: int) -> Link:
        """Adopt an inherited descriptor."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """Descriptor for selectors."""
        return self._sock.fileno()

    def send(self, message: Message) -> bool:
        """Send one message; False (and counted) when the link is full or the other end is gone."""
        try:
            self._sock.send(encode(message))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            self.dropped += 1
            return False
        return True

    def receive(self) -> Message | None:
        """Next message, or None when there is none now. A closed peer reads as None too: watch the board."""
        try:
            size = self._sock.recv_into(self._buffer)
        except (BlockingIOError, ConnectionResetError):
            return None
        return decode(self._buffer[:size]) if size else None

    def close(self) -> None:
        """Release the descriptor."""
        self._sock.close()


def link_pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair for two processes; the supervisor keeps both ends open across restarts."""
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (a, b):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
    return a, b
