# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the station's processes say to each other: one datagram, one message (msgpack, tagged union).

Links are SOCK_SEQPACKET pairs made by the supervisor and inherited, so that a message is whole or absent
and a restarted process finds the same ends. Pictures never travel here: only (slot, generation).
Every sender is non-blocking; a full link is a counted drop, and silence is reject.
"""

from __future__ import annotations

import socket
from typing import TypeVar

import msgspec

from inspection.types import FrameRef, PartRef, Reason, Verdict

MAX_MESSAGE_BYTES = 128 * 1024


class FrameReady(msgspec.Struct, frozen=True, tag="frame"):
    """Camera worker -> inspector: a picture lies in a slot; the slot's lease goes with this message."""

    frame: FrameRef


class FrameFault(msgspec.Struct, frozen=True, tag="frame_fault"):
    """Camera worker -> inspector: a trigger gave no usable picture (reason says which term it counts in)."""

    camera: int
    reason: Reason
    at_ns: int
    encoder_pulses: int | None = None
    frame_id: int | None = None


class PartTriggered(msgspec.Struct, frozen=True, tag="part"):
    """Gate -> inspector: expect pictures of this part."""

    part: PartRef


class PartClosed(msgspec.Struct, frozen=True, tag="closed"):
    """Gate -> inspector: the outcome is fixed; stop working on this part and give its slots back."""

    ordinal: int


class LineReset(msgspec.Struct, frozen=True, tag="reset"):
    """Gate -> inspector: everything in flight is closed (arming, resync, fault); drop all parts and frames."""

    epoch: int
    armed: bool


class ViewSeen(msgspec.Struct, frozen=True):
    """Which picture a verdict rests on; the gate checks the encoder count against the trigger once more."""

    camera: int
    frame_id: int
    encoder_pulses: int | None
    exposure_ns: int
    ready_ns: int
    strip: bytes = b""  # raw pixels of the configured strip, undecoded; see [[camera]].strip_px


class ExposureDone(msgspec.Struct, frozen=True, tag="exposed"):
    """Inspector -> gate: all views of the part have arrived (input register 9)."""

    ordinal: int


class PartJudged(msgspec.Struct, frozen=True, tag="judged"):
    """Inspector -> gate: the verdict on a part and what it rests on."""

    ordinal: int
    epoch: int
    seq: int
    verdict: Verdict
    views: tuple[ViewSeen, ...]
    recipe_sha256: str
    bundle_sha256: str
    ready_ns: int  # last slot ready, monotonic
    judged_ns: int


class ImageHandOver(msgspec.Struct, frozen=True, tag="image"):
    """Inspector -> recorder: this slot's lease is now yours; archive or preview it, then free the slot."""

    frame: FrameRef
    epoch: int
    ordinal: int  # 0: paired with no part
    seq: int
    outcome: int  # of the inspector's verdict; the journal has the last word
    verdict: Verdict | None = None


Message = (
    FrameReady
    | FrameFault
    | PartTriggered
    | PartClosed
    | LineReset
    | ExposureDone
    | PartJudged
    | ImageHandOver
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Message)
M = TypeVar("M", bound=msgspec.Struct)


def encode(message: Message) -> bytes:
    """Bytes of one datagram."""
    return _ENCODER.encode(message)


def decode(data: bytes) -> Message:
    """Inverse of `encode`; raises msgspec.DecodeError on anything else."""
    return _DECODER.decode(data)


class Link:
    """One end of a SOCK_SEQPACKET pair: whole messages, never blocking, drops counted.

    The socket is owned by the caller's process for its life; `fileno` serves selectors and asyncio readers.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
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
            data = self._sock.recv(MAX_MESSAGE_BYTES)
        except (BlockingIOError, ConnectionResetError):
            return None
        return decode(data) if data else None

    def close(self) -> None:
        """Release the descriptor."""
        self._sock.close()


def link_pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair for two processes; the supervisor keeps both ends open across restarts."""
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (a, b):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
    return a, b
