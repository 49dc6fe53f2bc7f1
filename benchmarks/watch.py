# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often the watch withdraws a bad bundle in time, and a good one for nothing.

    python -m benchmarks.watch [--runs 2000] [--seeds 1 2 3] [--json FILE]

Each run draws its own baseline (`--baseline` reviewed good parts of the bundle before, at 2 % overkill), then a
bundle that is as good (20,000 parts: a withdrawal is false) and one whose overkill is 6 % (1,000 parts: it must
go). Beside it
stands the test that looks right and is not: a binomial test of fixed size, looked at after every part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from inspection.statistics import lower_bound, upper_bound
from weights.watch import OVERKILL_ALPHA, Baseline, SequentialTest

GOOD_SHARE, BAD_SHARE = 0.02, 0.06
GOOD_PARTS, BAD_PARTS = 20_000, 1_000
Rule = Callable[[Baseline, np.ndarray], np.ndarray]


def sequential(baseline: Baseline, bad: np.ndarray) -> np.ndarray:
    """At which part each row's bundle is withdrawn, 0 for never; rows (runs, parts), the product of
    weights.watch.

    The same product as `SequentialTest`, for many runs at once; tests/weights/test_watch.py holds the two
    together.
    """
    test = SequentialTest("overkill", baseline, OVERKILL_ALPHA)
    tried, p0, limit = test.tried, test.against, test.limit
    counted = np.cumsum(bad, axis=1, dtype=np.int32)
    parts = np.arange(1, bad.shape[1] + 1, dtype=np.int32)
    factor = np.zeros(bad.shape)
    for q in tried:
        factor += np.exp(counted * np.log(q / p0) + (parts - counted) * np.log((1 - q) / (1 - p0)))
    return _first(factor / len(tried) >= limit)


def peeking(baseline: Baseline, bad: np.ndarray) -> np.ndarray:
    """The seeded bug: a 5 % test of fixed size, asked after every part (from the 30th on)."""
    p0 = baseline.events / baseline.trials
    counted = np.cumsum(bad, axis=1, dtype=np.int32)
    parts = np.arange(1, bad.shape[1] + 1, dtype=np.int32)
    z = (counted - parts * p0) / np.sqrt(parts * p0 * (1 - p0))
    return _first((z > 1.6449) & (parts >= 30))


def _first(reached: np.ndarray) -> np.ndarray:
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, 0)


def withdrawn(rule: Rule, *, share: float, parts: int, runs: int, trials: int, seed: int) -> tuple[int, float]:
    """How many of `runs` bundles of that share the rule withdraws, and the median part at which it does."""
    chance = np.random.default_rng(seed)
    at: list[int] = []
    for _ in range(runs):
        baseline = Baseline(events=int(chance.binomial(trials, GOOD_SHARE)), trials=trials)
        at.append(int(rule(baseline, chance.random((1, parts)) < share)[0]))
    found = [part for part in at if part]
    return len(found), float(np.median(found)) if found else 0.0


def measure(runs: int, seeds: Sequence[int], trials: int) -> list[dict[str, object]]:
    """One row a seed and rule."""
    rows: list[dict[str, object]] = []
    rules: dict[str, Rule] = {"sequential": sequential, "fixed size, peeked at": peeking}
    for seed in seeds:
        for name, rule in rules.items():
            caught, median = withdrawn(
                rule, share=BAD_SHARE, parts=BAD_PARTS, runs=runs, trials=trials, seed=seed
            )
            false, _ = withdrawn(
                rule, share=GOOD_SHARE, parts=GOOD_PARTS, runs=runs, trials=trials, seed=seed + 1000
            )
            rows.append(
                {
                    "rule": name,
                    "seed": seed,
                    "runs": runs,
                    "baseline": trials,
                    "caught": caught / runs,
                    "caught_lower_95": lower_bound(caught, runs),
                    "median_part": median,
                    "false": false / runs,
                    "false_upper_95": upper_bound(false, runs),
                }
            )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the table; 1 when the watch misses one of its two promises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--baseline", type=int, default=2000, help="reviewed good parts of the bundle before")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    rows = measure(given.runs, given.seeds, given.baseline)
    for row in rows:
        sys.stdout.write(
            f"{row['rule']:<22} seed {row['seed']}: 2 % -> 6 % withdrawn within {BAD_PARTS} parts in"
            f" {row['caught']:.1%} (at least {row['caught_lower_95']:.1%}; median part"
            f" {row['median_part']:.0f}); withdrawn for nothing within {GOOD_PARTS} in {row['false']:.2%}"
            f" (at most {row['false_upper_95']:.2%})\n"
        )
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    kept = all(row["caught"] >= 0.95 and row["false"] <= 0.05 for row in rows if row["rule"] == "sequential")  # type: ignore[operator]
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
