# SPDX-License-Identifier: AGPL-3.0-or-later
"""The camera contract, clause by clause. Each says what it needs; nothing here knows which camera it is."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from cameras.accounting import Accounting, Books
from cameras.base import CameraFault, Clock, FaultKind
from cameras.health import HealthMeter
from cameras.pfnc import FORMATS, bytes_per_frame, code_of, samples
from cameras.settings import NodeRefused
from tests.cameras.contract.kit import (
    LIMIT_S,
    clause,
    next_exposure,
    open_files,
    opened,
    refused,
    starve,
    take,
)
from tests.cameras.contract.rigs import Rig


@clause()
def frame_has_the_configured_geometry_and_format(rig: Rig) -> None:
    spec = rig.spec()
    with opened(rig) as camera:
        exposure = next_exposure(camera)
        assert (exposure.width_px, exposure.height_px) == (spec.width_px, spec.height_px)
        assert exposure.pixel_format == code_of("Mono8")
        assert exposure.pixels.size >= bytes_per_frame(exposure.pixel_format, spec.width_px, spec.height_px)
        assert exposure.incomplete == ""
        exposure.release()


@clause("PixelFormat")
def every_pixel_format_that_we_read_arrives_whole(rig: Rig) -> None:
    with opened(rig, start=False) as camera:
        offered = [f for f in FORMATS if f.name in camera.nodes.entries("PixelFormat")]
    assert len(offered) > 1
    for f in offered:
        with opened(rig, pixel_format=f.name) as camera:
            exposure = next_exposure(camera)
            spec = rig.spec()
            assert (exposure.incomplete, exposure.pixel_format) == ("", f.code), f.name
            picture = samples(exposure.pixels, f.code, spec.width_px, spec.height_px)
            assert picture.shape[:2] == (spec.height_px, spec.width_px)
            exposure.release()


@clause()
def camera_is_named_by_its_serial_number(rig: Rig) -> None:
    with opened(rig, start=False) as camera:
        assert camera.serial == rig.spec().serial
    sentence = refused(rig, FaultKind.NOT_FOUND, serial="nobody")
    assert "nobody" in sentence
    assert rig.spec().serial in sentence  # it says what is there


@clause("AcquisitionFrameRate")
def settings_are_written_and_read_back(rig: Rig) -> None:
    with opened(rig, start=False, settings=(("AcquisitionFrameRate", 25),)) as camera:
        assert abs(float(camera.nodes.read("AcquisitionFrameRate")) - 25.0) < 0.5
        assert camera.nodes.read("PixelFormat") == "Mono8"


@clause("AcquisitionFrameRate")
def value_out_of_range_is_refused_by_name(rig: Rig) -> None:
    assert "AcquisitionFrameRate" in refused(rig, FaultKind.SETTINGS, settings=(("AcquisitionFrameRate", 1e9),))


@clause()
def geometry_beyond_the_sensor_is_refused_by_name(rig: Rig) -> None:
    assert "Width" in refused(rig, FaultKind.SETTINGS, width_px=1_000_000)


@clause("ExposureTime")
def exposure_time_reads_back(rig: Rig) -> None:
    with opened(rig, start=False, settings=(("ExposureTime", 250),)) as camera:
        assert abs(float(camera.nodes.read("ExposureTime")) - 250.0) <= 2.5


@clause()
def unknown_setting_names_the_closest_node(rig: Rig) -> None:
    sentence = refused(rig, FaultKind.SETTINGS, settings=(("Hight", 3),))
    assert "Hight" in sentence
    assert "Height" in sentence


@clause()
def unknown_entry_lists_the_entries(rig: Rig) -> None:
    assert "Mono8" in refused(rig, FaultKind.SETTINGS, settings=(("PixelFormat", "Mono7"),))


@clause()
def geometry_cannot_change_unnoticed_while_acquiring(rig: Rig) -> None:
    narrow = rig.spec().width_px // 2
    with opened(rig) as camera:
        next_exposure(camera).release()
        with contextlib.suppress(NodeRefused):  # refused is fine; a camera that obeys must not fool us
            camera.nodes.write("Width", narrow)
        for exposure in take(camera, 24, Accounting()):
            assert exposure.incomplete or exposure.width_px == rig.spec().width_px


@clause("exclusive")
def second_program_is_told_that_the_camera_is_busy(rig: Rig) -> None:
    with opened(rig):
        assert rig.open_elsewhere() == FaultKind.BUSY.value
    assert rig.open_elsewhere() == ""


@clause()
def frame_ids_rise_by_one(rig: Rig) -> None:
    with opened(rig) as camera:
        ids = [e.frame_id for e in take(camera, 30, Accounting())]
    assert ids == list(range(ids[0], ids[0] + 30))


@clause()
def copied_pixels_stay_when_the_buffer_is_reused(rig: Rig) -> None:
    with opened(rig) as camera:
        exposure = next_exposure(camera)
        copy = exposure.pixels.copy()
        kept = copy.tobytes()
        exposure.release()
        pictures = set()
        for _ in range(40):
            exposure = next_exposure(camera)
            pictures.add(exposure.pixels.tobytes())
            exposure.release()
        assert copy.tobytes() == kept
        assert len(pictures) > 1  # the buffers really were filled with something else


@clause()
def held_frames_are_not_overwritten_before_release(rig: Rig) -> None:
    with opened(rig) as camera:
        held = [next_exposure(camera) for _ in range(12)]
        kept = [e.pixels.tobytes() for e in held]
        time.sleep(0.05)
        take(camera, 8, Accounting())
        assert [e.pixels.tobytes() for e in held] == kept
        assert len({e.frame_id for e in held}) == 12
        for e in held:
            e.release()


@clause()
def sixteen_buffers_bridge_a_pause(rig: Rig) -> None:
    with opened(rig, settings=(("AcquisitionFrameRate", 100.0),)) as camera:
        accounting = Accounting()
        take(camera, 2, accounting)
        time.sleep(0.08)  # eight frames' worth: fewer than the buffers
        take(camera, 20, accounting)
        books = accounting.books(camera.counters())
    assert (books.underrun, books.unexplained_id_gap) == (0, 0)


@clause()
def every_frame_a_starved_driver_loses_is_in_the_books(rig: Rig) -> None:
    since = time.monotonic()
    books = starve(rig, lambda _: time.monotonic() - since > 0.3)
    assert books.delivered == 36
    assert books.closes


@clause("underruns")
def starved_driver_counts_its_underruns(rig: Rig) -> None:
    books = starve(rig, lambda camera: camera.counters().underrun > 2)
    assert books.underrun > 2
    assert books.unexplained_id_gap == 0  # the holes are explained


@clause("SimDropNext", "SimIncompleteNext")
def every_trigger_stands_in_one_term_of_the_books(rig: Rig) -> None:
    with opened(rig, trigger="software", settings=()) as camera:
        accounting = Accounting()
        for i in range(20):
            if i in {5, 19}:
                camera.nodes.write("SimDropNext", 1)  # the last one leaves no later id that shows the hole
            if i in {9, 10}:
                camera.nodes.write("SimIncompleteNext", 1)
            camera.trigger()
            if i not in {5, 19}:
                take(camera, 1, accounting)
            time.sleep(0.004)  # longer than exposure and read-out: none is missed
        while camera.fetch(20) is not None:
            raise AssertionError("a dropped frame came")
        open_books = accounting.books(camera.counters())
        books = accounting.books(camera.counters(), at_rest=True)
    assert open_books.closes
    assert open_books.unexplained_id_gap == 1
    assert books == Books(
        triggers=20,
        delivered=16,
        ring_full=0,
        incomplete=2,
        underrun=0,
        missed=0,
        unexplained_id_gap=2,
        counted=True,
    )


@clause("TriggerMissedCount", "TriggerSoftware")
def trigger_on_a_busy_camera_is_counted_as_missed(rig: Rig) -> None:
    with opened(rig, trigger="software", settings=(("ExposureTime", 50_000),)) as camera:
        accounting = Accounting()
        for _ in range(3):
            camera.trigger()
        take(camera, 1, accounting)
        books = accounting.books(camera.counters(), at_rest=True)
    assert (books.triggers, books.delivered, books.missed) == (3, 1, 2)
    assert books.closes


@clause("SimIncompleteNext")
def incomplete_frame_says_so_and_brings_no_encoder_count(rig: Rig) -> None:
    with opened(rig) as camera:
        camera.nodes.write("SimIncompleteNext", 1)
        for _ in range(40):
            exposure = next_exposure(camera)
            exposure.release()
            if exposure.incomplete:
                break
        else:
            raise AssertionError("no incomplete frame came")
        assert exposure.encoder_pulses is None
        assert not next_exposure(camera).incomplete


@clause("SimDeviceLost")
def lost_camera_is_a_fault_and_comes_back_in_a_new_opening(rig: Rig) -> None:
    camera = rig.open(rig.spec())
    try:
        camera.start()
        next_exposure(camera).release()
        if camera.nodes.has("SimDeviceLostTime"):
            camera.nodes.write("SimDeviceLostTime", 100)
        camera.nodes.execute("SimDeviceLost")
        until = time.monotonic() + LIMIT_S

        def fetch_on() -> None:
            while time.monotonic() < until:
                exposure = camera.fetch(20)
                if exposure is not None:
                    exposure.release()

        with pytest.raises(CameraFault) as caught:
            fetch_on()
        assert caught.value.kind == FaultKind.LOST
        assert rig.spec().serial in str(caught.value)
    finally:
        camera.close()
    while time.monotonic() < until:
        with contextlib.suppress(CameraFault), opened(rig) as again:
            next_exposure(again).release()
            return
        time.sleep(0.05)
    raise AssertionError("it never came back")


@clause("SimFrozen")
def frozen_picture_is_seen_at_the_second_frame(rig: Rig) -> None:
    spec = rig.spec()
    with opened(rig) as camera:
        meter = HealthMeter(
            code_of("Mono8"), spec.width_px, spec.height_px, (0, 0, spec.width_px, spec.height_px)
        )

        def frozen_now() -> bool:
            exposure = next_exposure(camera)
            health = meter.measure(exposure.pixels)
            exposure.release()
            return health.frozen

        assert not any(frozen_now() for _ in range(10))
        camera.nodes.write("SimFrozen", True)
        assert any(frozen_now() for _ in range(24))  # what lay in the buffers already comes first
        assert frozen_now()


@clause("TriggerSoftware")
def software_trigger_gives_exactly_one_frame(rig: Rig) -> None:
    with opened(rig, trigger="software", settings=()) as camera:
        assert camera.fetch(50) is None
        for expected in (1, 2, 3):
            before_ns = time.monotonic_ns()
            camera.trigger()
            exposure = next_exposure(camera)
            exposure.release()
            assert exposure.frame_id == expected  # the camera's counter names the trigger
            assert before_ns <= exposure.exposure_ns <= time.monotonic_ns()
            assert camera.fetch(20) is None


@clause("TriggerSource=Line0", "ChunkEncoderValue", "line")
def line_trigger_brings_the_latched_encoder_count(rig: Rig) -> None:
    with opened(rig, trigger="line", settings=(("ExposureTime", 1.0),)) as camera:
        time.sleep(0.1)
        instants = []
        for encoder in (5, 1_000_000, 2**32 - 1, 2**32 + 7):
            rig.edge(encoder)
            exposure = next_exposure(camera)
            exposure.release()
            assert exposure.encoder_pulses == encoder & 0xFFFF_FFFF
            assert exposure.clock == Clock.DEVICE
            instants.append(exposure.exposure_ns)
            time.sleep(0.01)
        assert instants == sorted(set(instants))


@clause()
def exposure_instants_rise_and_lie_in_the_past(rig: Rig) -> None:
    with opened(rig) as camera:
        begin_ns = time.monotonic_ns()
        instants = [e.exposure_ns for e in take(camera, 10, Accounting())][1:]
    assert instants == sorted(instants)
    assert begin_ns - 2_000_000_000 < instants[0] <= instants[-1] <= time.monotonic_ns()


@clause()
def driver_counts_what_it_delivers(rig: Rig) -> None:
    with opened(rig) as camera:
        first = next_exposure(camera)
        first.release()
        last = take(camera, 20, Accounting())[-1]
        delivered = camera.counters().delivered
    assert delivered is not None
    assert delivered >= last.frame_id - first.frame_id + 1


@clause()
def closing_lets_go_of_everything(rig: Rig) -> None:
    with opened(rig) as camera:
        next_exposure(camera).release()
    threads, files = threading.active_count(), open_files()
    for _ in range(3):
        with opened(rig) as camera:
            next_exposure(camera).release()
            held = next_exposure(camera)  # never released: closing must not mind
        assert held.frame_id > 0
    assert threading.active_count() == threads
    assert open_files() == files


@clause()
def close_may_come_twice_and_before_start(rig: Rig) -> None:
    with opened(rig, start=False) as camera:
        camera.close()
    with opened(rig) as camera:
        camera.close()


@clause()
def interrupt_handler_is_put_back(rig: Rig) -> None:
    def mine(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGINT, mine)
    try:
        with opened(rig) as camera:
            next_exposure(camera).release()
            assert signal.getsignal(signal.SIGINT) is mine
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


@clause()
def memory_is_flat_over_hundreds_of_frames(rig: Rig) -> None:
    def resident_kb() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)

    with opened(rig) as camera:
        take(camera, 100, Accounting())
        before = resident_kb()
        for _ in range(3):
            take(camera, 100, Accounting())
        grown = resident_kb() - before
    assert grown < 1024, f"{grown} kB in 300 frames"
