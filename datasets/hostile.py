# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files from outside, opened where they can do no harm: pictures and archives in child processes with limits.

`PictureCheck` answers what a picture file is; `unpack` opens a zip or tar archive. Both raise StationFault
naming the file, and leave this process as it was whatever the file held.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from datasets.labels import Rle
from inspection.types import StationFault

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_PICTURE_TIME_S = 60.0  # wall time; the child's processor limit is half of it
_UNPACK_TIME_S = 3600.0


def picture_files(folder: Path) -> list[Path]:
    """Every picture below a folder, sorted; hidden ones (macOS leaves `._p.png` behind) left out."""
    return sorted(
        f
        for f in folder.rglob("*")
        if f.suffix.lower() in PICTURE_SUFFIXES and not f.name.startswith(".") and f.is_file()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """What a picture file is. Width and height as it is shown, an EXIF turn included."""

    width_px: int
    height_px: int
    kind: str  # PNG, JPEG, ...
    sha256: str  # of the file
    peak_16_bit: int | None = None  # brightest pixel of a grey picture of 16 bits


class PictureCheck:
    """Opens pictures in a child process, and remembers what it saw. Use it as a context manager."""

    def __init__(self, *, time_s: float = _PICTURE_TIME_S) -> None:
        self._time_s = time_s
        self._child: subprocess.Popen[bytes] | None = None
        self._known: dict[Path, PictureFacts] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def examine(self, path: Path) -> PictureFacts:
        """Decode one picture fully; StationFault naming it when it is not one that may be taken."""
        if path not in self._known:
            self._known[path] = _facts(self._ask(path, mask=False))
        return self._known[path]

    def mask(self, path: Path) -> Rle:
        """Decode a mask picture: what is brighter than half, or the brighter of two values."""
        answer = self._ask(path, mask=True)
        facts = _facts(answer)
        return Rle(height_px=facts.height_px, width_px=facts.width_px, counts=tuple(answer["counts"]))

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, path: Path, *, mask: bool) -> dict[str, Any]:
        if self._child is None:
            self._child = _start("datasets.decode")
        child = self._child
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - pipes were asked for
        try:
            child.stdin.write(json.dumps({"path": str(path.resolve()), "mask": mask}).encode() + b"\n")
            child.stdin.flush()
            line = _line_within(child, self._time_s)
        except BrokenPipeError:
            line = b""
        if not line:
            self.close()
            raise StationFault(
                f"{path}: opening it takes more time or memory than a picture may; replace it or take it out"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise StationFault(f"{path}: not a picture that can be taken: {answer['error']}")
        return answer


def _facts(answer: dict[str, Any]) -> PictureFacts:
    return PictureFacts(
        width_px=answer["width_px"],
        height_px=answer["height_px"],
        kind=answer["kind"],
        sha256=answer["sha256"],
        peak_16_bit=answer.get("peak_16_bit"),
    )


def _start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    env = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
    )


def _line_within(child: subprocess.Popen[bytes], time_s: float) -> bytes:
    """One line of the child's, empty when it ended or is too slow. Only one answer is ever under way."""
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        if not selector.select(time_s):
            return b""
    return child.stdout.readline()


def unpack(archive: Path, into: Path) -> None:
    """Unpack a zip or tar archive into the empty folder `into`, in a child with limits.

    Raises StationFault naming archive and member. What was unpacked till then stays in `into`, which the
    caller owns and removes.
    """
    with _start("datasets.archive", str(archive), str(into)) as child:
        try:
            said, _ = child.communicate(timeout=_UNPACK_TIME_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise StationFault(
                f"{archive}: unpacking takes longer than an archive may; unpack it yourself"
            ) from None
        except BaseException:
            child.kill()
            raise
    if child.returncode == 0:
        return
    text = said.decode(errors="replace").strip()
    if child.returncode == -signal.SIGXCPU or not text:
        text = "unpacking takes more time or memory than an archive may"
    raise StationFault(f"{archive}: {text}")
