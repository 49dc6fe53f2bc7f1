# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector process on real rings and links, with a scripted engine."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from inspection.board import InspectorCounter, ProcessState
from inspection.inspecting import EXIT_ENGINE
from inspection.messages import ExposureDone, FireTrigger, FrameFault, ImageHandOver, LineReset, PartClosed
from inspection.types import Outcome, Reason
from tests.inspector.line_stub import HEIGHT_PX, STRIP_PX, WIDTH_PX, inspector_line, write_station

DEFECT = {"class": "defect", "score": 0.9, "box": [10, 10, 30, 20]}


def test_good_part_passes_with_its_strips_and_gives_its_slots_back(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        for ordinal in range(1, 40):
            part = line.trigger(ordinal)
            line.expose_all(ordinal)
            assert line.receive("gate", ExposureDone).ordinal == ordinal
            judged = line.judged()
            assert judged.verdict.outcome is Outcome.PASS
            assert (judged.ordinal, judged.epoch, judged.seq) == (ordinal, part.epoch, part.seq)
            assert [view.camera for view in judged.views] == [0, 1]
            assert all(view.strip == bytes([ordinal]) * (WIDTH_PX * STRIP_PX) for view in judged.views)
            assert judged.recipe_sha256
            assert judged.bundle_sha256
            line.links["camera0"].receive()
        line.wait_slots_free()


def test_defect_in_one_view_rejects_the_part_and_its_pictures_go_to_the_recorder(tmp_path: Path) -> None:
    script = {"steps": [{"camera": 1, "frame_id": [2], "findings": [DEFECT]}]}
    with inspector_line(write_station(tmp_path, script=script)) as line:
        for ordinal, outcome in ((1, Outcome.PASS), (2, Outcome.REJECT), (3, Outcome.PASS)):
            line.trigger(ordinal)
            line.expose_all(ordinal)
            judged = line.judged()
            assert judged.verdict.outcome is outcome
        images = [line.receive("recorder", ImageHandOver) for _ in range(2)]
        assert {image.frame.camera for image in images} == {0, 1}
        assert all((image.ordinal, image.outcome) == (2, Outcome.REJECT) for image in images)
        for image in images:  # the recorder's lease
            assert line.rings[image.frame.camera].lease(image.frame.slot, image.frame.generation)[0] == 50
            line.rings[image.frame.camera].free(image.frame.slot, image.frame.generation)
        line.wait_slots_free()


def test_frames_before_their_trigger_message_wait_for_it(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        line.expose_all(5)
        time.sleep(0.03)
        line.trigger(5)
        assert line.judged().verdict.outcome is Outcome.PASS


def test_part_without_a_picture_is_not_inspected_before_its_deadline(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        part = line.trigger(1)
        line.expose(0, 1)
        judged = line.judged()
        assert judged.verdict.outcome is Outcome.NOT_INSPECTED
        assert judged.verdict.reasons == (Reason.FRAME_MISSING,)
        assert judged.judged_ns < part.deadline_ns
        assert [view.camera for view in judged.views] == [0]


def test_frame_lost_by_a_full_ring_names_that_reason(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        line.trigger(1)
        line.expose(0, 1)
        fault = FrameFault(camera=1, reason=Reason.FRAME_LOST, at_ns=time.monotonic_ns(), encoder_pulses=1000)
        assert line.links["camera1"].send(fault)
        assert line.judged().verdict.reasons == (Reason.FRAME_LOST,)


def test_unhealthy_picture_is_never_shown_to_the_engine(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        line.trigger(1)
        line.expose(0, 1)
        line.expose(1, 1, unhealthy=("min_mean",))
        assert line.judged().verdict.reasons == (Reason.FRAME_UNHEALTHY,)
        line.trigger(2)
        line.expose_all(2)
        assert line.judged().verdict.outcome is Outcome.PASS
        time.sleep(0.05)
        assert line.row.get(InspectorCounter.INFERENCES) == 2


@pytest.mark.parametrize("fault", ["raise", "nonsense"])
def test_engine_that_raises_or_talks_nonsense_costs_its_parts_and_goes_on(tmp_path: Path, fault: str) -> None:
    script = {"steps": [{"frame_id": [2], "do": fault}]}
    with inspector_line(write_station(tmp_path, script=script)) as line:
        for ordinal in (1, 2, 3):
            line.trigger(ordinal)
            line.expose_all(ordinal)
            verdict = line.judged().verdict
            if ordinal == 2:
                assert verdict.outcome is Outcome.NOT_INSPECTED
                assert verdict.reasons == (Reason.ENGINE_FAULT,)
            else:
                assert verdict.outcome is Outcome.PASS


def test_engine_that_only_fails_ends_the_process(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path, script={"steps": [{"do": "raise"}]}), start=True) as line:
        assert line.process is not None
        for ordinal in range(1, 6):
            line.trigger(ordinal)
            line.expose_all(ordinal)
            assert line.judged().verdict.reasons == (Reason.ENGINE_FAULT,)
        assert line.process.wait(10) == EXIT_ENGINE
        assert line.row.state is ProcessState.FAULT
        assert "in a row" in line.row.text


def test_engine_that_hangs_is_noticed_and_the_process_replaced(tmp_path: Path) -> None:
    script = {"max_batch": 2, "steps": [{"frame_id": [2], "do": "hang"}]}
    with inspector_line(write_station(tmp_path, script=script, deadline_ms=2000)) as line:
        assert line.process is not None
        line.trigger(1)
        line.expose_all(1)
        assert line.judged().verdict.outcome is Outcome.PASS
        line.trigger(2)
        line.expose_all(2)
        line.trigger(3)
        line.expose_all(3)
        first, second = line.judged(), line.judged()
        assert (first.ordinal, second.ordinal) == (2, 3)
        assert first.verdict.reasons == second.verdict.reasons == (Reason.ENGINE_HUNG,)
        assert line.process.wait(10) == EXIT_ENGINE
        assert line.row.state is ProcessState.FAULT


def test_an_engine_that_only_stalled_costs_its_part_and_not_the_process(tmp_path: Path) -> None:
    """A starved box looks like a hang for a moment: the part is lost at once, the warm engine is not."""
    script = {"max_batch": 1, "steps": [{"frame_id": [2], "delay_ms": 600}]}
    with inspector_line(write_station(tmp_path, script=script, cameras=1, deadline_ms=1500)) as line:
        assert line.process is not None
        for ordinal, reasons in ((1, ()), (2, (Reason.ENGINE_HUNG,)), (3, ())):
            line.trigger(ordinal)
            line.expose(0, ordinal)
            judged = line.judged()
            assert judged.verdict.reasons == reasons
            assert (judged.verdict.outcome is Outcome.PASS) == (not reasons)
            if reasons:
                time.sleep(0.7)  # until the late answer has come, and was thrown away
        assert line.process.poll() is None


def test_late_work_is_shed_and_said_so(tmp_path: Path) -> None:
    script = {"max_batch": 1, "parallel": 1, "delay_ms": 60}
    with inspector_line(write_station(tmp_path, script=script, cameras=1)) as line:
        for ordinal in range(1, 8):  # seven parts at once, time for four or so
            line.trigger(ordinal)
            line.expose(0, ordinal)
        reasons = [line.judged().verdict for _ in range(7)]
        shed = [v for v in reasons if v.reasons == (Reason.SHED,)]
        assert shed
        assert {v.outcome for v in reasons if v not in shed} == {Outcome.PASS}


def test_reset_drops_everything_and_the_next_part_is_judged(tmp_path: Path) -> None:
    script = {"delay_ms": 30}
    with inspector_line(write_station(tmp_path, script=script)) as line:
        line.expose(0, 9)
        line.trigger(1)
        line.expose_all(1)
        assert line.links["gate"].send(LineReset(epoch=77, armed=True))
        time.sleep(0.1)
        line.trigger(2)
        line.expose_all(2)
        assert line.judged().ordinal == 2


def test_closed_part_is_not_judged_any_more(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        line.trigger(1)
        line.expose(0, 1)
        assert line.links["gate"].send(PartClosed(ordinal=1))
        line.expose(1, 1)
        line.trigger(2)
        line.expose_all(2)
        assert line.judged().ordinal == 2


def test_two_pictures_of_one_view_make_the_part_ambiguous(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        line.trigger(1)
        line.expose(0, 1)
        line.expose(0, 1)
        assert line.judged().verdict.reasons == (Reason.PAIRING_AMBIGUOUS,)


def test_slot_taken_away_under_the_engine_is_not_passed(tmp_path: Path) -> None:
    script = {"delay_ms": 80}
    with inspector_line(write_station(tmp_path, script=script)) as line:
        line.trigger(1)
        line.expose(0, 1)
        frame = line.expose(1, 1)
        line.receive("gate", ExposureDone)
        line.rings[1].free(frame.slot, frame.generation)
        judged = line.judged()
        assert judged.verdict.outcome is Outcome.NOT_INSPECTED
        assert judged.verdict.reasons == (Reason.FRAME_LOST,)


def test_recorder_that_does_nothing_never_starves_the_camera(tmp_path: Path) -> None:
    script = {"steps": [{"findings": [DEFECT]}]}
    with inspector_line(write_station(tmp_path, script=script)) as line:
        for ordinal in range(1, 30):
            line.trigger(ordinal)
            line.expose_all(ordinal)
            assert line.judged().verdict.outcome is Outcome.REJECT
        time.sleep(0.05)
        assert line.row.get(InspectorCounter.IMAGES_HANDED) == 6  # a third of nine slots, two cameras
        assert line.row.get(InspectorCounter.IMAGES_SHED) == 2 * 29 - 6


def test_heartbeat_goes_on_and_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    with inspector_line(write_station(tmp_path)) as line:
        assert line.process is not None
        seen = {line.row.age_ns(time.monotonic_ns()) < 1_000_000_000 for _ in range(3) if not time.sleep(0.05)}
        assert seen == {True}
        line.process.send_signal(signal.SIGINT)  # the launcher's business, not ours
        line.trigger(1)
        line.expose_all(1)
        assert line.judged().verdict.outcome is Outcome.PASS
        line.process.send_signal(signal.SIGTERM)
        assert line.process.wait(10) == 0
    assert HEIGHT_PX > STRIP_PX


def test_cameras_without_a_trigger_line_are_fired_for_each_part(tmp_path: Path) -> None:
    path = write_station(tmp_path)
    text = path.read_text()
    first, second = text.split('serial = "', 2)[1:]
    assert first
    path.write_text(text.replace('serial = "' + second, 'trigger = "software"\nserial = "' + second))
    with inspector_line(path) as line:
        for ordinal in (1, 2):
            part = line.trigger(ordinal)
            fire = line.receive("camera1", FireTrigger)
            assert (fire.ordinal, fire.encoder_pulses, fire.at_ns) == (
                ordinal,
                part.encoder_pulses,
                part.trigger_ns,
            )
            assert fire.until_ns - fire.at_ns == 50_000_000  # 25 mm, half the minimum pitch, at 500 mm/s
            line.expose_all(ordinal)
            assert line.judged().verdict.outcome is Outcome.PASS
        assert line.links["camera0"].receive() is None  # this one has its line
