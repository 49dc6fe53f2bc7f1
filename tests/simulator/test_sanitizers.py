# SPDX-License-Identifier: AGPL-3.0-or-later
"""The same promises on a build with sanitizers: address, undefined behaviour, and threads."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from cameras.simulator.build import DEFAULT_OUT, build
from cameras.simulator.device_xml import addresses
from cameras.simulator.feed import Feed
from inspection.types import StationFault
from tests.simulator.conftest import child_environment, run_scenarios

HERE = Path(__file__).resolve().parent
# A report names the sanitizer; a frame of ours names a source file of the producer.
REPORT = re.compile(r"(AddressSanitizer|runtime error:|ThreadSanitizer|LeakSanitizer)")


def _runtime(name: str) -> str:
    """Path of a sanitizer's runtime library, which must be loaded before an uninstrumented Python."""
    compiler = os.environ.get("CC") or "cc"
    found = subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(found).is_absolute(), f"{compiler} has no {name}: install libasan and libubsan of its version"
    return found


def test_no_address_or_undefined_behaviour_report(line_dir: Path) -> None:
    producer = build(sanitize="address,undefined")
    results, errors = run_scenarios(
        producer,
        line_dir,
        LD_PRELOAD=f"{_runtime('libasan.so')} {_runtime('libubsan.so')}",
        # Python keeps memory at exit by design, and genicam 1.6.0's own binding frees new[] with delete when an
        # EventManager is asked for its data; a bad access still ends the child at once.
        ASAN_OPTIONS="detect_leaks=0:alloc_dealloc_mismatch=0:abort_on_error=0:exitcode=86",
        UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:exitcode=87",
    )
    assert not REPORT.search(errors), errors[-6000:]
    assert not {name: text for name, text in results.items() if text}


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_threads_that_start_stop_read_and_write_at_once(sanitizer: str, line_dir: Path) -> None:
    """A C program hammers one camera from several threads, with no Python between."""
    producer = build(sanitize=sanitizer)
    program = DEFAULT_OUT / sanitizer.replace(",", "-") / "hammer"
    compiler = os.environ.get("CC") or "cc"
    made = subprocess.run(
        [
            *(compiler, "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", f"-fsanitize={sanitizer}"),
            *("-pthread", "-I", str(producer.parent), "-o", str(program), str(HERE / "hammer.c"), "-ldl"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    environment = child_environment(
        line_dir,
        HAMMER_REGISTERS="".join(f"{name}={address}," for name, address in addresses().items()),
        TSAN_OPTIONS="exitcode=88",
        ASAN_OPTIONS="detect_leaks=1",
    )
    out, err = line_dir / "out", line_dir / "err"
    with out.open("w") as stdout, err.open("w") as stderr, Feed(line_dir, "LS0001", 64, 48) as feed:
        hammer = subprocess.Popen([str(program), str(producer)], stdout=stdout, stderr=stderr, env=environment)
        picture = np.zeros((48, 64), np.uint8)
        give_up = time.monotonic() + 120
        while hammer.poll() is None and time.monotonic() < give_up:
            feed.push(picture, feed.waiting, wait_s=0.02)
        hammer.kill()
        hammer.wait(timeout=20)
        accepted = feed.edges_accepted
    assert not REPORT.search(err.read_text()), err.read_text()[-6000:]
    assert hammer.returncode == 0, (out.read_text() + err.read_text())[-3000:]
    assert "frames" in out.read_text()
    assert accepted > 0, "no edge of the feed was ever taken"


def test_a_sanitizer_the_compiler_does_not_know_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StationFault, match="could not build"):
        build(tmp_path, "no-such-sanitizer")
