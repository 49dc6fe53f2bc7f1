# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""The watch over a promoted bundle: a sequential test that may be looked at after every part. Pure.

Two streams are watched. *Overkill*: of the good parts that people reviewed, how many did the bundle reject?
*Escapes*: of the passed parts that were audited, how many are defective? Each is compared with the share of the
bundle before, which is itself only known from a sample (`Baseline`).

The test multiplies likelihood ratios: for each part, how much likelier is what was seen if the share were q
than if it were p0, averaged over several q above p0. While the true share is p0 or less this product is a
nonnegative supermartingale that starts at 1, so it *ever* reaches 1/alpha with probability alpha at most
(Ville, Etude critique de la notion de collectif, 1939; Howard et al., Annals of Statistics 49, 2021). Looking
after each part costs nothing, which is what a test of fixed size gets wrong. p0 is the exact upper bound of the
baseline, and what this bound may err
by is taken off alpha: the share of false withdrawals holds over baseline and watch together, for any number of
parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, log

from inspection.statistics import upper_bound

FALSE_WITHDRAWALS = 0.05
"""Of all promotions that were no worse, at most so many are ever withdrawn: overkill and escapes together."""
OVERKILL_ALPHA, ESCAPE_ALPHA = 0.04, 0.01
_FROM, _TO, _STEPS = 1.5, 4.0, 8  # shares that are tried, as multiples of p0; tuned by benchmarks/watch.py
_LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is known of the bundle before: `events` in `trials`. `tolerated`: so much more is worth no act."""

    events: int
    trials: int
    tolerated: float = 0.0

    def limit(self, error: float) -> float:
        """The share that the new bundle must not exceed; below the true one with chance `error` at most."""
        return min(0.999, max(_LEAST_SHARE, upper_bound(self.events, self.trials, 1 - error) + self.tolerated))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One reviewed part, in the order of the line.

    bad: a good part that was rejected (overkill), or an audited pass that is defective (escape).
    share: how likely a part that is *not* bad was to be reviewed, as a share of how likely a bad one was. 1
    where all or a plain random sample were reviewed; the audit's sampling probability where every reject is
    looked at and only a sample of passes. Without it a line whose rejects are all reviewed would look ten times
    as bad as it is.
    """

    bad: bool
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How it stands: `factor` is the product now, `highest` its most; reaching `limit` calls for an act."""

    name: str
    bad: int
    parts: int
    factor: float
    highest: float
    limit: float
    against: float  # p0
    at_part: int | None  # number of the part at which the limit was reached first

    @property
    def withdraw(self) -> bool:
        """Whether the bundle goes."""
        return self.at_part is not None

    @property
    def sentence(self) -> str:
        """For people and the history."""
        share = f"{self.bad} of {self.parts} ({self.bad / self.parts:.2%})" if self.parts else "none"
        said = f"{self.name}: {share} since the promotion, against at most {self.against:.2%} before"
        if self.at_part is not None:
            return (
                f"{said}; {self.highest:.0f} times likelier if it is worse (limit {self.limit:.0f}), reached at"
                f" part {self.at_part}."
            )
        return f"{said}; evidence of worse {self.factor:.2g} of {self.limit:.0f}."


class SequentialTest:
    """One stream's test. Feed it every reviewed part in order; `evidence` may be asked at any time."""

    def __init__(self, name: str, baseline: Baseline, alpha: float) -> None:
        self._name = name
        self.limit = 2 / alpha  # the other half is what the baseline's bound may err by
        self.against = baseline.limit(alpha / 2)
        step = (_TO / _FROM) ** (1 / (_STEPS - 1))
        self.tried = [q for i in range(_STEPS) if (q := self.against * _FROM * step**i) < 1.0]
        self._logs = [0.0] * len(self.tried)
        self._steps: dict[
            float, tuple[list[float], list[float]]
        ] = {}  # share -> log ratios of a good, a bad part
        self._bad = self._parts = 0
        self._highest = 1.0
        self._at_part: int | None = None

    def see(self, part: Seen) -> None:
        """One more part. Once the limit was reached it stays so: the act has been called for."""
        self._parts += 1
        self._bad += part.bad
        steps = self._steps.get(part.share) or self._steps_for(part.share)
        self._logs = [a + b for a, b in zip(self._logs, steps[part.bad], strict=True)]
        factor = self._factor()
        self._highest = max(self._highest, factor)
        if self._at_part is None and factor >= self.limit:
            self._at_part = self._parts

    @property
    def evidence(self) -> Evidence:
        """How it stands now."""
        return Evidence(
            name=self._name,
            bad=self._bad,
            parts=self._parts,
            factor=self._factor(),
            highest=self._highest,
            limit=self.limit,
            against=self.against,
            at_part=self._at_part,
        )

    def _steps_for(self, share: float) -> tuple[list[float], list[float]]:
        base = _reviewed_share(self.against, share)
        tried = [_reviewed_share(q, share) for q in self.tried]
        steps = [log((1 - q) / (1 - base)) for q in tried], [log(q / base) for q in tried]
        self._steps[share] = steps
        return steps

    def _factor(self) -> float:
        """Mean over the shares that are tried; where p0 is so large that none is left, there is no evidence."""
        if not self._logs:
            return 1.0
        top = max(self._logs)
        if top > 700.0:
            return inf
        return sum(exp(value) for value in self._logs) / len(self._logs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What both tests are fed: the baseline, and the watched bundle's parts in the order of the line.

    judged: how many of the watched bundle's parts people have judged; waiting: how many of those that should be
    nobody has judged yet.
    """

    overkill: tuple[Baseline, Sequence[Seen]]
    escapes: tuple[Baseline, Sequence[Seen]]
    judged: int
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchResult:
    """Both streams; `withdraw` when either calls for it."""

    overkill: Evidence
    escapes: Evidence

    @property
    def withdraw(self) -> bool:
        """Whether the bundle goes back."""
        return self.overkill.withdraw or self.escapes.withdraw

    @property
    def sentence(self) -> str:
        """What goes into the history as the reason."""
        called = [e.sentence for e in (self.overkill, self.escapes) if e.withdraw]
        return " ".join(called or [self.overkill.sentence, self.escapes.sentence])


def watch(
    *, overkill: tuple[Baseline, Iterable[Seen]], escapes: tuple[Baseline, Sequence[Seen] | Iterable[Seen]]
) -> WatchResult:
    """Both tests over what was reviewed since the promotion, in the order of the line."""
    found: list[Evidence] = []
    for name, (baseline, parts), alpha in (
        ("overkill", overkill, OVERKILL_ALPHA),
        ("escapes", escapes, ESCAPE_ALPHA),
    ):
        test = SequentialTest(name, baseline, alpha)
        for part in parts:
            test.see(part)
        found.append(test.evidence)
    return WatchResult(overkill=found[0], escapes=found[1])


def _reviewed_share(p: float, share: float) -> float:
    """Share of bad ones among those reviewed, where bad ones are reviewed 1/share times as often."""
    if not 0.0 < share <= 1.0:
        raise ValueError(f"a review share lies in (0, 1], not {share}")
    return p / (p + (1 - p) * share)
