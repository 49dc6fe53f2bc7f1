# SPDX-License-Identifier: AGPL-3.0-or-later
"""One real harvesters session on linesim.cti, for the scenarios that run in child processes.

harvesters takes SIGINT, and a second Harvester on one producer finds no device: no test process loads the
producer itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from harvesters.core import Callback, Harvester

from cameras.simulator.feed import Feed

WIDTH, HEIGHT = 64, 48


def same(got: object, wanted: object, what: str = "") -> None:
    """Assert with both values in the text: there is no pytest in a child."""
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


def grey(value: int) -> Any:
    """A picture of one grey value."""
    return np.full((HEIGHT, WIDTH), value, np.uint8)


def wait_for(condition: Any, what: str, timeout_s: float = 10.0) -> None:
    """Poll until true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.002)


class Incomplete(Callback):
    """Counts what harvesters throws away as incomplete."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, context: object) -> None:
        """Called by harvesters for each incomplete buffer."""
        self.count += 1


class Rig:
    """One Harvester for the life of the child process."""

    def __init__(self, producer: Path, folder: Path) -> None:
        os.environ.update(
            LINESIM_DIR=str(folder), LINESIM_WIDTH=str(WIDTH), LINESIM_HEIGHT=str(HEIGHT), LINESIM_CAMERAS="3"
        )
        self.folder = folder
        self.producer = producer
        self.harvester = Harvester()
        self.harvester.add_file(str(producer), check_existence=True)
        self.harvester.update()

    def serials(self) -> list[str]:
        """Serial numbers of the cameras that are there now."""
        self.harvester.update()
        return [info.serial_number for info in self.harvester.device_info_list]

    @contextmanager
    def camera(self, serial: str = "LS0001") -> Iterator[Any]:
        """An open camera with factory settings."""
        acquirer = self.harvester.create({"serial_number": serial})
        acquirer.num_buffers = 16
        acquirer.timeout_period_on_client_fetch_call = 5
        acquirer.timeout_period_on_update_event_data_call = 20
        nodes = acquirer.remote_device.node_map
        nodes.UserSetSelector.value = "Default"
        nodes.UserSetLoad.execute()
        try:
            yield acquirer
        finally:
            tear_down(acquirer)

    @contextmanager
    def fed(self, serial: str = "LS0001", **settings: object) -> Iterator[tuple[Any, Feed]]:
        """A camera on a line trigger with chunks, and its feed; acquiring, counters at zero."""
        with Feed(self.folder, serial, WIDTH, HEIGHT) as feed, self.camera(serial) as acquirer:
            nodes = acquirer.remote_device.node_map
            nodes.TriggerMode.value = "On"
            nodes.TriggerSource.value = "Line0"
            nodes.AcquisitionFrameRateEnable.value = False
            nodes.ExposureTime.value = 100.0
            nodes.SimReadoutTime.value = 50
            nodes.ChunkModeActive.value = True
            for name, value in settings.items():
                getattr(nodes, name).value = value
            nodes.CounterReset.execute()
            acquirer.start()
            assert feed.wait_acquiring(5), "the camera never acquired"
            yield acquirer, feed

    def close(self) -> None:
        """Close the library."""
        self.harvester.reset()


def tear_down(acquirer: Any) -> None:
    """Let go of a camera that may be lost: harvesters' own stop() reads nodes, and raises on a dead link."""
    acquirer._is_acquiring = False
    for stream in acquirer.data_streams:
        try:
            stream.stop_acquisition(1)
        except Exception as error:  # noqa: BLE001 - not started, or gone: both are fine here
            str(error)
        acquirer._flush_buffers(stream)
    acquirer._release_buffers()
    acquirer.destroy()


def nothing_comes(acquirer: Any, for_s: float = 0.15) -> None:
    """Assert that no frame arrives."""
    buffer = acquirer.try_fetch(timeout=for_s)
    assert buffer is None, f"unexpected frame {buffer.module.frame_id}"


def take(acquirer: Any) -> dict[str, Any]:
    """The next frame: id, timestamp, chunks and first pixel."""
    nodes = acquirer.remote_device.node_map
    with acquirer.fetch(timeout=5) as buffer:
        frame = {
            "id": buffer.module.frame_id,
            "timestamp": buffer.module.timestamp_ns,
            "pixel": int(buffer.payload.components[0].data[0]),
            "filled": buffer.module.size_filled,
        }
        if nodes.ChunkModeActive.value:
            frame["chunk_id"] = nodes.ChunkFrameID.value
            frame["chunk_timestamp"] = nodes.ChunkTimestamp.value
            frame["exposure"] = nodes.ChunkExposureTime.value
            frame["gain"] = nodes.ChunkGain.value
            frame["encoder"] = nodes.ChunkEncoderValue.value
        return frame


def refused(action: Callable[[], object], what: str) -> None:
    """Assert that it raises."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - genicam raises many kinds
        str(error)
    else:
        raise AssertionError(f"accepted: {what}")


def take_plain(camera: Any) -> int:
    """Frame id of the next frame."""
    with camera.fetch(timeout=5) as buffer:
        return buffer.module.frame_id


def drain_events(camera: Any) -> list[tuple[str, int]]:
    """All queued events of the remote device, through harvesters' own monitor."""
    monitors = camera._module_event_monitor_dict
    monitor = next(v for k, v in monitors.items() if type(k).__name__ == "RemoteDevice")
    seen = []
    while monitor.num_in_queue:
        monitor.update_event_data(0)
        data = bytes(monitor.optional_data)
        seen.append((monitor.event_id, int.from_bytes(data[8:16], "little")))
    return seen
