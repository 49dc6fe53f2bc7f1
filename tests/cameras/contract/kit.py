# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the clauses of the camera contract are written with: their register, a camera that is always closed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cameras.accounting import Accounting, Books, Fate
from cameras.base import CameraFault, Exposure, FaultKind
from tests.cameras.contract.rigs import Rig

Clause = Callable[[Rig], None]
CLAUSES: dict[str, Clause] = {}
NEEDS: dict[str, tuple[str, ...]] = {}
LIMIT_S = 10.0


def clause(*needs: str) -> Callable[[Clause], Clause]:
    """Register a clause; `needs` are node names, `Node=Entry` of an enumeration, or abilities of the rig."""

    def register(function: Clause) -> Clause:
        CLAUSES[function.__name__] = function
        NEEDS[function.__name__] = needs
        return function

    return register


def what_lacks(needs: tuple[str, ...], camera: Any, rig: Rig) -> list[str]:
    """The needs that this camera does not meet."""

    def met(need: str) -> bool:
        name, _, entry = need.partition("=")
        if need in rig.abilities:
            return True
        return name in camera.nodes.names() and (not entry or entry in camera.nodes.entries(name))

    return [need for need in needs if not met(need)]


@contextlib.contextmanager
def opened(rig: Rig, *, start: bool = True, **changes: Any) -> Iterator[Any]:
    """A camera, started, and closed whatever happens."""
    camera = rig.open(rig.spec(**changes))
    try:
        if start:
            camera.start()
        yield camera
    finally:
        camera.close()


def next_exposure(camera: Any) -> Exposure:
    """The next frame, whole or not."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        exposure = camera.fetch(20)
        if exposure is not None:
            return exposure
    raise AssertionError("no frame came")


def refused(rig: Rig, kind: FaultKind, **changes: Any) -> str:
    """Opening must be refused with this kind of fault; its sentence."""
    with pytest.raises(CameraFault) as caught:
        rig.open(rig.spec(**changes)).close()
    assert caught.value.kind == kind, caught.value
    assert "\n" not in str(caught.value)
    return str(caught.value)


def take(camera: Any, count: int, accounting: Accounting) -> list[Exposure]:
    """Fetch and release `count` frames, and book them."""
    taken = []
    for _ in range(count):
        exposure = next_exposure(camera)
        accounting.saw(exposure.frame_id, Fate.INCOMPLETE if exposure.incomplete else Fate.DELIVERED)
        exposure.release()
        taken.append(exposure)
    return taken


def starve(rig: Rig, enough: Callable[[Any], bool]) -> Books:
    """Hold every buffer until `enough` (or a second) has passed, then go on; the books afterwards."""
    with opened(rig) as camera:
        accounting = Accounting()
        held = [next_exposure(camera) for _ in range(16)]
        for e in held:
            accounting.saw(e.frame_id, Fate.DELIVERED)
        until = time.monotonic() + 1.0
        while not enough(camera) and time.monotonic() < until:
            assert camera.fetch(20) is None
        for e in held:
            e.release()
        last = take(camera, 20, accounting)[-1]
        books = accounting.books(camera.counters())
    assert books.triggers == last.frame_id - held[0].frame_id + 1
    return books


def open_files() -> int:
    """Descriptors this process holds."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
