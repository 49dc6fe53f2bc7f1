# SPDX-License-Identifier: AGPL-3.0-or-later
"""Memory over a long run: no process of the station grows with the number of parts (make soak)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inspection.twin.audit import audit
from inspection.twin.line import SimulatedLine
from tests.line.toy_bundle import toy_options

EARLY, LATE = (int(n) for n in os.environ.get("GATESIGHT_SOAK_PARTS", "2000,20000").split(","))
RATE = 25.0


def rss_kib(pids: dict[str, int]) -> dict[str, int]:
    """Resident memory of each process, private and shared."""
    out = {}
    for role, pid in pids.items():
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                out[role] = int(line.split()[1])
    return out


@pytest.mark.soak
@pytest.mark.serial
@pytest.mark.timeout(int(3 * LATE / RATE) + 300)
def test_memory_after_twenty_thousand_parts_is_that_after_two_thousand(tmp_path: Path) -> None:
    options = toy_options(tmp_path, parts=LATE, rate_parts_per_s=RATE, seed=77)
    with SimulatedLine(options, tmp_path / "data") as line:
        line.start()
        assert line.run(2 * EARLY / RATE + 60, lambda: line.plc_status()["parts"] >= EARLY)
        before = line.read_board()
        assert before is not None
        early = rss_kib(before.pids)
        assert line.run(2 * LATE / RATE + 120, lambda: line.finished)
        after = line.read_board()
        assert after is not None
        assert after.pids == before.pids, "a process was restarted"
        late = rss_kib(after.pids)
        line.finish()
        report = audit(line)
    print({role: f"{early[role]} -> {late[role]} KiB" for role in early})
    assert report["why_not"] == []
    grown = {role: late[role] / early[role] for role in early if late[role] > 1.05 * early[role]}
    assert not grown, grown
