# SPDX-License-Identifier: AGPL-3.0-or-later
"""The live socket: one a browser, for everything on the Line page.

Text messages are JSON {"type": "station" | "parts" | "rejects", ...}. A binary message is one preview: 4 bytes
big-endian length, that many bytes of JSON, then the JPEG, so that a picture and its findings cannot part.
A viewer gets the newest look whenever it is ready for one: a slow browser sees fewer, never older ones.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from fastapi import WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketState

from station_app.facts import PartFact
from station_app.watch import Look, Preview, Watch

PERIOD_S = 0.2
_SESSION_CHECK_S = 15.0
_FRESH_S = 0.1


class Live:
    """Shares looks among viewers: however many browsers are open, the board is read five times a second."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._lock = asyncio.Lock()
        self._look: Look | None = None
        self._taken_s = 0.0

    async def look(self) -> Look:
        """A look that is at most a tenth of a second old."""
        async with self._lock:
            if self._look is None or time.monotonic() - self._taken_s > _FRESH_S:
                self._look = await run_in_threadpool(self._watch.look)
                self._taken_s = time.monotonic()
            return self._look

    def close(self) -> None:
        """Let go of the board."""
        self._watch.close()


class Viewer:
    """One browser on the live socket, and what it has been sent."""

    def __init__(self, socket: WebSocket, live: Live, is_signed_in: Callable[[], bool]) -> None:
        self._socket = socket
        self._live = live
        self._is_signed_in = is_signed_in
        self._newest = -1
        self._previews: dict[str, int] = {}
        self._rejects = ""

    async def run(self) -> None:
        """Until the browser leaves, the session ends or the console stops."""
        await self._socket.accept()
        leaving = asyncio.create_task(self._wait_for_leaving())
        checked_s = time.monotonic()
        try:
            while not leaving.done():
                await self._send(await self._live.look())
                if time.monotonic() - checked_s > _SESSION_CHECK_S:
                    checked_s = time.monotonic()
                    if not await run_in_threadpool(self._is_signed_in):
                        await self._socket.close(code=4401, reason="session ended")
                        return
                await asyncio.wait([leaving], timeout=PERIOD_S)
        except (WebSocketDisconnect, RuntimeError):
            # Starlette raises RuntimeError when one sends to a socket that the other side has just closed.
            if self._socket.application_state is WebSocketState.CONNECTED:
                raise
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def _wait_for_leaving(self) -> None:
        """The browser has nothing to say; whatever it sends is read and dropped."""
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass

    async def _send(self, look: Look) -> None:
        await self._say("station", station=look.station.model_dump())
        await self._send_parts(look.recent)
        rejects = [r.model_dump() for r in look.rejects]
        text = json.dumps(rejects)
        if text != self._rejects:
            self._rejects = text
            await self._say("rejects", rejects=rejects)
        for preview in look.previews:
            if self._previews.get(preview.serial) != preview.version:
                self._previews[preview.serial] = preview.version
                await self._socket.send_bytes(pack(preview))

    async def _send_parts(self, recent: tuple[PartFact, ...]) -> None:
        newest = recent[-1].id if recent else 0
        starts_over = newest < self._newest or self._newest < 0  # first message, or the records were rebuilt
        fresh = [p.model_dump() for p in recent if starts_over or p.id > self._newest]
        if fresh or starts_over:
            await self._say("parts", reset=starts_over, parts=fresh)
        self._newest = newest

    async def _say(self, kind: str, **content: object) -> None:
        await self._socket.send_text(json.dumps({"type": kind, **content}))


def pack(preview: Preview) -> bytes:
    """One binary message: length, JSON, JPEG."""
    header = json.dumps({"serial": preview.serial, **preview.facts}).encode()
    return len(header).to_bytes(4, "big") + header + preview.jpeg
