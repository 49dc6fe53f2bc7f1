# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate process as the line meets it: sockets, signals, a real journal; the inspector is scripted."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

from inspection.board import Board, GateCounter, ProcessState
from inspection.config import load_config
from inspection.gates.registers import Control, Input, Status
from inspection.journal import verify
from inspection.journal_records import (
    DispositionRecord,
    LineEvent,
    PartIdentified,
    Published,
    Started,
    Stopped,
    VerdictRecord,
)
from inspection.messages import LineReset, PartClosed
from inspection.types import Outcome, Reason, StationState
from tests.gate.rig import RECIPE, GateRig, until


def verdicts(rig: GateRig) -> dict[int, list[VerdictRecord]]:
    """Verdict records by seq, oldest first."""
    found: dict[int, list[VerdictRecord]] = {}
    for record in rig.records(VerdictRecord):
        assert isinstance(record, VerdictRecord)
        found.setdefault(record.seq, []).append(record)
    return found


def test_station_is_ready_without_a_plc_and_shows_who_it_is(rig: GateRig) -> None:
    image = rig.plc(beats=False).read()
    assert image[Input.MAP_VERSION] == 1
    assert image[Input.EPOCH] == rig.counters()["EPOCH"] != 0
    assert image[Input.STATE] == StationState.READY
    assert image[Input.RECIPE_ID] == 12
    assert image[Input.RECIPE_CRC] == RECIPE.crc
    assert image[Input.ERROR_CODE] == 0
    bits = Status(image[Input.STATUS])
    assert bits == Status.READY | Status.ONLINE | Status.RECIPE_OK | Status.SIMULATED


def test_heartbeat_advances(rig: GateRig) -> None:
    plc = rig.plc(beats=False)
    first = plc.read()[Input.HEARTBEAT]
    until(lambda: (plc.read()[Input.HEARTBEAT] - first) % 65536 >= 3, "the heartbeat stands still")


def test_part_passes_after_its_record_is_on_disk_and_marked(rig: GateRig) -> None:
    plc = rig.plc()
    epoch = plc.arm()
    reset = rig.said(LineReset)
    while isinstance(reset, LineReset) and not reset.armed:
        reset = rig.said(LineReset)
    plc.trigger(1, 1000)
    part = rig.part(1)
    assert (part.epoch, part.encoder_pulses) == (epoch, 1000)
    assert plc.outcome(1) is None
    rig.judge(part, Outcome.PASS)
    until(lambda: plc.outcome(1) is Outcome.PASS, "the part does not pass")
    closed = rig.said(PartClosed)
    assert isinstance(closed, PartClosed)
    assert closed.ordinal == part.ordinal
    rig.terminate()
    kinds = [type(r).__name__ for r in rig.records()]
    assert kinds.index("PartOpened") < kinds.index("VerdictRecord") < kinds.index("Published")
    record = verdicts(rig)[1][0]
    assert (record.outcome, record.encoder, record.bundle_sha256) == (Outcome.PASS, 1000, "b" * 64)
    assert record.views[0].strip == b"strip"


def test_reject_and_silence_are_what_they_are_and_counters_reconcile(
    make_rig: Callable[..., GateRig],
) -> None:
    rig = make_rig(deadline_ms=400).start()
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    rig.judge(rig.part(1), Outcome.REJECT)
    until(lambda: plc.outcome(1) is Outcome.REJECT, "no reject")
    plc.trigger(2, 2000)
    until(lambda: plc.outcome(2) is Outcome.NOT_INSPECTED, "silence must end as NOT_INSPECTED")
    part = rig.part(2)
    rig.judge(part, Outcome.PASS)  # too late: counted, changes nothing
    until(lambda: plc.read()[Input.LATE_COUNT] == 1, "the late verdict is not counted")
    assert plc.outcome(2) is Outcome.NOT_INSPECTED
    counters = rig.counters()
    ended = counters["PASS"] + counters["REJECT"] + counters["NOT_INSPECTED"]
    assert counters["TRIGGERS"] == 2 == ended + counters["IN_FLIGHT"]
    assert verdicts(rig)[2][0].reasons == (Reason.DEADLINE_MISSED,)


def test_outcomes_are_published_in_trigger_order(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    plc.trigger(2, 2000)
    first, second = rig.part(1), rig.part(2)
    rig.judge(second, Outcome.PASS)
    plc.set()
    assert plc.outcome(2) is None
    rig.judge(first, Outcome.PASS)
    until(lambda: plc.outcome(2) is Outcome.PASS, "the second part does not pass")
    published = [r.seq for r in rig.records(Published) if isinstance(r, Published)]
    assert published == [1, 2]


def test_arm_with_a_wrong_epoch_is_refused_with_a_code(rig: GateRig) -> None:
    plc = rig.plc()
    epoch = plc.read()[Input.EPOCH]
    plc.set(EPOCH_ECHO=epoch ^ 1, CONTROL=Control.ARM)
    image = plc.read()
    assert (image[Input.STATE], image[Input.ERROR_CODE]) == (StationState.READY, 6)
    plc.arm()
    assert plc.read()[Input.ERROR_CODE] == 0


def test_unarmed_triggers_and_the_baseline_are_not_judged(rig: GateRig) -> None:
    plc = rig.plc()
    plc.trigger(5, 1000)
    plc.set()
    assert rig.counters()["TRIGGERS"] == 0
    plc.arm()
    assert rig.counters()["TRIGGERS"] == 0
    plc.trigger(6, 2000)
    assert rig.part(6).ordinal == 1


def test_skipped_trigger_is_not_inspected_and_flagged(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(2, 2000)  # 1 was never written into its slot
    until(lambda: plc.outcome(1) is Outcome.NOT_INSPECTED, "the skipped number has no outcome")
    assert Status.MISSED_TRIGGER in Status(plc.read()[Input.STATUS])
    assert verdicts(rig)[1][0].reasons == (Reason.TRIGGER_MISSED,)
    assert verdicts(rig)[1][0].encoder is None


def test_jump_of_the_trigger_number_asks_for_a_resync(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    rig.part(1)
    plc.trigger(500, 9000)
    until(lambda: plc.outcome(1) is Outcome.NOT_INSPECTED, "what is in flight must be closed")
    image = plc.read()
    assert Status.RESYNC_NEEDED in Status(image[Input.STATUS])
    assert image[Input.STATE] == StationState.READY
    plc.set(CONTROL=0)
    plc.set(CONTROL=Control.RESYNC)
    assert Status.RESYNC_NEEDED not in Status(plc.read()[Input.STATUS])
    plc.arm()


def test_frozen_plc_drops_ready_and_closes_what_is_open(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    rig.part(1)
    plc.beats = False
    until(lambda: plc.outcome(1) is Outcome.NOT_INSPECTED, "a dead PLC's parts must be closed")
    assert verdicts(rig)[1][0].reasons == (Reason.PLC_LOST,)
    assert plc.state() == StationState.INITIALIZED
    assert Status.READY not in Status(plc.read()[Input.STATUS])
    plc.beats = True
    epoch = plc.read()[Input.EPOCH]
    assert plc.arm() == epoch  # the epoch is kept


def test_lost_camera_closes_open_parts_and_the_line_rearms(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    rig.part(1)
    rig.frozen.add("camera:sim0")
    until(lambda: plc.outcome(1) is Outcome.NOT_INSPECTED, "a lost camera's parts must be closed")
    assert verdicts(rig)[1][0].reasons == (Reason.CAMERA_LOST,)
    assert plc.state() == StationState.INITIALIZED
    assert "camera:sim0 is silent" in rig.gate_row.text
    rig.frozen.clear()
    plc.arm()


def test_inspector_without_its_engine_is_an_engine_fault(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    rig.part(1)
    rig.states["inspector"] = ProcessState.DEGRADED
    until(lambda: plc.outcome(1) is Outcome.NOT_INSPECTED, "the part must be closed")
    assert verdicts(rig)[1][0].reasons == (Reason.ENGINE_FAULT,)


def test_halt_then_reset_leads_back_to_ready_not_to_execution(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    rig.part(1)
    plc.set(CONTROL=Control.ARM | Control.HALT)
    assert plc.state() == StationState.HALTED
    assert plc.outcome(1) is Outcome.NOT_INSPECTED
    plc.set(CONTROL=Control.ARM | Control.RESET_ERROR)
    until(lambda: plc.state() == StationState.READY, "reset does not lead back")
    plc.arm()


def test_unknown_recipe_stops_the_line_with_a_code(rig: GateRig) -> None:
    plc = rig.plc()
    plc.set(RECIPE_REQUEST=12, CONTROL=Control.PREPARE_RECIPE)
    assert Status.RECIPE_OK in Status(plc.read()[Input.STATUS])
    plc.set(CONTROL=0)
    plc.set(RECIPE_REQUEST=99, CONTROL=Control.PREPARE_RECIPE)
    image = plc.read()
    assert (image[Input.STATE], image[Input.ERROR_CODE]) == (StationState.INITIALIZED, 5)
    assert Status.RECIPE_OK not in Status(image[Input.STATUS])
    plc.set(CONTROL=0)
    plc.set(RECIPE_REQUEST=12, CONTROL=Control.PREPARE_RECIPE)
    plc.arm()


def test_mismatch_at_the_bin_asks_for_a_line_stop_until_acknowledged(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    rig.judge(rig.part(1), Outcome.REJECT)
    until(lambda: plc.outcome(1) is Outcome.REJECT, "no reject")
    plc.dispose(1, 3)
    plc.set(PART_ID_SEQ=1, PART_ID=0x4142)
    stop = Status.LINE_STOP_REQUEST | Status.REJECT_CONFIRM_FAULT
    assert stop in Status(plc.read()[Input.STATUS])
    plc.set(CONTROL=Control.ARM | Control.ACK_LINE_STOP)
    assert not stop & Status(plc.read()[Input.STATUS])
    assert [r.disposition for r in rig.records(DispositionRecord) if isinstance(r, DispositionRecord)] == [3]
    assert [r.part_id for r in rig.records(PartIdentified) if isinstance(r, PartIdentified)] == ["AB"]


def test_consecutive_rejects_ask_for_a_line_stop(make_rig: Callable[..., GateRig]) -> None:
    rig = make_rig(station="consecutive_rejects_stop = 2").start()
    plc = rig.plc()
    plc.arm()
    for seq in (1, 2):
        plc.trigger(seq, 1000 * seq)
        rig.judge(rig.part(seq), Outcome.REJECT)
    until(
        lambda: Status.CONSECUTIVE_REJECTS | Status.LINE_STOP_REQUEST in Status(plc.read()[Input.STATUS]),
        "no line stop is asked for",
    )


def test_restart_has_a_new_epoch_and_closes_what_was_in_flight(rig: GateRig) -> None:
    plc = rig.plc()
    epoch = plc.arm()
    plc.trigger(1, 1000)
    rig.judge(rig.part(1), Outcome.PASS)
    until(lambda: plc.outcome(1) is Outcome.PASS, "the part does not pass")
    plc.trigger(2, 2000)
    rig.part(2)
    rig.kill()
    plc.close()
    rig.start()
    assert rig.counters()["EPOCH"] != epoch
    again = rig.plc()
    assert again.outcome(1) is None
    assert again.outcome(2) is None
    last = {seq: found[-1] for seq, found in verdicts(rig).items()}
    assert last[1].outcome is Outcome.PASS
    assert (last[2].outcome, last[2].reasons) == (Outcome.NOT_INSPECTED, (Reason.RESTART,))
    assert last[2].epoch == epoch
    verify(rig.config.journal_dir)
    # what an inspector of before still says about the old epoch changes nothing
    again.set(NEWEST_TRIGGER_SEQ=2)
    again.arm()
    assert rig.counters()["TRIGGERS"] == 0


def test_gate_that_stood_still_passes_nothing_that_was_open(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    part = rig.part(1)
    with rig.stopped():
        rig.judge(part, Outcome.PASS)  # waits in the link when the gate wakes up
        woke = rig.gate_row.heartbeat_ns
        until(lambda: rig.gate_row.age_ns(time.monotonic_ns()) > 300_000_000, "time stands still")
        assert rig.gate_row.heartbeat_ns == woke
    until(lambda: plc.outcome(1) is not None, "the part has no outcome")
    assert plc.outcome(1) is Outcome.NOT_INSPECTED
    events = [r.kind for r in rig.records(LineEvent) if isinstance(r, LineEvent)]
    assert "frozen" in events


def test_sigterm_closes_open_parts_syncs_and_exits_zero(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    rig.part(1)
    assert rig.terminate() == 0
    assert verdicts(rig)[1][-1].outcome is Outcome.NOT_INSPECTED
    assert isinstance(rig.records()[-1], Stopped)
    assert verify(rig.config.journal_dir).torn_bytes == 0


def test_port_in_use_is_one_sentence_and_exit_3(rig: GateRig) -> None:
    fd = rig.link.fileno()
    text = rig.path.read_text(encoding="utf-8").replace("port = 0", f"port = {rig.port}")
    other = rig.folder / "other.toml"
    other.write_text(text.replace(str(rig.folder / "data"), str(rig.folder / "data2")), encoding="utf-8")
    config = load_config(other)
    config.shm_dir.mkdir()
    board = Board.create(config.board_path, config.board_rows())
    done = subprocess.run(
        [sys.executable, "-m", "inspection.gate", "--config", str(other), "--links", f"inspector={fd}"],
        pass_fds=[fd],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    board.close()
    config.board_path.unlink()
    config.shm_dir.rmdir()
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert f"port {rig.port} on 127.0.0.1 is in use" in done.stderr


def test_gate_imports_neither_torch_nor_database_nor_web() -> None:
    code = (
        "import sys, inspection.gate; "
        "print([m for m in ('torch', 'sqlalchemy', 'fastapi', 'starlette', 'uvicorn', 'cv2', 'numpy', "
        "'harvesters', 'openvino', 'onnxruntime', 'station_app') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_started_record_says_what_the_run_rests_on(rig: GateRig) -> None:
    started = rig.records(Started)[0]
    assert isinstance(started, Started)
    assert started.epoch == rig.gate_row.get(GateCounter.EPOCH)
    assert started.recipe_sha256 == RECIPE.sha256
    assert started.station == "test"


def test_disk_that_fails_stops_pass_until_reset_finds_it_working(rig: GateRig) -> None:
    plc = rig.plc()
    plc.arm()
    plc.trigger(1, 1000)
    part = rig.part(1)
    assert rig.process is not None
    # the kernel refuses every further write of this process: no patch, no port
    none = (4096, resource.RLIM_INFINITY)
    before = resource.prlimit(rig.process.pid, resource.RLIMIT_FSIZE, none)
    rig.judge(part, Outcome.PASS)
    until(lambda: plc.outcome(1) is not None, "the part has no outcome")
    assert plc.outcome(1) is Outcome.NOT_INSPECTED
    image = plc.read()
    assert (image[Input.STATE], image[Input.ERROR_CODE]) == (StationState.ERROR, 1)
    plc.set(CONTROL=Control.RESET_ERROR)
    assert plc.state() == StationState.ERROR  # the disk still refuses
    resource.prlimit(rig.process.pid, resource.RLIMIT_FSIZE, before)
    plc.set(CONTROL=0)
    plc.set(CONTROL=Control.RESET_ERROR)
    until(lambda: plc.state() == StationState.READY, "reset does not lead to Ready")
    plc.arm()
    plc.trigger(2, 2000)
    rig.judge(rig.part(2), Outcome.PASS)
    until(lambda: plc.outcome(2) is Outcome.PASS, "the part does not pass")
    assert rig.terminate() == 0
    assert verify(rig.config.journal_dir).torn_bytes == 0
    last = verdicts(rig)[1][-1]
    assert (last.outcome, last.reasons) == (Outcome.NOT_INSPECTED, (Reason.JOURNAL_FAULT,))
