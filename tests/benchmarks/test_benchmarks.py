# SPDX-License-Identifier: AGPL-3.0-or-later
"""The benchmarks run and write what they promise; their figures are not judged here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import gil, overhead, split
from benchmarks.nets import convolution_net


@pytest.mark.serial
def test_overhead_reports_ratio_and_null_cost(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    assert overhead.main(["--json", str(path), "--seconds", "0.3", "--rounds", "2"]) == 0
    report = json.loads(path.read_text())
    assert report["ratio"] > 0
    assert len(report["ratios"]) == 2
    assert report["bare_fps"] > 0
    assert report["full_fps"] > 0
    assert report["cpu_ratio"] > 0
    assert report["feeder_cpu_us"] > 0
    assert report["split_us"].keys() == split.STAGES.keys()
    assert all(us > 0 for us in report["split_us"].values())
    assert report["null_engine"]["cpu_us"] > 0
    assert report["null_engine"]["parts"] > 10


@pytest.mark.serial
def test_gil_reports_the_timer_alone_and_beside_cameras(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    assert gil.main(["--json", str(path), "--seconds", "0.3", "--rounds", "1"]) == 0
    report = json.loads(path.read_text())
    for name in ("alone", "beside_four_waiting_cameras", "camera_in_same_process"):
        assert report[name]["max_us"] >= report[name]["p50_us"] >= 0
    # the reason for a process a camera: a wait of 100 ms in our own process stops our clock for as long
    assert report["camera_in_same_process"]["max_us"] > 50_000


def test_slept_through_ticks_count_once() -> None:
    late = gil.lateness_us(0.05)
    assert 1 <= len(late) <= 51
    assert gil.summary(np.array([1.0, 2.0, 3.0]))["max_us"] == 3.0


def test_the_made_up_network_is_plain_onnx() -> None:
    onnx.checker.check_model(onnx.load_model_from_string(convolution_net(64)))
