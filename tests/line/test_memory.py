# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nothing grows: the memory of every station process late in a run equals that early in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspection.twin.line import SimulatedLine
from tests.line.killing import is_whole
from tests.line.toy_bundle import toy_options

pytestmark = pytest.mark.serial


def resident_kib(line: SimulatedLine) -> dict[str, int]:
    """Private and shared resident memory of each process on the board, KiB (VmRSS less mapped files)."""
    reading = line.read_board()
    assert reading is not None
    sizes = {}
    for role, pid in reading.pids.items():
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(row.split(":", 1) for row in status.splitlines() if ":" in row)
        # RssShmem is the rings and buffers: preallocated, but pages count only once they have been touched
        sizes[role] = int(fields["RssAnon"].split()[0]) + int(fields["RssFile"].split()[0])
    return sizes


def growth(folder: Path, *, rate: float, early: int, late: int) -> tuple[dict[str, float], dict[str, int]]:
    """Ratio late : early of each process's memory, and the early sizes in KiB."""
    options = toy_options(folder, rate_parts_per_s=rate, views=1, parts=late + 200)
    with SimulatedLine(options, folder / "data") as line:
        line.start()
        assert line.run(120, lambda: is_whole(line) is not None), "not every process came up"

        def closed(count: int) -> bool:
            reading = line.read_board()
            return reading is not None and reading.gate["triggers"] >= count

        assert line.run(early / rate + 60, lambda: closed(early)), "the line did not get going"
        before = resident_kib(line)
        assert line.run((late - early) / rate + 60, lambda: closed(late)), "the line stopped on the way"
        after = resident_kib(line)
        line.finish()
    assert before.keys() == after.keys()
    return {role: after[role] / before[role] for role in before}, before


@pytest.mark.timeout(300)
def test_no_process_grows_between_100_and_500_parts(tmp_path: Path) -> None:
    """The small version: a leak of 100 kB a part would show."""
    ratios, sizes = growth(tmp_path, rate=25, early=100, late=500)
    print(json.dumps({"kib_at_100": sizes, "ratio_at_500": ratios}))
    assert max(ratios.values()) < 1.15, ratios


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_memory_after_20000_parts_is_within_5_percent_of_that_after_2000(tmp_path: Path) -> None:
    ratios, sizes = growth(tmp_path, rate=25, early=2000, late=20000)
    print(json.dumps({"kib_at_2000": sizes, "ratio_at_20000": ratios}))
    assert max(ratios.values()) <= 1.05, ratios
