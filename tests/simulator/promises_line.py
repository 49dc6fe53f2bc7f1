# SPDX-License-Identifier: AGPL-3.0-or-later
"""Promises of the line trigger and its feed: which edge becomes a frame, is missed, or is lost."""

from __future__ import annotations

import time

from cameras.simulator.feed import Feed
from tests.simulator.rig import HEIGHT, WIDTH, Rig, grey, nothing_comes, same, take, wait_for


def line_trigger_brings_picture_encoder_and_instant_of_its_edge(rig: Rig) -> None:
    """Each push is one frame with its own picture and encoder, stamped with the instant of the push."""
    with rig.fed() as (camera, feed):
        nodes = camera.remote_device.node_map
        for i in range(40):
            edge = time.monotonic_ns()
            assert feed.push(grey(i), 2**40 + 10 * i, edge_ns=edge)
            frame = take(camera)
            same((frame["id"], frame["pixel"], frame["encoder"]), (i + 1, i, 2**40 + 10 * i))
            same(frame["timestamp"], edge)
        same((nodes.CounterValue.value, nodes.TriggerMissedCount.value), (40, 0))
        same((feed.edges_accepted, feed.edges_missed, feed.edges_lost, feed.edges_refused), (40, 0, 0, 0))
        feed.set_encoder(-7)
        same(nodes.EncoderValue.value, -7)
        nodes.EncoderReset.execute()
        same(nodes.EncoderValue.value, 0)
        feed.push(grey(1), 100)
        same(take(camera)["encoder"], 107)
        feed.set_encoder(0)
        nodes.EncoderReset.execute()


def edge_on_a_busy_camera_is_missed_and_the_count_closes(rig: Rig) -> None:
    """Two edges closer than exposure and read-out: the second is missed. triggers = delivered + missed."""
    with rig.fed(ExposureTime=20_000.0) as (camera, feed):
        nodes = camera.remote_device.node_map
        # The instants count, not when the pushes happen: six edges, 15 ms apart, all in the past by now.
        first_ns = time.monotonic_ns()
        time.sleep(0.08)
        for i in range(6):
            feed.push(grey(i), i, edge_ns=first_ns + i * 15_000_000, wait_s=2)
        same([take(camera)["pixel"] for _ in range(3)], [0, 2, 4])
        nothing_comes(camera)
        same((nodes.CounterValue.value, nodes.TriggerMissedCount.value), (6, 3))
        same((feed.edges_accepted, feed.edges_missed), (3, 3))


def back_pressure_waits_instead_of_missing(rig: Rig) -> None:
    """With SimMissWhenBusy off every edge becomes a frame."""
    with rig.fed(ExposureTime=5_000.0, SimMissWhenBusy=False) as (camera, feed):
        for i in range(6):
            feed.push(grey(i), i, wait_s=2)
        same([take(camera)["pixel"] for _ in range(6)], [0, 1, 2, 3, 4, 5])
        nodes = camera.remote_device.node_map
        same(nodes.TriggerMissedCount.value, 0)
        nodes.SimMissWhenBusy.value = True


def edges_before_the_start_are_lost(rig: Rig) -> None:
    """A start shows nothing that was triggered before; the full ring refuses and never blocks."""
    with rig.fed() as (camera, feed):
        camera.stop()
        stopped_ns = time.monotonic_ns()
        assert not feed.acquiring
        pushed = [feed.push(grey(9), 9) for _ in range(feed.slots + 3)]
        same(pushed, [True] * feed.slots + [False] * 3)
        same(feed.edges_refused, 3)
        camera.start()
        assert feed.wait_acquiring(5)
        nothing_comes(camera)
        nodes = camera.remote_device.node_map
        same((nodes.CounterValue.value, nodes.TriggerMissedCount.value), (0, 0))
        same(feed.edges_lost, feed.slots)
        feed.push(grey(8), 8, edge_ns=stopped_ns)
        nothing_comes(camera)
        same(
            (nodes.CounterValue.value, feed.edges_lost), (0, feed.slots + 1), "an edge stamped before the start"
        )
        feed.push(grey(1), 1)
        frame = take(camera)
        same((frame["id"], frame["pixel"]), (1, 1))


def edges_that_find_the_ring_full_are_missed(rig: Rig) -> None:
    """While acquiring, an edge that the ring cannot hold is a missed trigger of the camera."""
    with rig.fed() as (camera, feed):
        nodes = camera.remote_device.node_map
        feed.set_slow(400)
        burst = 2 * feed.slots
        taken = sum(feed.push(grey(i), i) for i in range(burst))
        assert taken < burst, "the burst was meant to overrun the ring"
        feed.set_slow(0)
        wait_for(lambda: nodes.CounterValue.value == burst, "every edge counted")
        wait_for(lambda: feed.edges_accepted + feed.edges_missed == burst, "every edge told")
        for wanted in range(feed.edges_accepted):
            same(take(camera)["id"], wanted + 1)
        nothing_comes(camera)
        same(nodes.TriggerMissedCount.value, burst - feed.edges_accepted)


def a_feed_made_anew_is_followed(rig: Rig) -> None:
    """A new file under the same name is found while acquiring, and its first edges are taken."""
    with rig.fed() as (camera, feed):
        feed.push(grey(1), 1)
        same(take(camera)["pixel"], 1)
        with Feed(rig.folder, "LS0001", WIDTH, HEIGHT) as other:
            other.push(grey(2), 2)
            same(take(camera)["pixel"], 2)
            feed.close()
            assert other.path.exists(), "the old feed must not remove the new one's file"
            other.push(grey(3), 3)
            same(take(camera)["pixel"], 3)


def bad_feed_files_are_ignored(rig: Rig) -> None:
    """Rubbish, a short file and a lying header neither crash nor trigger; a good one works afterwards."""
    good = Feed(rig.folder, "LS0001", WIDTH, HEIGHT)
    header = good.path.read_bytes()
    good.close()
    lying = bytearray(header)
    lying[28:32] = (2**30).to_bytes(4, "little")
    huge = bytearray(header)
    huge[32:40] = (2**63).to_bytes(8, "little")
    wrong = bytearray(header)
    wrong[8:12] = (99).to_bytes(4, "little")
    for content in (
        b"",
        b"LSIMFEED",
        b"\xff" * 8192,
        header[:4096],
        header[:-1],
        bytes(lying),
        bytes(huge),
        bytes(wrong),
    ):
        good.path.with_suffix(".tmp").write_bytes(content)
        good.path.with_suffix(".tmp").rename(good.path)
        with rig.camera() as camera:
            nodes = camera.remote_device.node_map
            nodes.TriggerMode.value, nodes.TriggerSource.value = "On", "Line0"
            camera.start()
            nothing_comes(camera, 0.05)
            camera.stop()
    with rig.fed() as (camera, feed):
        feed.push(grey(5), 5)
        same(take(camera)["pixel"], 5)


SCENARIOS = (
    line_trigger_brings_picture_encoder_and_instant_of_its_edge,
    edge_on_a_busy_camera_is_missed_and_the_count_closes,
    back_pressure_waits_instead_of_missing,
    edges_before_the_start_are_lost,
    edges_that_find_the_ring_full_are_missed,
    a_feed_made_anew_is_followed,
    bad_feed_files_are_ignored,
)
