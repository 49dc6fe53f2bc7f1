# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder of a training job: what it is, how it stands, what it has said, and how it is stopped.

    DIR/job.json       one record: state, who, what was asked, data hashes, versions, the error or the bundle
    DIR/events.jsonl   one JSON object a line, only appended; a torn last line is passed over
    DIR/job.lock       held by the process that works; a record that says running without it is of a dead one
    DIR/cancel         whoever makes it stops the job within a batch
    DIR/log.txt        what libraries printed
    DIR/work/          pictures, fit, export: what a resumed job goes on from
    DIR/bundle/        the signed candidate; it appears by one rename, at the very end

Nothing here imports torch: a console may start, watch and cancel jobs with it.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspection.storage.files import write_durably
from inspection.types import StationFault

JOB_VERSION = 1
STATES = ("queued", "running", "failed", "cancelled", "done")
RECORD_NAME, EVENTS_NAME, LOCK_NAME, CANCEL_NAME, LOG_NAME = (
    "job.json",
    "events.jsonl",
    "job.lock",
    "cancel",
    "log.txt",
)
DIED = "the process ended without a word (killed, out of memory, or the power went); go on with --resume"


def now_utc() -> str:
    """Wall time for records."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def process_started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, which tells it from a later one of the same number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


@dataclass(slots=True)
class JobFolder:
    """One job's folder; any process may read, only the one that holds the lock writes."""

    path: Path
    _lock: int | None = field(default=None)

    @property
    def work(self) -> Path:
        """Where the stages keep what they have made."""
        return self.path / "work"

    @property
    def bundle(self) -> Path:
        """The signed candidate."""
        return self.path / "bundle"

    def record(self) -> dict[str, Any]:
        """What job.json says; empty when there is none. StationFault when it is no record."""
        try:
            return dict(json.loads((self.path / RECORD_NAME).read_bytes()))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, OSError) as error:
            raise StationFault(
                f"{self.path / RECORD_NAME} is no job record ({error}); choose another --out"
            ) from None

    def standing(self) -> dict[str, Any]:
        """The record as it is true now: a job that says running and holds no lock has died."""
        record = self.record()
        if record.get("state") in ("queued", "running") and not self.held():
            record |= {"state": "failed", "error": DIED}
        return record

    def write(self, **facts: Any) -> dict[str, Any]:
        """Change the record; it is whole at every moment."""
        record = {"job_version": JOB_VERSION, **self.record(), **facts}
        write_durably(self.path / RECORD_NAME, (json.dumps(record, indent=1) + "\n").encode())
        return record

    def tell(self, event: str, **facts: Any) -> None:
        """Append one event and hand it to the kernel at once."""
        line = json.dumps({"utc": now_utc(), "event": event, **facts})
        fd = os.open(self.path / EVENTS_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"  # of a writer that was killed
            os.write(fd, (("\n" if torn else "") + line + "\n").encode())
        finally:
            os.close(fd)

    def events(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Events from a byte offset on, and the offset to read on from; a torn line is passed over."""
        try:
            with (self.path / EVENTS_NAME).open("rb") as stream:
                stream.seek(offset)
                data = stream.read()
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        found = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    found.append(event)
        return found, offset + len(whole)

    def cancel(self) -> None:
        """Ask the job to stop."""
        (self.path / CANCEL_NAME).touch()

    def cancelled(self) -> bool:
        """Whether somebody asked."""
        return (self.path / CANCEL_NAME).exists()

    def held(self) -> bool:
        """Whether a process works here now."""
        if self._lock is not None:
            return True
        try:
            fd = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    @contextlib.contextmanager
    def working(self, *, patience_s: float = 10.0) -> Iterator[None]:
        """Be the one process that works here. StationFault when another is and stays it for patience_s.

        The kernel gives the lock back however a process ends; one that is being killed may take a moment.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        give_up_s = time.monotonic() + patience_s
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up_s:
                        pid = self.record().get("pid", "?")
                        raise StationFault(
                            f"{self.path} is being worked on by process {pid}; wait for it, or cancel it with "
                            f"`touch {self.path / CANCEL_NAME}`"
                        ) from None
                    time.sleep(0.05)
            self._lock = fd
            yield
        finally:
            self._lock = None
            os.close(fd)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
