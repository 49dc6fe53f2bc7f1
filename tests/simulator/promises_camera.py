# SPDX-License-Identifier: AGPL-3.0-or-later
"""Promises of the camera itself: formats, regions, locks, chunks, software trigger, several cameras."""

from __future__ import annotations

import time

import numpy as np

from cameras.simulator.feed import Feed
from tests.simulator.rig import (
    HEIGHT,
    WIDTH,
    Rig,
    drain_events,
    grey,
    nothing_comes,
    refused,
    same,
    take,
    take_plain,
)

EXPECTED = {
    "Mono8": ((HEIGHT, WIDTH), np.uint8, 0x40),
    "Mono10": ((HEIGHT, WIDTH), np.uint16, 0x101),
    "Mono12": ((HEIGHT, WIDTH), np.uint16, 0x404),
    "Mono16": ((HEIGHT, WIDTH), np.uint16, 0x4040),
    "RGB8": ((HEIGHT, WIDTH * 3), np.uint8, 0x40),
}


def every_pixel_format_has_its_size_and_scale(rig: Rig) -> None:
    """A uniform grey of 64 of 255 comes out as the same share of each format's full scale."""
    with Feed(rig.folder, "LS0001", WIDTH, HEIGHT) as feed, rig.camera() as camera:
        nodes = camera.remote_device.node_map
        feed.push(grey(0x40), 0)
        for name in nodes.PixelFormat.symbolics:
            nodes.PixelFormat.value = name
            camera.start()
            with camera.fetch(timeout=5) as buffer:
                part = buffer.payload.components[0]
                shape, dtype, value = EXPECTED.get(name, ((HEIGHT, WIDTH), np.uint8, 0x40))
                if name == "Mono12p":
                    same(buffer.module.size_filled, WIDTH * HEIGHT * 3 // 2, name)
                    group = bytes(buffer.module.raw_buffer[:3])
                    first = group[0] | (group[1] & 0x0F) << 8
                    second = group[1] >> 4 | group[2] << 4
                    same((first, second), (0x404, 0x404), name)
                else:
                    same((part.data.size, part.data.dtype), (shape[0] * shape[1], np.dtype(dtype)), name)
                    same((int(part.data.min()), int(part.data.max())), (value, value), name)
            camera.stop()


def bayer_formats_sample_the_colour_picture(rig: Rig) -> None:
    """Each Bayer format shows the channel that its name puts at the first pixels."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = (10, 20, 30)
    mosaics = {"RG": (10, 20, 20, 30), "GR": (20, 10, 30, 20), "GB": (20, 30, 10, 20), "BG": (30, 20, 20, 10)}
    with Feed(rig.folder, "LS0001", WIDTH, HEIGHT, samples="rgb8") as feed, rig.camera() as camera:
        feed.push(picture, 0)
        for letters, cell in mosaics.items():
            camera.remote_device.node_map.PixelFormat.value = f"Bayer{letters}8"
            camera.start()
            with camera.fetch(timeout=5) as buffer:
                data = buffer.payload.components[0].data.reshape(HEIGHT, WIDTH)
                same(tuple(int(v) for v in data[:2, :2].ravel()), cell, letters)
            camera.stop()


def region_of_interest_is_cut_out(rig: Rig) -> None:
    """Width, Height and offsets select a window of the sensor, and refuse one outside it."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    with Feed(rig.folder, "LS0001", WIDTH, HEIGHT) as feed, rig.camera() as camera:
        nodes = camera.remote_device.node_map
        feed.push((rows * 5 + columns).astype(np.uint8), 0)
        nodes.Width.value, nodes.Height.value = 32, 20
        nodes.OffsetX.value, nodes.OffsetY.value = 8, 6
        refused(lambda: setattr(nodes.OffsetX, "value", WIDTH), "an offset outside the sensor")
        camera.start()
        with camera.fetch(timeout=5) as buffer:
            data = buffer.payload.components[0].data.reshape(20, 32)
            same(int(data[0, 0]), 6 * 5 + 8)
            same(int(data[19, 31]), (25 * 5 + 39) & 255)
        camera.stop()
        nodes.OffsetX.value = nodes.OffsetY.value = 0
        nodes.Width.value, nodes.Height.value = WIDTH, HEIGHT


def payload_features_are_locked_while_acquiring(rig: Rig) -> None:
    """What changes the payload cannot be written between start and stop; exposure can."""
    with rig.camera() as camera:
        nodes = camera.remote_device.node_map
        camera.start()
        refused(lambda: setattr(nodes.Width, "value", 32), "Width while acquiring")
        refused(lambda: setattr(nodes.PixelFormat, "value", "Mono16"), "PixelFormat while acquiring")
        refused(lambda: setattr(nodes.ChunkModeActive, "value", True), "ChunkModeActive while acquiring")
        refused(nodes.UserSetLoad.execute, "UserSetLoad while acquiring")
        nodes.ExposureTime.value = 250.0
        camera.stop()
        nodes.Width.value = 32
        nodes.Width.value = WIDTH
        refused(lambda: setattr(nodes.ExposureTime, "value", 0.0), "an exposure of 0")


def user_sets_keep_settings(rig: Rig) -> None:
    """A saved set comes back; Default cannot be overwritten."""
    with rig.camera() as camera:
        nodes = camera.remote_device.node_map
        nodes.ExposureTime.value = 777.0
        nodes.UserSetSelector.value = "UserSet0"
        nodes.UserSetSave.execute()
        nodes.ExposureTime.value = 5.0
        nodes.UserSetLoad.execute()
        same(nodes.ExposureTime.value, 777.0)
        nodes.UserSetSelector.value = "Default"
        refused(nodes.UserSetSave.execute, "saving over Default")


def chunks_follow_their_selection(rig: Rig) -> None:
    """Chunk values agree with the buffer's; a chunk switched off makes the payload smaller."""
    with rig.camera() as camera:
        nodes = camera.remote_device.node_map
        nodes.ChunkModeActive.value = True
        nodes.ExposureTime.value, nodes.Gain.value = 321.0, 6.0
        full = nodes.PayloadSize.value
        nodes.ChunkSelector.value = "Gain"
        nodes.ChunkEnable.value = False
        same(nodes.PayloadSize.value, full - 8)
        nodes.ChunkEnable.value = True
        camera.start()
        before = time.monotonic_ns()
        last = 0
        for wanted in (1, 2, 3):
            frame = take(camera)
            same((frame["id"], frame["chunk_id"]), (wanted, wanted))
            same(frame["chunk_timestamp"], frame["timestamp"])
            same((frame["exposure"], frame["gain"]), (321.0, 6.0))
            assert last < frame["timestamp"] < time.monotonic_ns(), "timestamps are CLOCK_MONOTONIC and rise"
            assert frame["timestamp"] > before - 2_000_000_000
            last = frame["timestamp"]
        nodes.TimestampLatch.execute()
        assert last < nodes.TimestampLatchValue.value <= time.monotonic_ns()


def software_trigger_gives_one_frame_and_a_busy_camera_misses(rig: Rig) -> None:
    """One frame a trigger; a trigger during exposure is missed, counted and told."""
    with rig.camera() as camera:
        nodes = camera.remote_device.node_map
        nodes.TriggerMode.value, nodes.TriggerSource.value = "On", "Software"
        nodes.AcquisitionFrameRateEnable.value = False
        nodes.ExposureTime.value = 300_000.0
        for event in ("ExposureEnd", "FrameTriggerMissed"):
            nodes.EventSelector.value = event
            nodes.EventNotification.value = "On"
        nodes.CounterReset.execute()
        nodes.TriggerSoftware.execute()
        camera.start()
        nothing_comes(camera, 0.05)
        for _ in range(3):
            nodes.TriggerSoftware.execute()
        same(take_plain(camera), 1)
        same((nodes.CounterValue.value, nodes.TriggerMissedCount.value), (3, 2))
        seen = drain_events(camera)
        same([kind for kind, _ in seen].count("9002"), 2, f"missed events {seen}")
        same([kind for kind, _ in seen].count("9001"), 1, f"exposure events {seen}")
        nodes.EventSelector.value = "ExposureEnd"
        nodes.EventNotification.value = "Off"
        nodes.TriggerSoftware.execute()
        same(take_plain(camera), 2)
        same(drain_events(camera), [], "no event after Off")
        camera.stop()


def cameras_are_independent_and_modes_are_bounded(rig: Rig) -> None:
    """Two cameras at once; SingleFrame gives one frame, MultiFrame its count."""
    with rig.camera("LS0001") as first, rig.camera("LS0002") as second:
        same(first.remote_device.node_map.DeviceSerialNumber.value, "LS0001")
        nodes = second.remote_device.node_map
        nodes.AcquisitionMode.value = "MultiFrame"
        nodes.AcquisitionFrameCount.value = 3
        nodes.AcquisitionFrameRate.value = 200.0
        first.start()
        second.start()
        same([take_plain(second) for _ in range(3)], [1, 2, 3])
        nothing_comes(second, 0.1)
        take_plain(first)
        second.stop()
        nodes.AcquisitionMode.value = "SingleFrame"
        second.start()
        same(take_plain(second), 1)
        nothing_comes(second, 0.1)
        refused(lambda: rig.harvester.create({"serial_number": "LS0001"}), "a camera that is open already")


def the_library_opens_and_closes_again(rig: Rig) -> None:
    """GCInitLib and GCCloseLib follow each other in one process; registrations of the last round are gone."""
    for _ in range(3):
        rig.harvester.reset()
        rig.harvester.add_file(str(rig.producer), check_existence=True)
        with_devices = rig.serials()
        same(with_devices, ["LS0001", "LS0002", "LS0003"])
        with rig.camera() as camera:
            camera.start()
            same(take_plain(camera), 1)


SCENARIOS = (
    every_pixel_format_has_its_size_and_scale,
    bayer_formats_sample_the_colour_picture,
    region_of_interest_is_cut_out,
    payload_features_are_locked_while_acquiring,
    user_sets_keep_settings,
    chunks_follow_their_selection,
    software_trigger_gives_one_frame_and_a_busy_camera_misses,
    cameras_are_independent_and_modes_are_bounded,
    the_library_opens_and_closes_again,
)
