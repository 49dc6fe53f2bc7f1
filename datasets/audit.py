# SPDX-License-Identifier: AGPL-3.0-or-later
"""The random audit of passes: how many escapes were there really? Pure.

Every pass has a known probability of being shown to a person, drawn by chance alone; the draw is a
keyed hash of the part, so that it can be repeated by whoever holds the key and foreseen by nobody else. The
probability is stored with the pick, and rates are estimated by weighing each pick with its inverse (Horvitz and
Thompson, J. Am. Stat. Assoc. 47 (1952) 663). Picks that a sampler chose because they looked bad are no audit:
counted as such they would make every rate too high, or, once they are corrected, too low.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inspection.statistics import upper_bound

MOST_STRATA = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPick:
    """A pass drawn for audit, with the probability it was drawn with."""

    part: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What a person said of a pick. `escape` is None while nobody has, or where nobody can tell."""

    pick: AuditPick
    escape: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit says about escapes among all passes.

    rate: Horvitz-Thompson estimate from the picks that were judged, None without any. upper_95: one-sided 95 %
    bound that counts every pick nobody judged as an escape. exact: all passes had one probability, so the
    bound is Clopper and Pearson's; else it is the sum of one such bound a stratum, each at a confidence that
    makes all hold together (Bonferroni), which is valid and a little wide.
    """

    passes: int
    picked: int
    judged: int
    escapes: int
    rate: float | None
    upper_95: float
    exact: bool


def draw(parts: Iterable[str], probability: float, key: bytes) -> list[AuditPick]:
    """Draw each part by itself with `probability`. The same key and part give the same answer at any time."""
    if not 0.0 < probability <= 1.0:
        raise ValueError(f"a probability of audit lies above 0 and up to 1, not at {probability}")
    return [
        AuditPick(part=part, probability=probability) for part in parts if chance_of(part, key) < probability
    ]


def chance_of(part: str, key: bytes) -> float:
    """A number in 0..1, evenly spread over parts, that only the holder of the key can know beforehand."""
    mac = hmac.new(key, part.encode("utf-8"), hashlib.sha256).digest()
    return int.from_bytes(mac[:8], "big") / 2**64


def estimate(audited: Sequence[Audited], passes: Mapping[float, int], confidence: float = 0.95) -> Audit:
    """Escapes among all passes from those that were drawn.

    passes: for each probability that was in force, how many passes were drawn from (picked or not).
    Raises ValueError for a pick with a probability that was never in force (a sampler's pick, for one), for a
    part that is in twice, and for more picks than passes.
    """
    _check(audited, passes)
    total = sum(passes.values())
    judged = [one for one in audited if one.escape is not None]
    weights = {p: _response(audited, p) for p in passes}
    rate = None
    if judged and total and all(weights[p] > 0 for p in passes if passes[p]):
        # those nobody judged are taken to be like the others of their stratum; the bound does not rely on it
        rate = sum(1.0 / (one.pick.probability * weights[one.pick.probability]) for one in judged if one.escape)
        rate = min(1.0, rate / total)
    return Audit(
        passes=total,
        picked=len(audited),
        judged=len(judged),
        escapes=sum(bool(one.escape) for one in judged),
        rate=rate,
        upper_95=_bound(audited, passes, confidence),
        exact=len([p for p in passes if passes[p]]) == 1,
    )


def _response(audited: Sequence[Audited], probability: float) -> float:
    """Share of a stratum's picks that were judged; 1 where none were drawn."""
    picks = [one for one in audited if one.pick.probability == probability]
    return sum(one.escape is not None for one in picks) / len(picks) if picks else 1.0


def _bound(audited: Sequence[Audited], passes: Mapping[float, int], confidence: float) -> float:
    total = sum(passes.values())
    strata = [p for p in sorted(passes) if passes[p]]
    if not total:
        return 1.0
    each = 1 - (1 - confidence) / len(strata)
    bound = 0.0
    for probability in strata:
        picks = [one for one in audited if one.pick.probability == probability]
        bad = sum(one.escape is not False for one in picks)
        bound += passes[probability] / total * upper_bound(bad, len(picks), each)
    return min(1.0, bound)


def _check(audited: Sequence[Audited], passes: Mapping[float, int]) -> None:
    if len([p for p in passes if passes[p]]) > MOST_STRATA:
        raise ValueError(f"an audit bears {MOST_STRATA} probabilities at most; round them")
    seen: set[str] = set()
    for one in audited:
        if one.pick.probability not in passes:
            raise ValueError(
                f"{one.pick.part} was picked with probability {one.pick.probability}, which was never in force"
            )
        if one.pick.part in seen:
            raise ValueError(f"{one.pick.part} is in the audit twice")
        seen.add(one.pick.part)
    for probability, picked in Counter(one.pick.probability for one in audited).items():
        if picked > passes[probability]:
            raise ValueError(f"{picked} picks from {passes[probability]} passes at probability {probability}")
