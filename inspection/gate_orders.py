# SPDX-License-Identifier: AGPL-3.0-or-later
"""The PLC's side of the gate: its heartbeat, its rings as they stand, and its orders (control bits)."""

from __future__ import annotations

from typing import Protocol

from inspection.counting import SEQ_COUNT, seq_distance
from inspection.gate_watch import ErrorCode
from inspection.gates.plc_rings import ControlEdges, DispositionReader, TriggerReader, part_id
from inspection.gates.registers import Control, Holding, Input, RegisterImage
from inspection.heartbeat import HeartbeatWatch
from inspection.states import StateMachine, arming_refusal


class OrderTaker(Protocol):
    """What an order may do: `inspection.gate_loop.Gate`."""

    machine: StateMachine

    def arm(self, now_ns: int, holding: tuple[int, ...]) -> None: ...  # noqa: D102 - the names say it
    def disarm(self, now_ns: int, text: str) -> None: ...  # noqa: D102
    def halt(self, now_ns: int) -> None: ...  # noqa: D102
    def refuse(self, code: ErrorCode, text: str) -> None: ...  # noqa: D102
    def reset_error(self) -> None: ...  # noqa: D102
    def resynced(self) -> None: ...  # noqa: D102
    def acknowledge_line_stop(self) -> None: ...  # noqa: D102
    def set_test(self, *, on: bool) -> None: ...  # noqa: D102
    def prepare_recipe(self, now_ns: int, request: int) -> None: ...  # noqa: D102


class PlcDesk:
    """Remembers what was last read of the PLC, so that each number, edge and beat counts once."""

    def __init__(self, epoch: int) -> None:
        self.triggers = TriggerReader()
        self.dispositions = DispositionReader()
        self._epoch = epoch
        self._heartbeat = HeartbeatWatch()
        self._beat_value: int | None = None
        self._beaten_by = 0  # number of the connection on which the heartbeat last moved
        self._was_alive = False
        self._edges = ControlEdges()
        self._arm_is_up = False
        self._part_id: tuple[int, str] | None = None

    # --- heartbeat

    def see_heartbeat(self, now_ns: int, holding: tuple[int, ...], writer_number: int) -> None:
        """The holding registers were written by the `writer_number`-th writing connection."""
        value = holding[Holding.PLC_HEARTBEAT]
        if self._beat_value is not None and value != self._beat_value:
            self._beaten_by = writer_number
        self._beat_value = value
        self._heartbeat.see(now_ns, value)

    def plc_alive(self, now_ns: int) -> bool:
        """Whether the PLC's heartbeat moved within the last 200 ms."""
        return self._heartbeat.alive(now_ns)

    def plc_went_silent(self, now_ns: int) -> bool:
        """True once, when a PLC that was alive no longer is."""
        alive = self._heartbeat.alive(now_ns)
        silent = self._was_alive and not alive
        self._was_alive = alive
        return silent

    def writer_frozen(self, now_ns: int, writer_number: int) -> bool:
        """Whether that connection carried a heartbeat which has stopped. One that never beat is not frozen."""
        return self._beaten_by == writer_number and not self._heartbeat.alive(now_ns)

    # --- rings and orders

    def arm(self, holding: tuple[int, ...]) -> int:
        """Begin reading triggers and dispositions behind what stands there now; returns the baseline."""
        self.dispositions.arm(holding)
        return self.triggers.arm(holding)

    def disarm(self) -> None:
        """Read no triggers until the next `arm`."""
        self.triggers.disarm()

    def unread_verdicts(self, image: RegisterImage) -> int:
        """Published outcomes that the PLC has not acknowledged (ack_seq); 0 before it acknowledged any."""
        acknowledged = image.holding()[Holding.ACK_SEQ]
        newest = image.read(Input.NEWEST_SEQ)
        if acknowledged == 0 or newest == 0:
            return 0
        unread = seq_distance(newest, acknowledged)
        return 0 if unread > SEQ_COUNT // 2 else unread

    def new_part_id(self, holding: tuple[int, ...]) -> tuple[int, str] | None:
        """The PLC's name of a part, when it has changed since the last call."""
        named = part_id(holding)
        if named is None or named == self._part_id:
            return None
        self._part_id = named
        return named

    def take_orders(self, gate: OrderTaker, now_ns: int, holding: tuple[int, ...]) -> None:
        """Follow the control bits that rose, in the order in which they can make sense together."""
        rose = self._edges.rising(holding)
        control = Control(holding[Holding.CONTROL] & 0x7F)
        if Control.HALT in rose:
            gate.halt(now_ns)
        if Control.RESET_ERROR in rose:
            gate.reset_error()
        if Control.RESYNC in rose:
            gate.resynced()
        if Control.ACK_LINE_STOP in rose:
            gate.acknowledge_line_stop()
        if Control.PREPARE_RECIPE in rose:
            gate.prepare_recipe(now_ns, holding[Holding.RECIPE_REQUEST])
        gate.set_test(on=Control.TEST in control)
        if self._arm_is_up and Control.ARM not in control and gate.machine.executing:
            gate.disarm(now_ns, "the PLC took Arm back")
        self._arm_is_up = Control.ARM in control
        if Control.ARM in rose:
            self._take_arm(gate, now_ns, holding)

    def _take_arm(self, gate: OrderTaker, now_ns: int, holding: tuple[int, ...]) -> None:
        refusal = arming_refusal(
            state=gate.machine.state,
            epoch=self._epoch,
            epoch_echo=holding[Holding.EPOCH_ECHO],
            plc_alive=self._heartbeat.alive(now_ns),
        )
        if refusal is not None:
            gate.refuse(ErrorCode.ARM_REFUSED, refusal)
        else:
            gate.arm(now_ns, holding)
