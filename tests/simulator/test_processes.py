# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two processes and one camera: busy, killed, restarted; and the environment that cannot be right."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cameras.simulator.feed import Feed
from inspection.types import StationFault

Child = Callable[..., "subprocess.Popen[str]"]

HOLD = """
import sys
from pathlib import Path
from tests.simulator.rig import Rig, take
rig = Rig(Path(sys.argv[1]), Path(sys.argv[2]))
with rig.camera() as camera:
    nodes = camera.remote_device.node_map
    nodes.TriggerMode.value, nodes.TriggerSource.value = "On", "Line0"
    nodes.AcquisitionFrameRateEnable.value = False
    nodes.ChunkModeActive.value = True
    camera.start()
    print("ready", flush=True)
    for line in sys.stdin:
        frame = take(camera)
        print(frame["id"], frame["pixel"], frame["encoder"], flush=True)
rig.close()
"""

OPEN = """
import sys
from pathlib import Path
from tests.simulator.rig import Rig
rig = Rig(Path(sys.argv[1]), Path(sys.argv[2]))
print([info.access_status for info in rig.harvester.device_info_list if info.serial_number == "LS0001"])
try:
    with rig.camera():
        print("opened")
except Exception as error:
    print(type(error).__name__, "in use" if "another process" in str(error) else error)
rig.close()
"""


def _grey(value: int) -> np.ndarray:
    return np.full((48, 64), value, np.uint8)


def _ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def _hold(child: Child, producer: Path, folder: Path) -> subprocess.Popen[str]:
    process = child(HOLD, str(producer), str(folder))
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready", process.stderr.read() if process.stderr else ""
    return process


def test_camera_open_in_one_process_is_busy_in_another(child: Child, producer: Path, line_dir: Path) -> None:
    holder = _hold(child, producer, line_dir)
    answer = child(OPEN, str(producer), str(line_dir)).communicate(timeout=60)[0].splitlines()
    assert answer[0] == "[4]", "access status: busy"
    assert "in use" in answer[1], answer
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=20)
    answer = child(OPEN, str(producer), str(line_dir)).communicate(timeout=60)[0].splitlines()
    assert answer == ["[1]", "opened"], "the kernel lets go of a killed process's camera"


def test_consumer_killed_and_restarted_sees_only_new_edges(
    child: Child, producer: Path, line_dir: Path
) -> None:
    with Feed(line_dir, "LS0001", 64, 48) as feed:
        first = _hold(child, producer, line_dir)
        assert feed.wait_acquiring(10)
        feed.push(_grey(1), 10)
        assert _ask(first) == "1 1 10"
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=20)
        assert not feed.acquiring, "a dead process acquires nothing"
        pushed = [feed.push(_grey(100 + i), i) for i in range(feed.slots + 2)]
        assert pushed == [True] * feed.slots + [False] * 2
        second = _hold(child, producer, line_dir)
        assert feed.wait_acquiring(10)
        feed.push(_grey(2), 20)
        assert _ask(second) == "1 2 20"
        assert feed.edges_lost == feed.slots


def test_camera_lost_before_the_start_is_not_in_the_list(child: Child, producer: Path, line_dir: Path) -> None:
    with Feed(line_dir, "LS0001", 64, 48) as feed:
        feed.device_lost()
        answer = child(OPEN, str(producer), str(line_dir)).communicate(timeout=60)[0].splitlines()
        assert answer[0] == "[]"
        feed.device_back()
        answer = child(OPEN, str(producer), str(line_dir)).communicate(timeout=60)[0].splitlines()
        assert answer == ["[1]", "opened"]


def test_impossible_environment_is_named(child: Child, producer: Path, line_dir: Path) -> None:
    code = (
        "import sys; from harvesters.core import Harvester; h = Harvester(); h.add_file(sys.argv[1]); "
        "h.update(); print(len(h.device_info_list)); h.reset()"
    )
    for name, value in (("LINESIM_CAMERAS", "99"), ("LINESIM_WIDTH", "wide")):
        out, err = child(code, str(producer), **{name: value}).communicate(timeout=60)
        assert out.strip() in {"", "0"}
        assert f"{name}={value} must be a whole number" in err


def test_camera_without_a_folder_is_locked_for_the_user(child: Child, producer: Path) -> None:
    code = """
import os, sys
from harvesters.core import Harvester
h = Harvester(); h.add_file(sys.argv[1]); h.update()
a = h.create({"serial_number": "LS0016"})
a.start(); print(a.fetch(timeout=5).module.frame_id)
print(os.path.exists(f"/dev/shm/linesim-{os.getuid()}-LS0016.lock"))
a.destroy(); h.reset()
"""
    out, err = child(code, str(producer), LINESIM_DIR="", LINESIM_CAMERAS="16").communicate(timeout=60)
    assert out.split() == ["1", "True"], err


def test_missing_folder_is_named(child: Child, producer: Path, line_dir: Path) -> None:
    answer = child(OPEN, str(producer), str(line_dir / "gone")).communicate(timeout=60)[0].splitlines()
    assert "LS0001.lock: No such file or directory" in answer[-1]


def test_feed_never_waits_and_counts_what_it_refuses(line_dir: Path) -> None:
    with Feed(line_dir, "LS0007", 64, 48, slots=4) as feed:
        assert [feed.push(_grey(i), i) for i in range(6)] == [True] * 4 + [False] * 2
        assert (feed.waiting, feed.edges_refused, feed.acquiring) == (4, 2, False)
        assert not feed.push(_grey(0), 0, wait_s=0.01)
    assert list(line_dir.iterdir()) == []


def test_feed_refuses_what_does_not_fit(line_dir: Path) -> None:
    with pytest.raises(StationFault, match="power of two"):
        Feed(line_dir, "LS0001", 64, 48, slots=3)
    with pytest.raises(StationFault, match=r"LS0001\.feed: no room or no right"):
        Feed(line_dir / "missing", "LS0001", 64, 48)
    with Feed(line_dir, "LS0001", 64, 48) as feed, pytest.raises(StationFault, match="picture uint8"):
        feed.push(np.zeros((48, 65), np.uint8), 0)


def test_feed_in_a_forked_holder_does_not_outlive_it(child: Child, producer: Path, line_dir: Path) -> None:
    """The lock must not be inherited: a child that a killed station leaves behind does not keep its camera."""
    fork = "import os\n    other = os.fork()\n    other and print(other, flush=True)\n    for line"
    holder = child(HOLD.replace('print("ready", flush=True)\n    for line', fork), str(producer), str(line_dir))
    assert holder.stdout is not None
    orphan = int(holder.stdout.readline())
    try:
        holder.kill()
        holder.wait(timeout=20)
        answer = child(OPEN, str(producer), str(line_dir)).communicate(timeout=60)[0].splitlines()
        assert answer[-1] == "opened", answer
    finally:
        os.kill(orphan, signal.SIGKILL)
