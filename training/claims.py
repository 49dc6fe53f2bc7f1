# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a sample may say of escapes and overkill, in sentences that an auditor can keep. Pure.

A share is claimed by its one-sided exact 95 % upper bound (inspection/statistics.py), never by the share that
was counted: 0 escapes in 37 defective parts is "at most 7.8 %", and "under 1 %" needs 299 without an escape.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, log1p, log10

from inspection.statistics import lower_bound, upper_bound
from inspection.types import StationFault

CONFIDENCE = 0.95
MAX_PARTS = 10_000_000
"""A claim that needs more parts than this is not one that anybody can show."""
KINDS = {"escapes": ("escape", "defective"), "overkill": ("overkill", "good")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That `kind`, `escapes` of defective or `overkill` of good parts, is a share under `under`."""

    kind: str
    under: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Whether a sample carries a claim. `more_parts`: further parts without an event that it would take."""

    claim: Claim
    events: int
    parts: int
    bound: float
    carried: bool
    more_parts: int | None
    sentence: str


def parse_claim(text: str) -> Claim:
    """`escapes<0.01` or `overkill<2%`; StationFault for anything else."""
    kind, _, share = text.replace(" ", "").partition("<")
    try:
        under = float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        under = -1.0
    if kind not in KINDS or not 0 < under < 1:
        raise StationFault(
            f"{text!r} is no claim; write escapes<1% or overkill<2% (a share above 0, below 100 %)"
        )
    return Claim(kind=kind, under=under)


def parts_needed(under: float, events: int = 0, confidence: float = CONFIDENCE) -> int | None:
    """Fewest parts with so many events whose upper bound is below `under`; None above MAX_PARTS.

    >>> parts_needed(0.01)
    299
    """
    if not events:
        needed = max(1, ceil(log(1 - confidence) / log1p(-under)))
    else:
        low, high = events, events + 1
        while upper_bound(events, high, confidence) >= under:
            low, high = high, high * 2
            if low > MAX_PARTS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if upper_bound(events, middle, confidence) < under else (middle, high)
        needed = high
    while upper_bound(events, needed, confidence) >= under:  # a bound that is exactly the share is not below it
        needed += 1
    return needed if needed <= MAX_PARTS else None


def rule_on(claim: Claim, events: int, parts: int, confidence: float = CONFIDENCE) -> Ruling:
    """Say whether `events` in `parts` carry the claim; refuse in a sentence that says what it would take."""
    noun, of = KINDS[claim.kind]
    bound = upper_bound(events, parts, confidence)
    carried = bound < claim.under
    needed = parts_needed(claim.under, events, confidence)
    more = None if carried or needed is None else needed - parts
    head, counted = f"{claim.kind} under {percent(claim.under)}", bound_sentence(events, parts, noun, of)
    if carried:
        sentence = f"{head}: carried; {counted}"
    elif parts and lower_bound(events, parts, confidence) >= claim.under:
        sentence = f"{head}: refused, the sample speaks against it; {counted}"
    elif more is None:
        sentence = f"{head}: refused, {counted}; no sample of a sensible size would carry it"
    else:
        none = "an escape" if noun == "escape" else "overkill"
        in_all = "" if events else f" ({needed} in all)"
        sentence = f"{head}: refused, {counted}; it would take {more} more {of} parts without {none}{in_all}"
    return Ruling(
        claim=claim,
        events=events,
        parts=parts,
        bound=bound,
        carried=carried,
        more_parts=more,
        sentence=sentence,
    )


def bound_sentence(events: int, parts: int, noun: str, of: str, confidence: float = CONFIDENCE) -> str:
    """`0 escapes in 37 defective parts: at most 7.8 % (95 % confidence, one-sided)`."""
    many = noun if noun == "overkill" or events == 1 else noun + "s"
    if not parts:
        return f"no {of} parts were shown: the share of {noun} is unknown"
    bound = percent(upper_bound(events, parts, confidence), up=True)
    return (
        f"{events} {many} in {parts} {of} parts: at most {bound} ({confidence * 100:g} % confidence, one-sided)"
    )


def percent(share: float, *, up: bool = False) -> str:
    """A share as people read it: two digits that matter, never a false zero; `up`: bounds are never rounded
    down.

    >>> percent(0.0777), percent(0.01), percent(0.00161), percent(0.0), percent(0.0771, up=True)
    ('7.8 %', '1 %', '0.16 %', '0 %', '7.8 %')
    """
    value = 100 * share
    if value <= 0:
        return "0 %"
    digits = max(1, 1 - floor(log10(value)))
    step = 10.0**digits
    rounded = ceil(value * step - 1e-9) / step if up else round(value, digits)
    return f"{rounded:.{digits}f}".rstrip("0").rstrip(".") + " %"


def two_sided(events: int, parts: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact two-sided interval (Clopper and Pearson); always label it as such."""
    side = 1 - (1 - confidence) / 2
    return lower_bound(events, parts, side), upper_bound(events, parts, side)
