# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole line, small: real station, simulated cameras, soft PLC, and the report that must close."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspection.journal_reader import verify
from inspection.twin.audit import audit
from inspection.twin.chance import frame_dropped, trigger_skipped
from inspection.twin.line import SimulatedLine
from tests.line.toy_bundle import toy_options, write_toy_bundle

pytestmark = [pytest.mark.serial, pytest.mark.timeout(180)]


def run_line(folder: Path, **options: Any) -> tuple[dict[str, Any], SimulatedLine]:
    with SimulatedLine(toy_options(folder, **options), folder / "data") as line:
        line.start()
        assert line.run(120, lambda: line.finished), "the parts never came through"
        line.finish()
        return audit(line), line


def test_every_part_gets_one_outcome_and_lies_in_its_bin(tmp_path: Path) -> None:
    report, line = run_line(tmp_path, parts=60, rate_parts_per_s=10.0, seed=11)
    assert report["why_not"] == []
    assert report["reconciled"]
    assert report["triggers"] == report["plc_triggers"] == 60
    assert report["pass"] + report["reject"] + report["not_inspected"] == 60
    assert report["pass"] > 30
    assert report["reject"] > 3
    assert report["truth"]["false_pass"] == report["truth"]["late_pass"] == report["truth"]["mispaired"] == 0
    assert report["truth"]["undecodable_strips"] == 0
    assert report["frames"]["triggers"] == report["frames"]["delivered"] == 120
    assert report["diverted_total"] == 60 - report["bins"]["pass"]
    assert line.config is not None
    assert verify(line.config.journal_dir).torn_bytes == 0


def test_lost_pictures_and_skipped_triggers_are_never_judged(tmp_path: Path) -> None:
    seed, parts, drop, skip = 5, 100, 0.03, 0.03
    report, _ = run_line(
        tmp_path, parts=parts, rate_parts_per_s=10.0, seed=seed, drop_share=drop, skip_share=skip
    )
    skipped = {k for k in range(parts) if trigger_skipped(seed, k, parts, skip)}
    lost = {k for k in range(parts) if any(frame_dropped(seed, k, v, drop) for v in (0, 1))}
    assert skipped
    assert lost
    assert report["why_not"] == []
    assert report["faults_injected"]["affected"] == len(skipped | lost)
    assert report["faults_injected"]["affected_judged"] == report["faults_injected"]["affected_passed"] == []
    assert report["not_inspected"] >= len(skipped | lost)
    assert report["not_inspected_by_reason"]["trigger_missed"] == len(skipped)
    assert report["truth"]["mispaired"] == report["truth"]["false_pass"] == report["truth"]["late_pass"] == 0


def test_an_engine_that_hangs_costs_its_parts_and_nothing_else(tmp_path: Path) -> None:
    steps = [{"frame_id": [20], "camera": 0, "do": "raise"}, {"frame_id": [30], "camera": 1, "do": "nonsense"}]
    report, _ = run_line(tmp_path, parts=50, rate_parts_per_s=10.0, seed=2, steps=steps)
    assert report["why_not"] == []
    assert 1 <= report["not_inspected"] <= 20
    assert report["not_inspected_by_reason"].get("engine_fault", 0) >= 1
    assert report["pass"] >= 30


def demo_command(folder: Path, *more: str) -> list[str]:
    bundle, trusted = write_toy_bundle(folder)
    return [
        *(sys.executable, "-m", "inspection.twin.demo", "--bundle", str(bundle), "--trusted", str(trusted)),
        *("--headless", "--rate", "8", "--json", str(folder / "r.json"), *more),
    ]


def test_the_command_ends_by_itself_and_writes_its_report(tmp_path: Path) -> None:
    done = subprocess.run(
        demo_command(tmp_path, "--parts", "40", "--seed", "4"),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    wanted = (
        "triggers pass reject not_inspected in_flight not_inspected_by_reason truth escapes_by_size "
        "diverted_total latency_ms deadline_ms frames parts_per_s bundle recipe epoch seed engine_load "
        "reconciled why_not"
    )
    assert set(wanted.split()) <= set(report)
    assert {"p50", "p99", "p99_9", "max"} == set(report["latency_ms"]["trigger_to_verdict"])
    assert report["triggers"] == 40
    assert report["seed"] == 4
    assert "The counts reconcile." in done.stdout
    assert "was not made for these parts" in report["notes"][0]  # the toy bundle knows bright and dark
    assert report["notes"][0] in done.stdout


def test_ctrl_c_gives_the_report_as_well(tmp_path: Path) -> None:
    process = subprocess.Popen(
        demo_command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    assert process.stdout is not None
    try:
        for text in process.stdout:
            if "The line runs" in text:
                break
        time.sleep(4)  # some parts on the belt, some past the gate
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, rest
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["reconciled"]
    assert report["in_flight"] == 0
    assert report["triggers"] >= 10


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bundle", "/nowhere"], "No bundle at /nowhere"),
        (["--source", "/nowhere.json"], "/nowhere.json"),
        (["--drop-frames", "2"], "no share"),
        (["--rate", "0"], "choose"),
        (["--json", "/proc/nowhere/r.json"], "give another --json"),
    ],
)
def test_bad_input_is_one_sentence_and_a_non_zero_exit(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = subprocess.run(
        [*demo_command(tmp_path, "--parts", "3"), *arguments],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode in (2, 3)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "RGB"])
def test_photographs_of_several_sizes_go_the_same_way(tmp_path: Path, colour: bool) -> None:
    """Letterboxed, stamped, through camera, engine and gate: each part once, known for what it is."""
    rng = np.random.default_rng(4)
    images: list[dict[str, Any]] = []
    for i in range(8):
        shape = (64 + 16 * (i % 3), 248 + 24 * (i % 2), *((3,) if colour else ()))
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(tmp_path / f"{i}.png")
        size = {"width": shape[1], "height": shape[0]}
        kind = "good" if i % 2 else "blowhole"
        images.append({"id": i, "file_name": f"{i}.png", "image_class": kind, **size})
    images[0]["template_file"] = "7.png"
    coco = tmp_path / "parts.json"
    coco.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    report, line = run_line(tmp_path, coco=coco, parts=18, rate_parts_per_s=6.0, seed=9, views=1)
    assert report["why_not"] == []
    assert (report["truth"]["good"], report["truth"]["defective"]) == (10, 8)
    assert report["detectability_limit"] is None
    assert report["escapes_by_size"]["above_limit"]["unknown"]["parts"] == 8
    assert report["truth"]["mispaired"] == report["truth"]["undecodable_strips"] == 0
    assert report["pass"] + report["reject"] >= 14
    assert (line.frame.width_px, line.frame.height_px) == (272, 96 + 16)
