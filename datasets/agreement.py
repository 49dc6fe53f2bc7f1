# SPDX-License-Identifier: AGPL-3.0-or-later
"""How well people agree when they label: kappa of two or more, with intervals, and matching of boxes.  Pure.

Cohen's kappa: J. Cohen, Educ. Psychol. Meas. 20 (1960) 37-46. Its large-sample standard error: J. L. Fleiss,
J. Cohen, B. S. Everitt, Psychol. Bull. 72 (1969) 323-327, eq. 13 (also Fleiss, Levin, Paik, Statistical
Methods for Rates and Proportions, 3rd ed. 2003, eq. 18.15).
Fleiss' kappa: J. L. Fleiss, Psychol. Bull. 76 (1971) 378-382. Its interval here is the jackknife over pictures
(B. Efron, C. Stein, Ann. Statist. 9 (1981) 586-596; for kappa: N. J. M. Blackman, J. J. Koval, Statist. Med.
19 (2000) 723-741), because the 1971 and 1979 variances hold only where agreement is by chance.
Intervals are two-sided 95 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import nan, sqrt

from datasets.labels import Label
from inspection.types import Box

_Z_TWO_SIDED_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Kappa:
    """Agreement beyond chance: 1 complete, 0 as by chance. nan where everybody used one class only."""

    value: float
    standard_error: float
    low: float  # two-sided 95 %
    high: float
    observed: float  # share of agreement
    by_chance: float
    pictures: int

    def sentence(self) -> str:
        """For people."""
        if self.value != self.value:
            return (
                f"Agreement cannot be told apart from chance: all {self.pictures} answers are the same class."
            )
        return (
            f"kappa {self.value:.2f} (two-sided 95 %: {self.low:.2f} to {self.high:.2f}) on {self.pictures} "
            f"pictures; they agree on {self.observed:.0%}, by chance it would be {self.by_chance:.0%}."
        )


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> Kappa:
    """Kappa of two people who judged the same pictures, in the same order."""
    if len(first) != len(second) or not first:
        raise ValueError("two people need the same pictures, one at least")
    n = len(first)
    both = Counter(zip(first, second, strict=True))
    rows, columns = Counter(first), Counter(second)
    classes = list(rows | columns)
    observed = sum(both[c, c] for c in classes) / n
    chance = sum(rows[c] * columns[c] for c in classes) / n**2
    if chance >= 1.0:
        return _undefined(observed, chance, n)
    kappa = (observed - chance) / (1 - chance)
    # a + b - c over (1 - chance)^2 n, as eq. 18.15 writes it
    a = sum(both[c, c] / n * (1 - (rows[c] + columns[c]) / n * (1 - kappa)) ** 2 for c in classes)
    b = (1 - kappa) ** 2 * sum(
        count / n * (columns[i] / n + rows[j] / n) ** 2 for (i, j), count in both.items() if i != j
    )
    c = (kappa - chance * (1 - kappa)) ** 2
    return _kappa(kappa, sqrt(max(0.0, a + b - c) / n) / (1 - chance), observed, chance, n)


def fleiss_kappa(answers: Sequence[Sequence[Hashable]]) -> Kappa:
    """Kappa of several people: the answers of each picture, as many for each, whoever gave them."""
    raters = {len(given) for given in answers}
    if len(raters) != 1 or raters < {2} or min(raters) < 2:
        raise ValueError("every picture needs the same number of answers, two at least")
    (m,) = raters
    counts = [Counter(given) for given in answers]
    agreed = [sum(k * (k - 1) for k in count.values()) / (m * (m - 1)) for count in counts]
    totals: Counter[Hashable] = Counter()
    for count in counts:
        totals.update(count)
    n = len(counts)
    observed, chance = _fleiss_parts(sum(agreed), totals, n, m)
    if chance >= 1.0:
        return _undefined(observed, chance, n)
    kappa = (observed - chance) / (1 - chance)
    error = _jackknife(counts, agreed, totals, m)
    return _kappa(kappa, error, observed, chance, n)


def _fleiss_parts(agreed: float, totals: Counter[Hashable], n: int, m: int) -> tuple[float, float]:
    return agreed / n, sum((k / (n * m)) ** 2 for k in totals.values())


def _jackknife(
    counts: Sequence[Counter[Hashable]], agreed: Sequence[float], totals: Counter[Hashable], m: int
) -> float:
    """Standard error from leaving out each picture in turn; nan for fewer than two pictures."""
    n = len(counts)
    if n < 2:
        return nan
    left_out = []
    whole = sum(agreed)
    squares = sum(k * k for k in totals.values())
    for count, share in zip(counts, agreed, strict=True):
        less = squares + sum(k * k - 2 * k * totals[c] for c, k in count.items())  # (total - k)^2, summed
        observed, chance = (whole - share) / (n - 1), less / ((n - 1) * m) ** 2
        left_out.append(nan if chance >= 1.0 else (observed - chance) / (1 - chance))
    mean = sum(left_out) / n
    return sqrt((n - 1) / n * sum((value - mean) ** 2 for value in left_out))


def _kappa(kappa: float, error: float, observed: float, chance: float, n: int) -> Kappa:
    return Kappa(
        value=kappa,
        standard_error=error,
        low=max(-1.0, kappa - _Z_TWO_SIDED_95 * error),
        high=min(1.0, kappa + _Z_TWO_SIDED_95 * error),
        observed=observed,
        by_chance=chance,
        pictures=n,
    )


def _undefined(observed: float, chance: float, n: int) -> Kappa:
    return Kappa(
        value=nan, standard_error=nan, low=nan, high=nan, observed=observed, by_chance=chance, pictures=n
    )


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 1 for the same one, were it empty."""
    if a == b:
        return 1.0
    width = min(a.x1_px, b.x1_px) - max(a.x0_px, b.x0_px)
    height = min(a.y1_px, b.y1_px) - max(a.y0_px, b.y0_px)
    shared = max(0.0, width) * max(0.0, height)
    union = a.width_px * a.height_px + b.width_px * b.height_px - shared
    return shared / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxAgreement:
    """Which marks of two people are the same mark."""

    pairs: tuple[tuple[int, int, float], ...]  # index in the first, in the second, IoU
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]

    @property
    def f1(self) -> float:
        """2 pairs / (marks of both); 1 when neither marked anything."""
        marks = 2 * len(self.pairs) + len(self.only_first) + len(self.only_second)
        return 2 * len(self.pairs) / marks if marks else 1.0


def match_labels(
    first: Sequence[Label], second: Sequence[Label], *, at_least: float = 0.5, same_class: bool = True
) -> BoxAgreement:
    """Pair marks one to one, best IoU first, down to `at_least`; of one class unless told otherwise."""
    candidates = sorted(
        (
            (-overlap, i, j)
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            if (not same_class or a.class_name == b.class_name) and (overlap := iou(a.box, b.box)) >= at_least
        ),
    )
    left, right = set(range(len(first))), set(range(len(second)))
    pairs = []
    for negative, i, j in candidates:
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            pairs.append((i, j, -negative))
    return BoxAgreement(pairs=tuple(pairs), only_first=tuple(sorted(left)), only_second=tuple(sorted(right)))
