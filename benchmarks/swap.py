# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a change of bundle costs the parts on the belt meanwhile, within one run of the simulated line.

    python -m benchmarks.swap [--swaps 10] [--rate 4] [--quiet-s 6] [--bundle DIR] [--json FILE]

Two bundles of the same network take turns. Each part's time from its last picture to its verdict is read from
the journal; parts that came between an order and its taking stand beside all others of the same run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inspection.journal_reader import read
from inspection.journal_records import VerdictRecord
from inspection.twin.audit import audit
from inspection.twin.layout import LineOptions
from inspection.twin.line import SimulatedLine
from inspection.types import Outcome, StationFault
from weights.bundle import TRUSTED_HERE, load_bundle, trust_bundle, write_bundle
from weights.registry import Registry

DEFAULT = Path(__file__).parents[1] / "weights" / "default"


def twins(folder: Path, bundle: Path) -> tuple[Path, Path, Path]:
    """Two bundles of one network under two names, signed anew, and the folder that trusts them."""
    known, key = load_bundle(bundle, [TRUSTED_HERE]), Ed25519PrivateKey.generate()
    for name in ("one", "two"):
        card = known.card.model_copy(update={"name": name})
        write_bundle(folder / name, model=known.model, card=card, key=key, recipe=known.recipe)
    trust_bundle(folder / "one", folder / "trusted")
    return folder / "one", folder / "two", folder / "trusted"


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run with all its swaps."""
    first, second, trusted = twins(folder, given.bundle)
    options = LineOptions(bundle=first, trusted=(trusted,), rate_parts_per_s=given.rate, seed=5)
    spans: list[tuple[int, int]] = []
    with SimulatedLine(options, folder / "data") as line:
        line.start()
        line.run(given.quiet_s)
        config = line.config
        if config is None:
            raise StationFault("The line was never prepared.")
        registry = Registry(config.registry_dir, config.station.trusted)
        registry.adopt(first, who="benchmark", why="begin")
        registry.add(second, who="benchmark", why="the other one")
        for _ in range(given.swaps):
            standing = registry.standing
            wanted = next(sha for sha in standing.states if sha != standing.active)
            asked_ns = time.monotonic_ns()
            registry.promote(wanted, who="benchmark", why="turn", expected_active=standing.active, facts={})
            if not line.run(60.0, lambda sha=wanted: sha[:12] in _inspector_text(line)):
                raise StationFault(f"The inspector did not take bundle {wanted[:12]} within 60 s.")
            spans.append((asked_ns, time.monotonic_ns()))
            line.run(given.quiet_s)
        line.finish()
        report = audit(line)
    return _figures(config.journal_dir, spans) | {
        "parts": sum(report[key] for key in ("pass", "reject", "not_inspected")),
        "not_inspected": report["not_inspected"],
        "why_not": report["why_not"],
    }


def _inspector_text(line: SimulatedLine) -> str:
    reading = line.read_board()
    return "" if reading is None else reading.texts["inspector"]


def _figures(journal: Path, spans: list[tuple[int, int]]) -> dict[str, Any]:
    swapping: list[float] = []
    quiet: list[float] = []
    lost: dict[str, dict[str, int]] = {"quiet": {}, "swapping": {}}
    for entry in read(journal):
        record = entry.record
        if not isinstance(record, VerdictRecord):
            continue
        inside = any(begin <= record.trigger_ns <= end for begin, end in spans)
        if record.outcome is Outcome.NOT_INSPECTED:
            reasons, why = lost["swapping" if inside else "quiet"], record.reasons[0].value
            reasons[why] = reasons.get(why, 0) + 1
        elif record.judged_ns is not None and record.ready_ns is not None:
            (swapping if inside else quiet).append((record.judged_ns - record.ready_ns) / 1e6)
    took_s = [(end - begin) / 1e9 for begin, end in spans] or [0.0]
    figures: dict[str, Any] = {
        "swaps": len(spans),
        "swap_s_median": round(float(np.median(took_s)), 2),
        "swap_s_worst": round(max(took_s), 2),
        "not_inspected_why": lost,
    }
    for name, taken in (("quiet", quiet), ("swapping", swapping)):
        figures[name] = {"parts": len(taken)} | {
            f"p{q}_ms": round(float(np.percentile(taken, q)), 1) for q in (50, 95, 99) if taken
        }
    for q in (50, 95, 99):
        if quiet and swapping:
            figures[f"ratio_p{q}"] = round(figures["swapping"][f"p{q}_ms"] / figures["quiet"][f"p{q}_ms"], 2)
    return figures


def main(argv: list[str] | None = None) -> int:
    """Print the figures as JSON; 1 when a part was lost on an idle box's account, 3 when it could not run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--rate", type=float, default=4.0, help="parts a second")
    parser.add_argument("--quiet-s", type=float, default=6.0, help="between two swaps")
    parser.add_argument("--bundle", type=Path, default=DEFAULT)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="gatesight-swap-"))
    try:
        figures = measure(given, folder)
    except StationFault as e:
        sys.stderr.write(f"{e}\n")
        return 3
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = json.dumps(figures, indent=1)
    if given.json is not None:
        given.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 0 if not figures["why_not"] else 1


if __name__ == "__main__":
    sys.exit(main())
