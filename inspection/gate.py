# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate process: journal, Modbus server and one asyncio loop around `Gate`. Nothing else runs in here.

    python -m inspection.gate --config station.toml --links inspector=FD

No torch, no database, no web: what decides over a part must not wait for anything that people use. The
heartbeat in register 1 comes from the same loop that decides, so a stuck loop shows as a frozen heartbeat.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import sys
import time

from inspection.board import GateCounter, ProcessState
from inspection.child import ChildContext, run_child
from inspection.config import StationConfig
from inspection.gate_effects import GateSettings
from inspection.gate_loop import Gate
from inspection.gate_records import close_what_was_open
from inspection.gate_watch import DeviceWatch
from inspection.gates.modbus import ModbusAccess, ModbusServer
from inspection.gates.registers import RegisterImage
from inspection.journal import Journal, JournalFault
from inspection.journal_records import LineEvent, Started, Stopped
from inspection.lookout import Lookout
from inspection.realtime import GATE_PRIORITY, ask_for_realtime
from inspection.recipe import Recipe
from inspection.timing import timing_report
from inspection.tracker import Tracker, TrackerSettings
from inspection.types import Epoch, Reason, StationFault

_TURN_S = 0.025
_SWEEP_TURNS = 40


class GateProcess:
    """Owns loop, timers, sockets and journal of one gate process."""

    def __init__(self, context: ChildContext, recipe: Recipe, bundle_sha256: str, lookout: Lookout) -> None:
        config = context.config
        self._context = context
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._turn_handle: asyncio.TimerHandle | None = None
        self._turns = 0
        self._next_turn_s = 0.0
        self._reopening: asyncio.Task[None] | None = None
        self._said = ""
        self.journal = self._open_journal()
        recovered = self.journal.recovered
        self.epoch = new_epoch(recovered.last_epoch)
        self._begin(recipe, bundle_sha256)
        tracker = Tracker(
            epoch=self.epoch,
            settings=tracker_settings(config),
            recipe_sha256=recipe.sha256,
            bundle_sha256=bundle_sha256,
        )
        self._image = RegisterImage(epoch=self.epoch, simulated=config.station.simulated)
        board = context.board
        roles = ["inspector", *(f"camera:{c.serial}" for c in config.camera)]
        self.gate = Gate(
            settings=GateSettings(
                epoch=self.epoch,
                recipe_id=recipe.id,
                recipe_crc=recipe.crc,
                recipe_sha256=recipe.sha256,
                max_in_flight=tracker_settings(config).max_in_flight,
                consecutive_rejects_stop=config.station.consecutive_rejects_stop,
                min_pitch_pulses=config.line.min_pitch_pulses if config.line.pairing == "encoder" else 0,
            ),
            tracker=tracker,
            image=self._image,
            journal=self.journal,
            link=context.links["inspector"],
            row=context.row,
            devices=DeviceWatch({role: board.row(role) for role in roles}),
            schedule=self._schedule,
        )
        self._server = ModbusServer(
            self._image,
            ModbusAccess(
                writer=config.modbus.writer,
                readers=frozenset(config.modbus.readers),
                idle_timeout_s=config.modbus.idle_timeout_s,
            ),
            written=lambda since_ns: self.gate.plc_wrote(self._server.writer_number, since_ns=since_ns),
            looks=lookout,
            refused=self._refused,
            writer_frozen=self._writer_frozen,
        )

    async def run(self, realtime: list[str]) -> int:
        """Serve until SIGTERM; the exit code."""
        config, row = self._config, self._context.row
        loop = self._loop
        link = self._context.links["inspector"]
        try:
            port = await self._server.start(config.modbus.host, config.modbus.port)
            loop.add_reader(link.fileno(), self._inspector_said)
            loop.add_signal_handler(signal.SIGTERM, self._stopped.set)
            row.set(GateCounter.EPOCH, self.epoch)
            row.set(GateCounter.MODBUS_PORT, port)
            row.report(ProcessState.READY, "")
            for refusal in realtime:
                self.gate.event("realtime", refusal)
            gc.collect()
            gc.freeze()
            self._next_turn_s = loop.time()
            self._turn()
            await self._stopped.wait()
        finally:
            loop.remove_reader(link.fileno())
            await self._shut_down()
        return 0

    async def _shut_down(self) -> None:
        self.gate.stop("the station was stopped")
        for handle in (self._timer, self._turn_handle):
            if handle is not None:
                handle.cancel()
        if self._reopening is not None:
            await self._reopening
        try:
            self.journal.append(Stopped(epoch=self.epoch, utc_ns=time.time_ns()), closing=True)
        except JournalFault as e:
            sys.stderr.write(f"{e}\n")
        self.journal.close()
        await self._server.stop()

    # --- start

    def _open_journal(self) -> Journal:
        return Journal(
            self._config.journal_dir,
            segment_bytes=self._config.records.journal_segment_mb * 1024 * 1024,
            on_durable=self._on_durable,
        )

    def _begin(self, recipe: Recipe, bundle_sha256: str) -> None:
        """Close what the last run left open, then say that a new epoch begins."""
        recovered, journal = self.journal.recovered, self.journal
        try:
            closed = close_what_was_open(journal, recovered, Reason.RESTART, time.monotonic_ns())
            index = journal.append(
                Started(
                    epoch=self.epoch,
                    recipe_sha256=recipe.sha256,
                    bundle_sha256=bundle_sha256,
                    utc_ns=time.time_ns(),
                    monotonic_ns=time.monotonic_ns(),
                    station=self._config.station.name,
                    summary=_summary(self._config, recipe),
                ),
                closing=True,
            )
            for kind, count in (("torn bytes cut off", recovered.torn_bytes), ("parts closed", closed)):
                if count:
                    text = f"at start: {count} {kind}, left by the run before"
                    event = LineEvent(epoch=self.epoch, kind="recovery", text=text, utc_ns=time.time_ns())
                    index = journal.append(event, closing=True)
        except JournalFault as e:
            journal.close()
            raise StationFault(str(e)) from e
        if not journal.wait_durable(index, 10.0):
            why = journal.fault or "its disk does not answer"
            raise StationFault(f"The journal in {journal.folder} cannot be used ({why}): look after that disk.")

    # --- timers and callbacks

    def _turn(self) -> None:
        """Every 25 ms: watch; every second time: beat. Missed turns are skipped, never made up for."""
        self._turns += 1
        if self._turns % 2:
            self.gate.beat()
        if self.gate.watch():
            self._server.drop_writer()  # what still comes from a dead PLC's socket would be stale
        if self._turns % _SWEEP_TURNS == 0:
            self._server.sweep(self._loop.time())
        if self.gate.wants_journal and self._reopening is None:
            self._reopening = self._loop.create_task(self._reopen_journal())
        if (text := self.gate.text or self.gate.warning) != self._said:
            self._said = text
            self._context.row.report(ProcessState.READY, self._said)
        now_s = self._loop.time()
        while self._next_turn_s <= now_s:
            self._next_turn_s += _TURN_S
        self._turn_handle = self._loop.call_at(self._next_turn_s, self._turn)

    def _schedule(self, at_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at_ns / 1e9, self.gate.tick)

    def _inspector_said(self) -> None:
        if not self.gate.inspector_said():
            self._loop.remove_reader(self._context.links["inspector"].fileno())

    def _on_durable(self, index: int) -> None:
        """On the journal's thread."""
        self._loop.call_soon_threadsafe(self._durable, index)

    def _durable(self, index: int) -> None:
        self.gate.on_disk(index)  # an index of a journal given up meanwhile names no part in flight

    def _writer_frozen(self) -> bool:
        return self.gate.desk.writer_frozen(time.monotonic_ns(), self._server.writer_number)

    def _refused(self, text: str) -> None:
        self._context.row.set(GateCounter.REFUSED_CONNECTIONS, self._server.refused_count)
        if self._server.refused_count <= 100:  # a port scanner must not fill the journal
            self.gate.event("refused", text)

    async def _reopen_journal(self) -> None:
        """After a fault and ResetError: recover the journal beside the loop, then go on with it."""
        try:
            self.journal = await self._loop.run_in_executor(None, self._renew, self.journal)
        except (StationFault, OSError) as e:
            self.gate.journal_stays_broken(str(e))
        else:
            self.gate.use_journal(self.journal)
            self.gate.event("journal", "opened anew after a fault")
        finally:
            self._reopening = None

    def _renew(self, broken: Journal) -> Journal:
        broken.close()
        journal = self._open_journal()
        try:
            close_what_was_open(journal, journal.recovered, Reason.JOURNAL_FAULT, time.monotonic_ns())
        except JournalFault as e:  # it still cannot be written: let go of its folder, for the next attempt
            journal.close()
            raise StationFault(str(e)) from e
        return journal


def new_epoch(last: int | None) -> Epoch:
    """Random, 1..65535, and not the one before."""
    while True:
        epoch = secrets.randbelow(65535) + 1
        if epoch != last:
            return Epoch(epoch)


def tracker_settings(config: StationConfig) -> TrackerSettings:
    """The tracker's view of station.toml."""
    line = config.line
    return TrackerSettings(
        views=len(config.camera),
        deadline_ns=line.deadline_ns,
        poll_ns=int(line.plc_poll_ms * 1e6),
        min_pitch_pulses=line.min_pitch_pulses,
        window=line.pair_window,
        fired=config.fired,
        fire_limit_ns=line.half_pitch_ns,
    )


def _summary(config: StationConfig, recipe: Recipe) -> dict[str, str]:
    return {
        "recipe": f"{recipe.name} version {recipe.version}",
        "cameras": ", ".join(c.serial for c in config.camera),
        "deadline_ms": f"{config.line.deadline_ms:g}",
        "engine": config.engine.kind,
        "simulated": str(config.station.simulated).lower(),
    }


def body(context: ChildContext) -> int:
    """Run the gate with what the supervisor handed over."""
    config = context.config
    report = timing_report(config.line)
    if report.faults:
        raise StationFault(" ".join(report.faults))
    recipe = context.recipe()
    bundle_sha256 = context.bundle_sha256()
    if "inspector" not in context.links:
        raise StationFault("The gate has no link to the inspector: start it through `gatesight run`.")
    realtime = ask_for_realtime(GATE_PRIORITY)
    lookout = Lookout(int(config.line.plc_poll_ms * 1e6))

    async def serve() -> int:
        return await GateProcess(context, recipe, bundle_sha256, lookout).run(realtime)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(lookout)) as runner:
        return runner.run(serve())


def main(argv: list[str] | None = None) -> int:
    """Process entry; see `inspection.child.run_child` for arguments and exit codes."""
    return run_child("gate", body, argv)


if __name__ == "__main__":
    sys.exit(main())
