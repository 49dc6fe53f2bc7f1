# SPDX-License-Identifier: AGPL-3.0-or-later
"""Another bundle for a running inspector: loaded beside the one that judges, then taken between parts.

    supervisor --UseBundle--> inspector: a thread verifies, compiles, warms up; the hot loop goes on
               inspector --BundleReady--> gate: puts it on record, and says from which part on
               gate --BundleAgreed--> inspector: parts from that ordinal on go to the new engine
    supervisor <--BundleTaken-- inspector

Until the gate agrees nothing has changed, and whoever dies leaves the old bundle in use. A part belongs to one
engine by its ordinal, which gate and inspector know alike: both engines answer for the parts they began, and
none is lost or judged half and half. Rollback is the same act.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from inspection.engines import Loaded
from inspection.link import Link
from inspection.messages import BundleReady, BundleTaken, UseBundle
from inspection.types import PartFault, StationFault

_AGAIN_NS = 100_000_000
_NICE = 10
_CAP_SYS_NICE = 23


class Swapping:
    """At most one change at a time; orders that come meanwhile wait, the newest alone.

    `load` verifies, fits and warms a bundle; it runs on a thread of its own and raises StationFault.
    """

    def __init__(
        self, *, load: Callable[[UseBundle], Loaded], gate: Link, supervisor: Link | None, recipe_sha256: str
    ) -> None:
        self._load = load
        self._gate = gate
        self._supervisor = supervisor
        self._recipe_sha256 = recipe_sha256
        self._order: UseBundle | None = None
        self._next: UseBundle | None = None
        self._thread: threading.Thread | None = None
        self._loaded: Loaded | None = None
        self._refusal = ""
        self._offer_at_ns = 0

    def ordered(self, order: UseBundle, current_sha256: str) -> None:
        """The supervisor wants this bundle. It asks until it hears: what is under way is not begun anew."""
        if self._order is not None:
            if order.act > self._order.act:
                self._next = order
        elif order.bundle_sha256 == current_sha256:
            self._tell(order, "")
        else:
            self._order = order
            self._thread = threading.Thread(target=self._run, args=(order,), name="bundle-loading", daemon=True)
            self._thread.start()

    def look(self, now_ns: int, current_sha256: str) -> None:
        """What became of the thread; offer what it loaded to the gate until it agrees."""
        order = self._order
        if order is None:
            if self._next is not None:
                waiting, self._next = self._next, None
                self.ordered(waiting, current_sha256)
            return
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._thread.join()
            self._thread = None
            if self._loaded is None:
                self._order = None
                self._tell(order, self._refusal)
                return
        if now_ns >= self._offer_at_ns:
            self._offer_at_ns = now_ns + _AGAIN_NS
            self.offer(order.bundle_sha256, order)

    def offer(self, bundle_sha256: str, order: UseBundle | None = None) -> None:
        """Tell the gate by which bundle this process judges, or could."""
        self._gate.send(
            BundleReady(
                bundle_sha256=bundle_sha256,
                recipe_sha256=self._recipe_sha256,
                act=order.act if order else 0,
                who=order.who if order else "",
                why=order.why if order else "",
            )
        )

    def agreed(self, bundle_sha256: str) -> Loaded | None:
        """The gate expects this bundle from now on: the detector to take, if it is the one on offer."""
        order, loaded = self._order, self._loaded
        if order is None or loaded is None or self._thread is not None or order.bundle_sha256 != bundle_sha256:
            return None
        self._order = self._loaded = None
        self._offer_at_ns = 0
        self._tell(order, "")
        return loaded

    def close(self, patience_s: float = 3.0) -> None:
        """Give a loading thread time to end: an interpreter that ends under a compiler is a crash."""
        if self._thread is not None:
            self._thread.join(patience_s)

    def _tell(self, order: UseBundle, refusal: str) -> None:
        if self._supervisor is not None:  # a lost message: the supervisor asks again, and hears it then
            self._supervisor.send(
                BundleTaken(act=order.act, bundle_sha256=order.bundle_sha256, refusal=refusal)
            )

    def _run(self, order: UseBundle) -> None:
        """The loading thread. Whatever it raises is a refusal: the bundle that judges goes on judging."""
        try:
            with behind_the_line():
                self._loaded = self._load(order)
        except (StationFault, PartFault, OSError) as e:
            self._refusal = str(e)
        except Exception as e:  # noqa: BLE001 - top of a thread: the engine's runtime may raise anything
            self._refusal = f"{type(e).__name__}: {e}"
            sys.stderr.write(f"inspector: loading bundle {order.bundle_sha256[:12]}: {self._refusal}\n")


@contextlib.contextmanager
def behind_the_line() -> Iterator[None]:
    """Let this thread give way to the engine that judges, where the system lets it come back afterwards.

    Threads that a runtime starts meanwhile inherit the low priority and are the new engine's own: they are
    raised again at the end. Where raising is not allowed, all stays as it was: a new engine must not be a slow
    one.
    """
    if not _may_come_back():
        yield
        return
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    before = _threads()
    me = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, me, usual + _NICE)
    try:
        yield
    finally:
        for thread in _threads() - before | {me}:
            with contextlib.suppress(OSError):  # it ended meanwhile
                os.setpriority(os.PRIO_PROCESS, thread, usual)


def _threads() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}


def _may_come_back() -> bool:
    """Whether this process may lower a nice value: by its limit (20 - value), or by capability."""
    if resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20 - os.getpriority(os.PRIO_PROCESS, 0):
        return True
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_NICE & 1)
    return False
