# SPDX-License-Identifier: AGPL-3.0-or-later
"""The simulated line over several seeds, pooled: escapes, overkill and not-inspected with exact bounds.

    python -m benchmarks.line --seeds 1 2 3 4 5 --parts 2000 --rate 10 --cameras 2 --json FILE

Each seed is one run of the demo as any user would start it; its own report is kept beside FILE.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from inspection.statistics import upper_bound

_MUST_BE_ZERO = ("false_pass", "late_pass", "mispaired")


def run_seed(seed: int, report: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run; its report. A run whose counts do not reconcile says so in it and is kept."""
    command = [sys.executable, "-m", "inspection.twin.demo", "--headless", "--json", str(report)]
    command += ["--seed", str(seed), "--parts", str(arguments.parts), "--rate", str(arguments.rate)]
    command += ["--cameras", str(arguments.cameras)]
    command += ["--drop-frames", str(arguments.drop_frames), "--skip-triggers", str(arguments.skip_triggers)]
    if arguments.bundle is not None:
        command += ["--bundle", str(arguments.bundle)]
    if arguments.source is not None:
        command += ["--source", str(arguments.source)]
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if not report.exists():
        raise SystemExit(f"the run with seed {seed} ended with exit code {code} and made no report")
    return {**json.loads(report.read_text(encoding="utf-8")), "exit_code": code}


def share(count: int, of: int) -> dict[str, Any]:
    """Count, share and exact one-sided 95 % upper bound."""
    return {
        "count": count,
        "of": of,
        "share": count / of if of else None,
        "upper_95": upper_bound(count, of) if of else None,
    }


def pool(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over all runs; parts that were not inspected count apart from escapes and overkill."""

    def total(*path: str) -> int:
        number = 0
        for report in reports:
            value: Any = report
            for key in path:
                value = value[key]
            number += value
        return number

    by_size: dict[str, dict[str, int]] = {}
    for report in reports:
        for name, row in report["escapes_by_size"]["above_limit"].items():
            sums = by_size.setdefault(name, {"parts": 0, "judged": 0, "escapes": 0})
            for key in sums:
                sums[key] += row[key]
    return {
        "runs": len(reports),
        "reconciled": all(r["reconciled"] and r["exit_code"] == 0 for r in reports),
        "triggers": total("triggers"),
        **{name: total("truth", name) for name in _MUST_BE_ZERO},
        "below_limit_share": share(total("truth", "below_limit"), total("truth", "defective")),
        "escapes_above_limit": share(
            total("truth", "escapes_above_limit"), total("truth", "bounds", "escapes_above_limit", "of")
        ),
        "escapes_all": share(total("truth", "escapes"), total("truth", "bounds", "escapes", "of")),
        "overkill": share(total("truth", "overkill"), total("truth", "bounds", "overkill", "of")),
        "not_inspected": share(total("not_inspected"), total("triggers")),
        "escapes_by_size_above_limit": by_size,
        "trigger_to_verdict_p99_ms": [r["latency_ms"]["trigger_to_verdict"]["p99"] for r in reports],
        "deadline_ms": [r["deadline_ms"] for r in reports],
        "engine_load": [r.get("engine_load") for r in reports],
        "affected_judged": sum(len(r["faults_injected"]["affected_judged"]) for r in reports),
        "affected": total("faults_injected", "affected"),
    }


def main(argv: list[str] | None = None) -> int:
    """Run, pool, print; 0 when every run reconciled and nothing happened that never may."""
    parser = argparse.ArgumentParser(prog="benchmarks.line", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--drop-frames", type=float, default=0.0)
    parser.add_argument("--skip-triggers", type=float, default=0.0)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args(argv)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    reports = []
    for seed in arguments.seeds:
        report = arguments.json.with_name(f"{arguments.json.stem}-seed{seed}.json")
        reports.append(run_seed(seed, report, arguments))
        print(f"seed {seed}: {json.dumps(pool(reports[-1:]))}", flush=True)
    pooled = pool(reports)
    arguments.json.write_text(json.dumps(pooled, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(pooled, indent=1))
    return 0 if pooled["reconciled"] and not any(pooled[name] for name in _MUST_BE_ZERO) else 1


if __name__ == "__main__":
    sys.exit(main())
