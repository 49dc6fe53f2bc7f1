# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often the watch withdraws a bad bundle in time, and a good one for nothing.

    python -m benchmarks.watch [--runs 2000] [--seeds 1 2 3] [--json FILE]

Each run draws a line of its own for the bundle before (`--baseline` good parts, 2 % of them rejected), then
one for a bundle that is as good (20,000 good parts: a withdrawal is false) and one whose overkill is 6 % (1,000
good parts: it must go). Both tests of the watch are fed as the station feeds them (inspection/review_home.py):
the overkill of all parts that are good or were passed, and escapes among the passes that the audit drew; people
have judged whatever was drawn. Beside it stands the test that looks right and is not: a binomial test of fixed
size, looked at after every part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspection.statistics import lower_bound, upper_bound
from weights.watch import ESCAPE_ALPHA, OVERKILL_ALPHA, Baseline, SequentialTest

GOOD_SHARE, BAD_SHARE = 0.02, 0.06
GOOD_PARTS, BAD_PARTS = 20_000, 1_000
DEFECTIVE_SHARE, ESCAPE_SHARE, PASS_SHARE = 0.03, 0.05, 0.1
"""Of the line's parts, of the defective ones with either bundle, and of the passes that the audit draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Parts in the order of the line, bool (parts,) each. drawn: the audit shows it to a person."""

    defective: np.ndarray
    rejected: np.ndarray
    drawn: np.ndarray

    def counted(self) -> np.ndarray:
        """Which parts the overkill is a share of: all that are good or were passed."""
        return ~self.defective | ~self.rejected

    def audited(self) -> np.ndarray:
        """Which parts the escapes are a share of."""
        return ~self.rejected & self.drawn


def line(chance: np.random.Generator, *, good: int, overkill: float) -> Line:
    """A line up to its last of so many good parts; every reject is drawn."""
    parts = int(1.2 * good / (1 - DEFECTIVE_SHARE)) + 100
    defective = chance.random(parts) < DEFECTIVE_SHARE
    defective = defective[: np.flatnonzero(~defective)[good - 1] + 1]
    rejected = chance.random(len(defective)) < np.where(defective, 1 - ESCAPE_SHARE, overkill)
    return Line(
        defective=defective,
        rejected=rejected,
        drawn=rejected | (chance.random(len(defective)) < PASS_SHARE),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What one test is fed. at: the number of good parts up to each of its parts, int (parts,)."""

    baseline: Baseline
    bad: np.ndarray  # bool (parts,)
    at: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """Both streams, as `review_home.streams_of` makes them where everything that was drawn is judged.

    For thousands of runs at once; tests/weights/test_review_home.py holds the two together.
    """

    overkill: Stream
    escapes: Stream

    @classmethod
    def of(cls, before: Line, now: Line) -> Fed:
        """The bundle before is the baseline."""
        good = np.cumsum(~now.defective)

        def stream(counts: Callable[[Line], np.ndarray], bad: Callable[[Line], np.ndarray]) -> Stream:
            then, since = counts(before), counts(now)
            known = Baseline(events=int(bad(before)[then].sum()), trials=int(then.sum()))
            return Stream(baseline=known, bad=bad(now)[since], at=good[since])

        return cls(
            overkill=stream(Line.counted, lambda parts: parts.rejected & ~parts.defective),
            escapes=stream(Line.audited, lambda parts: parts.defective),
        )


Rule = Callable[[Fed], int]
"""At which good part a bundle is withdrawn, 0 for never."""


def watched(fed: Fed) -> int:
    """The product: whichever of its two tests calls first."""
    tests = ((fed.overkill, OVERKILL_ALPHA), (fed.escapes, ESCAPE_ALPHA))
    called = [(s, int(sequential(s.baseline, s.bad[None], alpha)[0])) for s, alpha in tests]
    return min((int(s.at[part - 1]) for s, part in called if part), default=0)


def peeked(fed: Fed) -> int:
    """The seeded bug, on the overkill alone."""
    part = int(peeking(fed.overkill.baseline, fed.overkill.bad[None])[0])
    return int(fed.overkill.at[part - 1]) if part else 0


def sequential(baseline: Baseline, bad: np.ndarray, alpha: float = OVERKILL_ALPHA) -> np.ndarray:
    """At which part each row's bundle is withdrawn, 0 for never; rows (runs, parts), the product of
    weights.watch.

    The same product as `SequentialTest`, for many parts at once; tests/weights/test_watch.py holds the two
    together.
    """
    test = SequentialTest("stream", baseline, alpha)
    tried, p0, limit = test.tried, test.against, test.limit
    if not tried:
        return np.zeros(len(bad), int)
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
    """How many of `runs` bundles of that overkill the rule withdraws, and the median good part at which."""
    chance = np.random.default_rng(seed)
    at: list[int] = []
    for _ in range(runs):
        before = line(chance, good=trials, overkill=GOOD_SHARE)
        at.append(rule(Fed.of(before, line(chance, good=parts, overkill=share))))
    found = [part for part in at if part]
    return len(found), float(np.median(found)) if found else 0.0


def measure(runs: int, seeds: Sequence[int], trials: int) -> list[dict[str, object]]:
    """One row a seed and rule."""
    rows: list[dict[str, object]] = []
    rules: dict[str, Rule] = {"sequential": watched, "fixed size, peeked at": peeked}
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
    parser.add_argument("--baseline", type=int, default=2000, help="good parts of the bundle before")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    rows = measure(given.runs, given.seeds, given.baseline)
    for row in rows:
        sys.stdout.write(
            f"{row['rule']:<22} seed {row['seed']}: 2 % -> 6 % withdrawn within {BAD_PARTS} good parts in"
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
