# SPDX-License-Identifier: AGPL-3.0-or-later
"""Register image, PLC rings, control edges, wrapping numbers, heartbeat: the corners by name."""

from __future__ import annotations

import struct

import pytest

from inspection.counting import encoder_delta, next_seq, previous_seq, seq_distance
from inspection.gates.plc_rings import ControlEdges, DispositionReader, DispositionSeen, part_id
from inspection.gates.registers import Control, Input, RegisterImage, Status
from inspection.heartbeat import HeartbeatWatch
from inspection.pairing import Failed, Orphan, Pairer
from inspection.types import Disposition, Epoch, FrameRef, Ordinal, Outcome, PartRef, Reason, Seq
from inspection.window import PairWindow


def test_numbers_run_to_65535_and_then_1_again() -> None:
    assert [next_seq(n) for n in (0, 1, 65534, 65535)] == [1, 2, 65535, 1]
    assert [previous_seq(n) for n in (1, 2, 65535)] == [65535, 1, 65534]
    assert seq_distance(3, 65533) == 5


def test_encoder_distance_is_signed_and_knows_roll_over() -> None:
    assert encoder_delta(5, 2**32 - 5) == 10
    assert encoder_delta(2**32 - 5, 5) == -10


def test_fresh_image_says_version_epoch_and_simulation() -> None:
    image = RegisterImage(epoch=777, simulated=True)
    words = struct.unpack(">80H", image.input_bytes())
    assert (words[0], words[3], words[4], words[2]) == (1, 777, 1, Status.SIMULATED)


def test_ring_holds_the_last_sixteen_and_the_last_fifteen_across_the_wrap() -> None:
    image = RegisterImage(epoch=9)
    for number in range(100, 140):
        image.publish(number, Outcome.PASS)
    assert (image.read(Input.OLDEST_SEQ), image.read(Input.NEWEST_SEQ)) == (124, 139)
    for number in [*range(65500, 65536), 1, 2]:
        image.publish(number, Outcome.REJECT)
    assert (image.read(Input.OLDEST_SEQ), image.read(Input.NEWEST_SEQ)) == (65523, 2)


def test_snapshot_is_immutable_and_one_for_all_readers_until_something_changes() -> None:
    image = RegisterImage(epoch=9)
    before = image.input_bytes()
    assert image.input_bytes() is before
    image.beat()
    assert image.input_bytes() != before


def test_heartbeat_register_wraps() -> None:
    image = RegisterImage(epoch=9)
    image.store(Input.HEARTBEAT, 65535)
    image.beat()
    assert image.read(Input.HEARTBEAT) == 0


def test_writes_outside_the_holding_map_are_refused_and_change_nothing() -> None:
    image = RegisterImage(epoch=9)
    with pytest.raises(IndexError):
        image.write_holding(64, [1, 2])
    assert image.holding() == (0,) * 65


def test_an_order_counts_when_its_bit_rises_and_not_while_it_stays() -> None:
    edges = ControlEdges()
    words = [0] * 65
    words[1] = 0b101
    assert edges.rising(words) == Control.ARM | Control.PREPARE_RECIPE
    words[1] = 0b111
    assert edges.rising(words) == Control.RESET_ERROR
    words[1] = 0
    assert edges.rising(words) == Control(0)


def test_dispositions_are_read_once_each_and_unknown_words_are_none() -> None:
    reader, words = DispositionReader(), [0] * 65
    reader.arm(words)
    for number, word in ((1, 1), (2, 3), (3, 77)):
        words[40 + 2 * number : 42 + 2 * number] = [number, word]
    words[7] = 3
    assert reader.read(words) == (
        DispositionSeen(seq=Seq(1), disposition=Disposition.PASSED),
        DispositionSeen(seq=Seq(2), disposition=Disposition.MISMATCH),
        DispositionSeen(seq=Seq(3), disposition=None),
    )
    assert reader.read(words) == ()


def test_the_plc_may_name_a_part() -> None:
    words = [0] * 65
    assert part_id(words) is None
    words[56:59] = [5, 0x4142, 0x4300]
    assert part_id(words) == (5, "ABC")


def test_a_heartbeat_lives_by_changing_and_dies_200_ms_after_its_last_change() -> None:
    watch = HeartbeatWatch()
    watch.see(0, 7)
    assert not watch.alive(0)
    watch.see(50_000_000, 8)
    watch.see(200_000_000, 8)
    assert watch.alive(249_999_999)
    assert not watch.alive(250_000_000)


def _part(ordinal: int, encoder: int, edge_spread_ns: int = 0) -> PartRef:
    return PartRef(
        ordinal=Ordinal(ordinal),
        epoch=Epoch(1),
        seq=Seq(ordinal),
        encoder_pulses=encoder,
        trigger_ns=1000,
        deadline_ns=2000,
        edge_spread_ns=edge_spread_ns,
    )


def _frame(frame_id: int, encoder: int | None, exposure_ns: int = 1000) -> FrameRef:
    return FrameRef(
        camera=0,
        slot=0,
        generation=frame_id,
        frame_id=frame_id,
        encoder_pulses=encoder,
        exposure_ns=exposure_ns,
        ready_ns=exposure_ns,
        width_px=1,
        height_px=1,
        pixel_format=0,
    )


def test_more_parts_than_the_pairer_keeps_shed_the_oldest_open_one_and_are_counted() -> None:
    pairer = Pairer(
        views=2,
        window=PairWindow(pulses=10, time_ns=5),
        frame_wait_ns=10,
        part_wait_ns=10,
        max_parts=2,
        max_early=2,
    )
    first, frame = _part(1, 100), _frame(1, 100)
    pairer.part(first)
    pairer.frame(frame)
    pairer.part(_part(2, 200))
    out = pairer.part(_part(3, 300))
    assert out == (Orphan(frame=frame, part=first), Failed(part=first, reason=Reason.SHED))
    assert pairer.overflows == 1


@pytest.mark.parametrize(
    ("exposure_ns", "shows"), [(994, False), (995, True), (1030, True), (1035, True), (1036, False)]
)
def test_without_an_encoder_a_picture_pairs_by_time_within_poll_and_window(
    exposure_ns: int, shows: bool
) -> None:
    window = PairWindow(kind="timestamp", time_ns=5)
    part = _part(1, 100, edge_spread_ns=30)
    assert window.shows(part, None, exposure_ns, stamped=True) is shows
    assert not window.shows(part, None, exposure_ns, stamped=False)  # when it came is not when it was taken


@pytest.mark.parametrize(
    ("exposure_ns", "agrees"), [(994, False), (995, True), (1030, True), (1035, True), (1036, False)]
)
def test_clock_contradicts_an_encoder_count_outside_poll_and_band(exposure_ns: int, agrees: bool) -> None:
    window = PairWindow(kind="encoder", pulses=10, time_ns=5)
    part = _part(1, 100, edge_spread_ns=30)
    assert window.shows(part, 105, exposure_ns, stamped=True)
    assert window.agrees_in_time(part, exposure_ns, stamped=True) is agrees


def test_picture_without_a_stamp_is_only_known_not_to_have_come_before_its_trigger() -> None:
    window = PairWindow(kind="encoder", pulses=10, time_ns=5)
    part = _part(1, 100, edge_spread_ns=30)
    assert not window.agrees_in_time(part, 994, stamped=False)
    assert window.agrees_in_time(part, 1_000_000, stamped=False)
