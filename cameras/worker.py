# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process of one camera: fetch, copy once into the ring, hand the buffer back, say so. Decides nothing.

    python -m cameras.worker --config station.toml --links inspector=FD --camera INDEX
    python -m cameras.worker --list [--producer FILE]

Exit codes: 0 asked to stop, 3 the configuration cannot work, 4 the camera is gone, 1 anything else. The
supervisor starts the process again; a new process is also how a lost camera is reconnected, because GenTL
drivers seldom survive a loss inside one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from cameras.accounting import Accounting, Books, Fate
from cameras.base import Camera, CameraFault, CameraSpec, Clock, Exposure, check_clock
from cameras.firing import Firing, unmatched
from cameras.health import HealthMeter, breaches
from cameras.pfnc import bytes_per_frame, code_of
from cameras.ring import Ring, SlotState
from inspection.board import CameraCounter, ProcessState, Row
from inspection.child import EXIT_FAULT, ChildContext, run_child
from inspection.config import CameraTable
from inspection.link import Link
from inspection.messages import FrameFault, FrameReady, SlotsLeft
from inspection.recipe import HealthLimits
from inspection.types import FrameRef, Reason, StationFault

EXIT_LOST = 4
_FETCH_MS = 20
_RETRY_S = 0.25
_WAIT_FOR_CAMERA_S = 5.0
_IDLE_NS = 1_000_000_000  # this long without a frame, nothing is in flight any more
_COUNTERS_NS = 100_000_000
_CLOSE_LIMIT_S = 3


class Worker:
    """Moves the frames of one camera into its ring until asked to stop."""

    def __init__(
        self,
        *,
        index: int,
        table: CameraTable,
        limits: HealthLimits,
        camera: Camera,
        ring: Ring,
        link: Link,
        row: Row,
        firing: Firing | None = None,
        pairing: str = "encoder",
    ) -> None:
        """`firing` where the station itself triggers this camera."""
        self._index = index
        self._limits = limits
        self._camera = camera
        self._ring = ring
        self._link = link
        self._row = row
        self._firing = firing
        self._pairing = pairing
        code = code_of(table.pixel_format)
        self._frame_bytes = bytes_per_frame(code, table.width_px, table.height_px)
        self._health = HealthMeter(code, table.width_px, table.height_px, table.view)
        self._accounting = Accounting()
        self._last_frame_ns = 0
        self._next_count_ns = 0
        self._fetch_cpu_ns = 0

    @property
    def ready(self) -> bool:
        """Whether its pictures can be believed; false only until a software trigger was tried."""
        return self._firing is None or self._firing.ready

    def step(self) -> None:
        """One turn: at most one frame, one beat. Raises CameraFault when the camera is gone."""
        before_ns = time.thread_time_ns()
        firing = self._firing
        exposure = self._camera.fetch(_FETCH_MS) if firing is None else firing.next_exposure()
        if exposure is not None:
            check_clock(self._camera, self._pairing)  # some latch a clock and do not stamp their frames
            self._take(exposure)
            self._fetch_cpu_ns += time.thread_time_ns() - before_ns
        now_ns = time.monotonic_ns()
        self._row.beat(now_ns)
        if now_ns >= self._next_count_ns:
            self._next_count_ns = now_ns + _COUNTERS_NS
            self.publish_books(at_rest=now_ns - self._last_frame_ns > _IDLE_NS)

    def publish_books(self, *, at_rest: bool) -> Books:
        """Write the accounting to the board."""
        books = self._accounting.books(self._camera.counters(), at_rest=at_rest)
        for counter, value in (
            (CameraCounter.TRIGGERS, books.triggers),
            (CameraCounter.DELIVERED, books.delivered),
            (CameraCounter.RING_FULL, books.ring_full),
            (CameraCounter.INCOMPLETE, books.incomplete),
            (CameraCounter.UNDERRUN, books.underrun),
            (CameraCounter.MISSED, books.missed),
            (CameraCounter.UNEXPLAINED_ID_GAP, books.unexplained_id_gap),
            (CameraCounter.LINK_DROPPED, self._link.dropped),
            (CameraCounter.FETCH_CPU_NS, self._fetch_cpu_ns),
        ):
            self._row.set(counter, value)
        return books

    def _take(self, exposure: Exposure) -> None:
        self._last_frame_ns = time.monotonic_ns()
        if exposure.incomplete:
            exposure.release()
            self._fail(exposure, Fate.INCOMPLETE, Reason.FRAME_INCOMPLETE)
            return
        slot = self._ring.acquire()
        if slot is None:
            exposure.release()
            self._fail(exposure, Fate.RING_FULL, Reason.FRAME_LOST)
            return
        pixels = self._ring.pixels(slot)[: self._frame_bytes]
        pixels[:] = exposure.pixels[: self._frame_bytes]
        exposure.release()
        health = self._health.measure(pixels)
        unhealthy = breaches(health, self._limits) + (unmatched(exposure) if self._firing else ())
        generation = self._ring.publish(slot)
        frame = FrameRef(
            camera=self._index,
            slot=slot,
            generation=generation,
            frame_id=exposure.frame_id,
            encoder_pulses=exposure.encoder_pulses,
            exposure_ns=exposure.exposure_ns,
            ready_ns=time.monotonic_ns(),
            width_px=exposure.width_px,
            height_px=exposure.height_px,
            pixel_format=exposure.pixel_format,
            unhealthy=unhealthy,
            stamped=exposure.clock is Clock.DEVICE,
        )
        if self._link.send(FrameReady(frame)):
            self._accounting.saw(exposure.frame_id, Fate.DELIVERED)
        else:
            self._ring.abandon(slot)  # nobody was told of it: as good as no slot
            self._accounting.saw(exposure.frame_id, Fate.RING_FULL)
        self._row.set(CameraCounter.LAST_FRAME_ID, exposure.frame_id)
        self._row.set(CameraCounter.LAST_EXPOSURE_NS, exposure.exposure_ns)
        self._row.set(CameraCounter.MEAN_GREY_MILLI, round(health.mean * 1000))
        self._row.set(CameraCounter.FOCUS_MILLI, round(health.focus * 1000))
        if unhealthy:
            self._row.add(CameraCounter.UNHEALTHY)

    def _fail(self, exposure: Exposure, fate: Fate, reason: Reason) -> None:
        self._accounting.saw(exposure.frame_id, fate)
        self._link.send(
            FrameFault(
                camera=self._index,
                reason=reason,
                at_ns=exposure.exposure_ns,
                encoder_pulses=exposure.encoder_pulses,
                frame_id=exposure.frame_id,
            )
        )


def spec_of(table: CameraTable) -> CameraSpec:
    """What the configuration wants of one camera."""
    return CameraSpec(
        serial=table.serial,
        producer=table.producer,
        width_px=table.width_px,
        height_px=table.height_px,
        pixel_format=table.pixel_format,
        buffers=table.buffers,
        trigger=table.trigger,
        settings=tuple(table.settings),
    )


def open_patiently(
    open_camera: Callable[[], Camera],
    row: Row,
    stopping: Callable[[], bool],
    patience_s: float = _WAIT_FOR_CAMERA_S,
) -> Camera | None:
    """Open and start the camera; waits a bounded time for one that is unplugged or busy.

    None when asked to stop. Raises the last CameraFault when time is up, at once when waiting cannot help.
    """
    until_ns = time.monotonic_ns() + int(patience_s * 1e9)
    while not stopping():
        row.beat()
        try:
            camera = open_camera()
            camera.start()
        except CameraFault as e:
            if not e.kind.may_pass or time.monotonic_ns() > until_ns:
                raise
            row.report(ProcessState.STARTING, str(e))
            time.sleep(_RETRY_S)
        else:
            return camera
    return None


def _work(context: ChildContext) -> int:
    """Open, acquire until asked to stop, close the books, let go of the camera."""
    from cameras.genicam import GenicamCamera  # noqa: PLC0415 - half a second; the row must say STARTING first

    index, row = context.camera or 0, context.row
    if not 0 <= index < len(context.config.camera):
        raise StationFault(
            f"The configuration has {len(context.config.camera)} cameras; --camera counts from 0."
        )
    table = context.config.camera[index]
    recipe = context.recipe()  # the health limits stand in it: the very recipe that gate and inspector judge by
    ring = Ring.attach(context.config.ring_path(table.serial))
    row.set(CameraCounter.RECONNECTS, row.incarnation - 1)
    if left := ring.found(SlotState.READY):  # before the first slot of our own
        context.tell("inspector", SlotsLeft(camera=index, slots=left))
    spec = spec_of(table)
    camera = open_patiently(lambda: GenicamCamera.open(spec), row, context.stop.is_set)
    if camera is None:
        return 0
    link, line = context.links["inspector"], context.config.line
    try:
        check_clock(camera, line.pairing)
    except CameraFault:
        camera.close()
        raise
    window_pulses = line.pair_window_pulses if line.pairing == "encoder" else None
    fires = table.trigger == "software"
    worker = Worker(
        index=index,
        table=table,
        limits=recipe.health,
        camera=camera,
        ring=ring,
        link=link,
        row=row,
        firing=Firing(index=index, camera=camera, link=link, window_pulses=window_pulses) if fires else None,
        pairing=line.pairing,
    )
    try:
        while not worker.ready and not context.stop.is_set():
            worker.step()
        if worker.ready:
            row.report(ProcessState.READY)
        while not context.stop.is_set():
            worker.step()
        worker.publish_books(at_rest=True)
    except CameraFault as fault:
        row.report(ProcessState.FAULT, str(fault))
        sys.stderr.write(f"{fault}\n")
        sys.stderr.flush()
        # No teardown: with a lost device a driver may hang in it. The kernel takes everything back.
        os._exit(EXIT_LOST)
    # A driver that hangs while it closes ends by this alarm's default action, interpreter lock or not.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_CLOSE_LIMIT_S)
    row.report(ProcessState.DOWN, "stopped")
    camera.close()
    signal.alarm(0)
    ring.close()
    return 0


def _body(context: ChildContext) -> int:
    """A camera that worked before and is away or busy now is waited for, by starting again (EXIT_LOST)."""
    try:
        return _work(context)
    except CameraFault as fault:
        if not (fault.kind.may_pass and context.row.incarnation > 1):
            raise  # a configuration that never worked: EXIT_FAULT
        context.row.report(ProcessState.FAULT, str(fault))
        sys.stderr.write(f"{fault}\n")
        return EXIT_LOST


def _describe(producer: str | None) -> int:
    """Producers and cameras found, as JSON; one child process a producer, because a driver may crash."""
    from cameras.producers import installed_producers  # noqa: PLC0415

    found = []
    for path in [producer] if producer else map(str, installed_producers()):
        child = subprocess.run(
            [sys.executable, "-m", "cameras.worker", "--probe", path],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        last = child.stdout.strip().splitlines()[-1:] if child.returncode == 0 else []
        entry = json.loads(last[0]) if last else {"cameras": [], "fault": _last_line(child.stderr)}
        found.append({"producer": path, **entry})
    sys.stdout.write(json.dumps({"producers": found}) + "\n")
    if producer and found[0]["fault"]:
        sys.stderr.write(found[0]["fault"] + "\n")
        return EXIT_FAULT
    return 0


def _probe(producer: str) -> int:
    from cameras.genicam import list_cameras  # noqa: PLC0415
    from cameras.producers import find_producer  # noqa: PLC0415

    try:
        answer = {"cameras": list_cameras(find_producer(producer)), "fault": ""}
    except CameraFault as fault:
        answer = {"cameras": [], "fault": str(fault)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "the producer crashed the process that loaded it"


def main(argv: list[str] | None = None) -> int:
    """Entry point; see the module's docstring."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--list" not in arguments and "--probe" not in arguments:
        return run_child("camera", _body, arguments)
    parser = argparse.ArgumentParser(prog="cameras.worker", description="Producers and cameras found.")
    parser.add_argument("--list", action="store_true", help="print producers and cameras as JSON")
    parser.add_argument("--producer", help="only this .cti file, or linesim, or viky")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    return _probe(options.probe) if options.probe else _describe(options.producer)


if __name__ == "__main__":
    sys.exit(main())
