# SPDX-License-Identifier: AGPL-3.0-or-later
"""Promises of the faults a test can switch on, by node and by feed."""

from __future__ import annotations

import time

from cameras.simulator.feed import Feed
from tests.simulator.rig import (
    HEIGHT,
    WIDTH,
    Incomplete,
    Rig,
    grey,
    refused,
    same,
    take,
    take_plain,
    tear_down,
    wait_for,
)


def dropped_frames_leave_a_gap_in_the_ids(rig: Rig) -> None:
    """A drop by node, by feed and by frame: the id is used up, no buffer comes."""
    with rig.fed() as (camera, feed):
        nodes = camera.remote_device.node_map
        ids = []
        for i in range(1, 11):
            if i == 3:
                nodes.SimDropNext.value = 2
            if i == 6:
                feed.drop_next(1)
            dropped = i in (3, 4, 6, 9)
            feed.push(grey(i), i, drop=i == 9)
            if not dropped:
                frame = take(camera)
                ids.append(frame["id"])
                same(frame["pixel"], i)
            else:
                wait_for(lambda i=i: feed.edges_accepted == i, "edge taken")
                time.sleep(0.005)
        same(ids, [1, 2, 5, 7, 8, 10])
        same(nodes.CounterValue.value, 10)


def incomplete_frames_are_marked(rig: Rig) -> None:
    """Half a picture and no chunks; harvesters drops such a buffer with a callback."""
    with rig.fed() as (camera, feed):
        told = Incomplete()
        camera.add_callback(camera.Events.INCOMPLETE_BUFFER, told)
        camera.remote_device.node_map.SimIncompleteNext.value = 1
        feed.push(grey(1), 1)
        wait_for(lambda: feed.waiting == 0, "edge taken")
        time.sleep(0.005)
        feed.incomplete_next(1)
        feed.push(grey(2), 2)
        time.sleep(0.005)
        feed.push(grey(3), 3, incomplete=True)
        time.sleep(0.005)
        feed.push(grey(4), 4)
        frame = take(camera)
        same((frame["id"], frame["pixel"]), (4, 4))
        same(told.count, 3)


def a_consumer_without_buffers_is_an_underrun(rig: Rig) -> None:
    """Frames that find no free buffer are counted by the stream; the ids show the gap."""
    with rig.fed() as (camera, feed):
        for i in range(24):
            feed.push(grey(i), i, wait_s=2)
            time.sleep(0.002)
        stream = camera.data_streams[0]
        wait_for(lambda: stream.num_started == 24, "24 frames begun")
        wait_for(lambda: stream.num_delivered + stream.num_underrun == 24, "24 frames accounted for")
        delivered = stream.num_delivered
        assert 0 < delivered < 24, delivered
        same([take(camera)["id"] for _ in range(delivered)], list(range(1, delivered + 1)))


def slow_delivery_keeps_instant_and_rate(rig: Rig) -> None:
    """A delay moves the arrival, not the time stamp, and does not lower the rate."""
    with rig.fed() as (camera, feed):
        feed.set_slow(200)
        edges = []
        for i in range(6):
            edges.append(time.monotonic_ns())
            feed.push(grey(i), i, edge_ns=edges[-1])
            time.sleep(0.01)
        assert time.monotonic_ns() - edges[0] < 5_000_000_000
        for edge in edges:
            frame = take(camera)
            same(frame["timestamp"], edge)
            assert time.monotonic_ns() - edge >= 200_000_000, "came too early"
        same(camera.remote_device.node_map.TriggerMissedCount.value, 0)


def a_frozen_camera_repeats_its_picture(rig: Rig) -> None:
    """The picture stands still while id, time stamp and encoder go on; by feed and by node."""
    with rig.fed() as (camera, feed):
        nodes = camera.remote_device.node_map
        feed.push(grey(1), 1)
        take(camera)
        for switch in (feed.set_frozen, lambda on: setattr(nodes.SimFrozen, "value", on)):
            switch(True)
            for value in (50, 60):
                feed.push(grey(value), value)
                frame = take(camera)
                assert frame["pixel"] not in (50, 60), frame
                same(frame["encoder"], value)
            switch(False)
            feed.push(grey(99), 99)
            same(take(camera)["pixel"], 99)


def device_lost_by_feed_stays_away_until_back(rig: Rig) -> None:
    """The link dies, an event tells, the camera leaves the list; back again it opens with power-on settings."""
    with Feed(rig.folder, "LS0001", WIDTH, HEIGHT) as feed, rig.camera() as camera:
        nodes = camera.remote_device.node_map
        nodes.ExposureTime.value = 4444.0
        camera.start()
        take_plain(camera)
        module = next(v for k, v in camera._module_event_monitor_dict.items() if type(k).__name__ == "Device")
        feed.device_lost()
        module.update_event_data(5000)
        same(module.event_id, "9F01")
        refused(lambda: nodes.DeviceTemperature.value, "a register of a lost camera")
        assert not feed.acquiring
        tear_down(camera)
        same(rig.serials(), ["LS0002", "LS0003"])
        refused(lambda: rig.harvester.create({"serial_number": "LS0001"}), "opening a lost camera")
        feed.device_back()
        same(rig.serials(), ["LS0001", "LS0002", "LS0003"])
        again = rig.harvester.create({"serial_number": "LS0001"})
        same(again.remote_device.node_map.ExposureTime.value, 1000.0)
        again.start()
        same(take_plain(again), 1)
        tear_down(again)


def device_lost_by_node_comes_back_after_its_time(rig: Rig) -> None:
    """SimDeviceLost: the session is dead for good, the camera returns by itself."""
    with rig.camera("LS0002") as camera:
        nodes = camera.remote_device.node_map
        nodes.SimDeviceLostTime.value = 150
        camera.start()
        take_plain(camera)
        nodes.SimDeviceLost.execute()
        refused(lambda: nodes.DeviceTemperature.value, "a register of a lost camera")
        time.sleep(0.2)
        refused(lambda: nodes.DeviceTemperature.value, "the old session after the camera came back")
    same(rig.serials(), ["LS0001", "LS0002", "LS0003"])
    with rig.camera("LS0002") as camera:
        camera.start()
        same(take_plain(camera), 1)


SCENARIOS = (
    dropped_frames_leave_a_gap_in_the_ids,
    incomplete_frames_are_marked,
    a_consumer_without_buffers_is_an_underrun,
    slow_delivery_keeps_instant_and_rate,
    a_frozen_camera_repeats_its_picture,
    device_lost_by_feed_stays_away_until_back,
    device_lost_by_node_comes_back_after_its_time,
)
