# SPDX-License-Identifier: AGPL-3.0-or-later
"""Child processes of the simulated line: they talk in lines of JSON and never outlive the demo."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 4000


def _prepare(parent_pid: int, death_signal: int) -> None:
    """Run in the child before exec: get a signal when the parent dies, whatever killed it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


class TalkingChild:
    """One child: `status` is its last JSON line on stdout, `send` writes to its stdin, a file takes stderr."""

    def __init__(
        self,
        name: str,
        module: str,
        arguments: list[str],
        log: Path,
        *,
        environment: dict[str, str] | None = None,
        talks: bool = True,
        death_signal: int = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = log
        self.status: dict[str, Any] = {}
        self._partial = b""
        parent = os.getpid()
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else errors,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C is for us; the children stop in our order
                preexec_fn=lambda: _prepare(parent, death_signal),  # noqa: PLW1509 - we have one thread
            )
        if self.process.stdout is not None:
            os.set_blocking(self.process.stdout.fileno(), False)

    @property
    def running(self) -> bool:
        """Whether it still lives."""
        return self.process.poll() is None

    def lines(self) -> list[str]:
        """Whole lines that it wrote to stdout since."""
        if self.process.stdout is None or self.process.stdout.closed:
            return []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.process.stdout.fileno(), 1 << 16):
                self._partial += data
        *whole, self._partial = self._partial.split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def listen(self) -> dict[str, Any]:
        """Read what it said since, as lines of JSON; returns the newest status."""
        said = self.lines()
        if said:
            self.status = json.loads(said[-1])
        return self.status

    def send(self, **command: Any) -> None:
        """Send one line; a child that is gone is noticed by `running`."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(json.dumps(command).encode() + b"\n")
                self.process.stdin.flush()

    def last_words(self) -> str:
        """The last line it wrote to stderr."""
        with contextlib.suppress(OSError):
            text = self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
            return text.splitlines()[-1] if text else ""
        return ""

    def wait(self, patience_s: float) -> int | None:
        """Exit code, or None when it still lives after `patience_s`."""
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, patience_s: float) -> bool:
        """SIGTERM, then SIGKILL; False when it had to be killed. Its pipes are closed."""
        orderly = True
        if self.running:
            self.process.terminate()
            orderly = self.wait(patience_s) is not None
            if not orderly:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return orderly
