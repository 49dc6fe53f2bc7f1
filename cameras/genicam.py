# SPDX-License-Identifier: AGPL-3.0-or-later
"""Any GenICam camera behind a GenTL producer: the only file that imports harvesters and genicam.

What the binding is like, and what this file does about it (harvesters 1.4.3, genicam 1.6.0):
it holds the interpreter lock while it waits for a frame, so waits are short and a camera has its own process;
its `fetch` drops incomplete frames with only a callback, so the event manager underneath is asked directly;
`raw_buffer` is the driver's memory and is overwritten after queueing; it hijacks SIGINT; a second Harvester on
one producer in one process finds no devices; after a loss its own stop() and destroy() may raise or hang.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from genicam import genapi, gentl
from harvesters.core import Harvester, ImageAcquirer, ParameterKey, ParameterSet

from cameras.base import CameraFault, CameraSpec, Clock, DeviceCounters, Exposure, FaultKind
from cameras.device_clock import DeviceClock, Latch
from cameras.genicam_nodes import GenicamNodes, device_words
from cameras.pfnc import bytes_per_frame, code_of
from cameras.producers import find_producer
from cameras.settings import NodeRefused, apply, wanted_settings

_DEVICE_ERRORS = (gentl.GenericException, genapi.GenericException)
_NODE_ERRORS = (*_DEVICE_ERRORS, AttributeError, TypeError, ValueError)
# Read without a cache while no frames come: a register read that fails is a lost camera.
_PULSE_NODES = ("DeviceTemperature", "TimestampLatchValue", "CounterValue", "EncoderValue", "PayloadSize")
_ENCODER_MASK = 0xFFFF_FFFF
_PULSE_PERIOD_NS = 50_000_000
_LATCHES = 8
_RELATCH_NS = 10_000_000_000  # two quartz clocks drift apart by up to 0.1 ms a second
_KILL = gentl.ACQ_STOP_FLAGS_LIST.ACQ_STOP_FLAGS_KILL
_BUSY = (gentl.AccessDeniedException, gentl.ResourceInUseException, gentl.BusyException)


def list_cameras(producer: Path) -> list[dict[str, str]]:
    """Serial, model, vendor and access of every camera that one producer offers."""
    harvester = _load(producer)
    try:
        return [
            {key: _info(device, key) for key in ("serial_number", "vendor", "model", "access_status")}
            for device in harvester.device_info_list
        ]
    finally:
        with contextlib.suppress(*_DEVICE_ERRORS):
            harvester.reset()


class GenicamCamera:
    """One camera opened exclusively, configured and read back. Used by one thread; one a process."""

    def __init__(self, spec: CameraSpec, harvester: Harvester, acquirer: ImageAcquirer) -> None:
        self._spec = spec
        self._harvester = harvester
        self._acquirer: Any = acquirer
        self.nodes = GenicamNodes(self._acquirer.remote_device.node_map, _NODE_ERRORS)
        self._stream: Any = self._acquirer.data_streams[0]
        self._monitor: Any = next(iter(self._acquirer._new_buffer_event_monitor_dict.values()))
        self._expected = (spec.width_px, spec.height_px, code_of(spec.pixel_format))
        self._frame_bytes = bytes_per_frame(self._expected[2], spec.width_px, spec.height_px)
        self._encoder: Any = None
        self._clock: DeviceClock | None = None
        self._latched_ns = 0
        self._pulse = next((n for n in _PULSE_NODES if self.nodes.has(n)), None)
        self._last_sign_ns = 0
        self._generic_chunks = self._acquirer.device.tl_type not in {"U3V", "GEV"}
        self._counts_triggers = False
        self._missed_before = 0

    @classmethod
    def open(cls, spec: CameraSpec) -> GenicamCamera:
        """Load the producer, open the camera by serial number, write its settings and read them back."""
        code_of(spec.pixel_format)
        path = find_producer(spec.producer)
        with _sigint_kept():
            harvester = _load(path)
            try:
                camera = cls(spec, harvester, _claim(harvester, spec, path))
            except CameraFault:
                _quietly(harvester.reset)
                raise
        try:
            with camera._watched():
                apply(spec.serial, camera.nodes, wanted_settings(spec, camera.nodes))
                camera._clock = camera._read_clock()
        except CameraFault:
            camera.close()
            raise
        return camera

    @property
    def serial(self) -> str:
        """Its name."""
        return self._spec.serial

    @property
    def clock(self) -> Clock:
        """The device's, when it can be latched and its frames bear stamps; known for sure after the first."""
        return Clock.ARRIVAL if self._clock is None else Clock.DEVICE

    def start(self) -> None:
        """Begin to acquire; the trigger counter, where there is one, starts at zero."""
        with self._watched():
            self._acquirer.num_buffers = self._spec.buffers
            self._counts_triggers = self._reset_counter()
            self._missed_before = self._integer("TriggerMissedCount") or 0
            self._acquirer.start()
            chunked = self.nodes.has("ChunkModeActive") and self.nodes.read("ChunkModeActive") is True
            if chunked and self.nodes.has_node("ChunkEncoderValue"):
                self._encoder = self.nodes.node("ChunkEncoderValue")
        self._last_sign_ns = time.monotonic_ns()

    def fetch(self, timeout_ms: int) -> Exposure | None:
        """Next frame, incomplete ones included; None when none came in time."""
        self._keep_clock()
        try:
            self._monitor.update_event_data(timeout_ms)
        except gentl.TimeoutException:
            self._feel_pulse()
            return None
        except gentl.GenericException as e:
            raise self._lost(e) from e
        arrival_ns = self._last_sign_ns = time.monotonic_ns()
        buffer = self._monitor.buffer
        try:
            return self._exposure(buffer, arrival_ns)
        except gentl.GenericException as e:
            raise self._lost(e) from e

    def trigger(self) -> None:
        """Fire a software trigger."""
        if not self.nodes.has("TriggerSoftware"):
            raise CameraFault(
                FaultKind.UNSUPPORTED,
                f'Camera {self.serial} has no software trigger; set [[camera]] trigger to "line" or "free".',
            )
        with self._watched():
            self.nodes.execute("TriggerSoftware")

    def counters(self) -> DeviceCounters:
        """The device's own counters now."""
        missed = self._integer("TriggerMissedCount")
        return DeviceCounters(
            triggers=self._integer("CounterValue") if self._counts_triggers else None,
            missed=None if missed is None else missed - self._missed_before,
            underrun=_number(lambda: self._stream.num_underrun),
            delivered=_number(lambda: self._stream.num_delivered),
        )

    def close(self) -> None:
        """Stop and let go, in the order that survives a lost device. Never raises."""
        acquirer = self._acquirer
        if acquirer is None:
            return
        if acquirer.is_acquiring():
            acquirer._is_acquiring = False  # its own stop() would talk to a device that may be gone
            _quietly(lambda: self.nodes.execute("AcquisitionStop"))
            _quietly(lambda: self.nodes.write("TLParamsLocked", 0))
            for stream in acquirer.data_streams:
                _quietly(
                    functools.partial(stream.stop_acquisition, gentl.ACQ_STOP_FLAGS_LIST.ACQ_STOP_FLAGS_KILL)
                )
                _quietly(functools.partial(acquirer._flush_buffers, stream))
            _quietly(self._monitor.flush_event_queue)
            _quietly(acquirer._release_buffers)
            if acquirer._chunk_adapter is not None:
                _quietly(acquirer._chunk_adapter.detach_buffer)
        self._encoder = None
        self._acquirer = None
        _quietly(acquirer.destroy)
        _quietly(self._harvester.reset)
        # Both register themselves to run once more at interpreter exit, on objects that are gone.
        acquirer._finalizer.detach()
        self._harvester._finalizer.detach()

    # --- one frame
    def _exposure(self, buffer: Any, arrival_ns: int) -> Exposure:
        filled = buffer.size_filled
        geometry = _geometry(buffer)
        incomplete = ""
        if not buffer.is_complete():
            incomplete = f"the driver delivered {filled} of {self._frame_bytes} bytes"
        elif geometry != self._expected or filled < self._frame_bytes:
            width, height, code = geometry
            incomplete = f"it is {width}x{height} in format 0x{code:08X} with {filled} bytes"
        encoder = None if incomplete else self._latched_encoder(buffer)
        exposure_ns = self._stamp(buffer, arrival_ns)
        return Exposure(
            pixels=np.frombuffer(buffer.raw_buffer, np.uint8)[:filled],
            frame_id=buffer.frame_id,
            encoder_pulses=encoder,
            exposure_ns=arrival_ns if exposure_ns is None else exposure_ns,
            clock=Clock.ARRIVAL if exposure_ns is None else Clock.DEVICE,
            width_px=geometry[0],
            height_px=geometry[1],
            pixel_format=geometry[2],
            incomplete=incomplete,
            release=functools.partial(self._requeue, buffer),
        )

    def _latched_encoder(self, buffer: Any) -> int | None:
        if self._encoder is None:
            return None
        try:
            if self._generic_chunks:  # harvesters' own way asks thrice first whether there are chunks
                self._acquirer._chunk_adapter.attach_buffer(buffer.raw_buffer, buffer.chunk_data_info_list)
            else:
                self._acquirer._update_chunk_data(buffer=buffer, is_manual=True)
            return self._encoder.value & _ENCODER_MASK
        except _NODE_ERRORS:
            return None

    def _stamp(self, buffer: Any, arrival_ns: int) -> int | None:
        if self._clock is None:
            return None
        try:
            return self._clock.to_monotonic(buffer.timestamp_ns, arrival_ns)
        except gentl.GenericException:
            self._clock = None  # it can latch its clock, but does not stamp its frames
            return None

    def _requeue(self, buffer: Any) -> None:
        try:
            self._stream.queue_buffer(buffer)
        except gentl.GenericException as e:
            raise self._lost(e) from e

    # --- the device
    def _feel_pulse(self) -> None:
        """While no frames come, read a register now and then: a camera that is gone answers with an error."""
        now_ns = time.monotonic_ns()
        if self._pulse is None or now_ns - self._last_sign_ns < _PULSE_PERIOD_NS:
            return
        try:
            self.nodes.read(self._pulse)
        except NodeRefused as e:
            raise self._lost(e) from e
        self._last_sign_ns = now_ns

    def _keep_clock(self) -> None:
        """Latch it again now and then, also where frames come without a pause: drift would unpair every one."""
        if self._clock is not None and time.monotonic_ns() - self._latched_ns > _RELATCH_NS:
            with contextlib.suppress(NodeRefused):  # a camera that is gone is found by its pulse
                self._clock = self._read_clock()

    def _read_clock(self) -> DeviceClock | None:
        """None when the camera has no latch or its frames carry no stamp."""
        if not (self.nodes.has("TimestampLatch") and self.nodes.has("TimestampLatchValue")):
            return None
        self._latched_ns = time.monotonic_ns()
        latches = []
        for _ in range(_LATCHES):
            before_ns = time.monotonic_ns()
            self.nodes.execute("TimestampLatch")
            after_ns = time.monotonic_ns()
            device_ns = int(self.nodes.read("TimestampLatchValue"))
            latches.append(Latch(before_ns=before_ns, device_ns=device_ns, after_ns=after_ns))
        return DeviceClock.from_latches(latches)

    def _reset_counter(self) -> bool:
        """Let the camera count its own trigger edges, if it can: the books are then closed by somebody else."""
        try:
            self.nodes.write("CounterSelector", "Counter0")
            self.nodes.write("CounterEventSource", "FrameTrigger")
            self.nodes.execute("CounterReset")
        except NodeRefused:
            return False
        return True

    def _integer(self, name: str) -> int | None:
        try:
            return int(self.nodes.read(name)) if self.nodes.has(name) else None
        except NodeRefused:
            return None

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except (*_DEVICE_ERRORS, NodeRefused) as e:
            raise self._lost(e) from e

    def _lost(self, error: Exception) -> CameraFault:
        return CameraFault(
            FaultKind.LOST, f"Camera {self.serial} is gone ({device_words(error)}): check its cable and power."
        )


def _geometry(buffer: Any) -> tuple[int, int, int]:
    """Width, height, PFNC code; zeros when the frame does not say (its trailer was lost)."""
    try:
        return (buffer.width, buffer.height, buffer.pixel_format)
    except gentl.GenericException:
        return (0, 0, 0)


def _load(path: Path) -> Harvester:
    harvester = Harvester()
    # Harvester.add_file() forgets a missing file in silence unless asked not to.
    harvester.add_file(str(path), check_existence=True)
    harvester.update()
    if not harvester._producers or not harvester._systems:
        harvester._finalizer.detach()
        raise CameraFault(
            FaultKind.BAD_PRODUCER,
            f"{path} is not a GenTL producer that this machine can load; correct [[camera]] producer.",
        )
    return harvester


def _claim(harvester: Harvester, spec: CameraSpec, path: Path) -> ImageAcquirer:
    devices = harvester.device_info_list
    index = next((i for i, d in enumerate(devices) if _info(d, "serial_number") == spec.serial), None)
    if index is None:
        found = ", ".join(f"{_info(d, 'serial_number')} ({_info(d, 'model')})" for d in devices) or "no camera"
        raise CameraFault(
            FaultKind.NOT_FOUND,
            f"Camera {spec.serial} was not found: {path.name} offers {found}. Check its cable, or [[camera]] "
            "serial.",
        )
    config = ParameterSet(
        {
            ParameterKey.ENABLE_AUTO_CHUNK_DATA_UPDATE: False,
            ParameterKey.NUM_BUFFERS_FOR_FETCH_CALL: spec.buffers,
        }
    )
    try:
        return harvester.create(index, config=config)
    except _BUSY as e:
        raise CameraFault(
            FaultKind.BUSY,
            f"Camera {spec.serial} is in use by another program ({device_words(e)}): close that program.",
        ) from e
    except _DEVICE_ERRORS as e:
        raise CameraFault(
            FaultKind.LOST,
            f"Camera {spec.serial} cannot be opened ({device_words(e)}): check its cable and power.",
        ) from e


def _info(device: Any, key: str) -> str:
    try:
        return str(getattr(device, key))
    except gentl.GenericException:
        return ""


def _number(read: Callable[[], int]) -> int | None:
    try:
        return read()
    except gentl.GenericException:
        return None


def _quietly(act: Callable[[], object]) -> None:
    with contextlib.suppress(*_DEVICE_ERRORS, NodeRefused, AttributeError):
        act()


@contextlib.contextmanager
def _sigint_kept() -> Iterator[None]:
    """Harvesters installs its own SIGINT handler in the main thread; put ours back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
