# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""May this candidate take the place of the active bundle? A pure rule that says why, figure by figure.

Both were evaluated on the same *locked golden set*: parts that neither was taught from, judged through the real
rules. The comparison is paired, part by part: what counts is on which parts the two differ, and the exact test
of McNemar (Psychometrika 12, 1947) is a binomial one over just those. The rule allows; a named person decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inspection.statistics import lower_bound, upper_bound
from weights.telling import finds_nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenPart:
    """One part of the golden set as one bundle judged it."""

    defective: bool
    rejected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What is known of one bundle. None: nobody measured it, which is never taken for good."""

    bundle: str
    golden_set: str  # hash of the golden set's labels
    parts: Mapping[str, GoldenPart]  # by part
    parity_pictures: int | None = None  # exported engine against trained net
    parity_flips: int | None = None
    robustness: Mapping[str, float | None] | None = (
        None  # disturbance -> level at which the bound breaks; None: never
    )
    latency_ms: float | None = None  # all views of one part in this station's engine, p99
    refusal: str = ""  # why the station could not run it; from the trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What this station asks for. Shares are of parts."""

    latency_ms: float | None = None  # what the deadline leaves for the engine; None: not this rule's to check
    escape_upper: float | None = None  # bound on the candidate's escapes, one-sided exact 95 %
    overkill_more: float = 0.01  # so much more overkill on the golden set is tolerated
    test_level: float = 0.05
    robustness_ratio: float = 0.9  # a disturbance may break it this much earlier: levels are tried in steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One ground of the decision: a sentence with its figures."""

    about: str
    allowed: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Allowed when no reason speaks against it."""

    reasons: tuple[Reason, ...]
    figures: Mapping[str, float | int] = field(default_factory=dict[str, float | int])

    @property
    def allowed(self) -> bool:
        """Whether a person may promote it."""
        return all(reason.allowed for reason in self.reasons)

    @property
    def against(self) -> tuple[str, ...]:
        """The sentences that speak against it."""
        return tuple(reason.sentence for reason in self.reasons if not reason.allowed)


def decide(active: Examined | None, candidate: Examined, requirements: Requirements) -> Decision:
    """Judge a candidate against the active bundle; against the requirements alone where none is active."""
    reasons = [_parity(candidate), *_runs(candidate, requirements)]
    figures: dict[str, float | int] = {}
    if not candidate.parts:
        reasons.append(
            _no("golden set", "The candidate was not evaluated on a golden set: nothing is known of it.")
        )
        return Decision(reasons=tuple(reasons))
    reasons.append(_escape_bound(candidate, requirements))
    reasons += _finds(candidate, requirements)
    if active is None:
        reasons.append(_yes("comparison", "No bundle is active, so there is none to compare with."))
        return Decision(reasons=tuple(reasons))
    same = _same_set(active, candidate)
    reasons.append(same)
    if same.allowed:
        pairs = _Pairs.of(active, candidate)
        figures = pairs.figures
        reasons += [_escapes(pairs, requirements), _overkill(pairs, requirements)]
    reasons.append(_robustness(active, candidate, requirements))
    return Decision(reasons=tuple(reasons), figures=figures)


def mcnemar(worse: int, better: int) -> float:
    """Exact one-sided p: how often so many of the parts that differ would turn out worse if neither were."""
    n = worse + better
    return 1.0 if worse == 0 else _tail(worse, n)


def _tail(k: int, n: int) -> float:
    """P(X >= k) for X binomial(n, 1/2)."""
    term = total = 0.5**n if n < 1000 else 0.0
    if n >= 1000:  # the normal limit is exact to more digits than anybody acts on
        from math import erfc, sqrt  # noqa: PLC0415

        return 0.5 * erfc((k - 0.5 - n / 2) / sqrt(n / 2))
    total = term if n >= k else 0.0
    for i in range(n, k, -1):  # from X = n down
        term *= i / (n - i + 1)
        total += term
    return min(1.0, total)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """How the two differ, part by part."""

    defective: int
    good: int
    newly_escaped: tuple[str, ...]  # caught by the active one, passed by the candidate
    newly_caught: tuple[str, ...]
    newly_overkilled: tuple[str, ...]
    newly_spared: tuple[str, ...]
    both_escape: int
    both_overkill: int

    @classmethod
    def of(cls, active: Examined, candidate: Examined) -> _Pairs:
        """Count; both hold the same parts with the same truth."""
        differing: dict[tuple[bool, bool, bool], list[str]] = {}
        for name in sorted(active.parts):
            a, c = active.parts[name], candidate.parts[name]
            differing.setdefault((a.defective, a.rejected, c.rejected), []).append(name)

        def names(*key: bool) -> tuple[str, ...]:
            return tuple(differing.get((key[0], key[1], key[2]), ()))

        defective = sum(part.defective for part in active.parts.values())
        return cls(
            defective=defective,
            good=len(active.parts) - defective,
            newly_escaped=names(True, True, False),
            newly_caught=names(True, False, True),
            newly_overkilled=names(False, False, True),
            newly_spared=names(False, True, False),
            both_escape=len(names(True, False, False)),
            both_overkill=len(names(False, True, True)),
        )

    @property
    def figures(self) -> dict[str, float | int]:
        """For the history."""
        return {
            "golden_defective": self.defective,
            "golden_good": self.good,
            "escapes_active": self.both_escape + len(self.newly_caught),
            "escapes_candidate": self.both_escape + len(self.newly_escaped),
            "overkill_active": self.both_overkill + len(self.newly_spared),
            "overkill_candidate": self.both_overkill + len(self.newly_overkilled),
            "newly_escaped": len(self.newly_escaped),
            "newly_caught": len(self.newly_caught),
            "newly_overkilled": len(self.newly_overkilled),
            "newly_spared": len(self.newly_spared),
        }


def _same_set(active: Examined, candidate: Examined) -> Reason:
    if active.golden_set != candidate.golden_set or active.parts.keys() != candidate.parts.keys():
        return _no(
            "golden set",
            "The two were not evaluated on the same golden set"
            f" ({active.golden_set[:12] or 'none'} with {len(active.parts)} parts,"
            f" {candidate.golden_set[:12] or 'none'} with {len(candidate.parts)}): evaluate both on the locked"
            " one.",
        )
    twisted = sum(candidate.parts[name].defective != part.defective for name, part in active.parts.items())
    if twisted:
        return _no("golden set", f"The two evaluations disagree on what is true of {twisted} golden parts.")
    return _yes("golden set", f"Both judged the same {len(active.parts)} golden parts.")


def _escapes(pairs: _Pairs, requirements: Requirements) -> Reason:
    """No golden part that the active bundle catches may escape, unless it is better beyond chance."""
    f, n = pairs.figures, pairs.defective
    said = (
        f"escapes on {n} defective golden parts: {f['escapes_candidate']} against {f['escapes_active']}"
        f" of the active bundle (at most {upper_bound(int(f['escapes_candidate']), n):.2%} against"
        f" {upper_bound(int(f['escapes_active']), n):.2%}, one-sided 95 %)"
    )
    if not pairs.newly_escaped:
        return _yes("escapes", f"{said}; none that the active bundle catches gets through.")
    p_better = mcnemar(len(pairs.newly_caught), len(pairs.newly_escaped))
    what = f"{len(pairs.newly_escaped)} that it catches would get through ({_some(pairs.newly_escaped)})"
    if p_better <= requirements.test_level:
        return _yes(
            "escapes",
            f"{said}; {what}, but {len(pairs.newly_caught)} more are caught (exact McNemar p ="
            f" {p_better:.2g}).",
        )
    return _no(
        "escapes",
        f"{said}; {what} and {len(pairs.newly_caught)} more would be caught, which is not better beyond chance"
        f" (exact McNemar p = {p_better:.2g}, needed {requirements.test_level:g}).",
    )


def _overkill(pairs: _Pairs, requirements: Requirements) -> Reason:
    f, n = pairs.figures, pairs.good
    worse, better = len(pairs.newly_overkilled), len(pairs.newly_spared)
    more = (worse - better) / n if n else 0.0
    at_most = upper_bound(worse, n, 0.975) - lower_bound(better, n, 0.975) if n else 1.0
    p_worse = mcnemar(worse, better)
    said = (
        f"overkill on {n} good golden parts: {f['overkill_candidate']} against {f['overkill_active']} of the"
        f" active bundle, {more:+.2%} (at most {at_most:+.2%} with 95 %; {worse} newly rejected, {better}"
        f" spared, exact McNemar p = {p_worse:.2g})"
    )
    if n == 0:
        return _no("overkill", "The golden set holds no good part: nothing can be said of overkill.")
    if more > requirements.overkill_more:
        return _no("overkill", f"{said}; more than the tolerated {requirements.overkill_more:+.2%}.")
    if p_worse <= requirements.test_level and more > 0:
        return _no("overkill", f"{said}; worse beyond chance.")
    return _yes("overkill", f"{said}.")


def _escape_bound(candidate: Examined, requirements: Requirements) -> Reason:
    defective = [part for part in candidate.parts.values() if part.defective]
    escapes = sum(not part.rejected for part in defective)
    bound = upper_bound(escapes, len(defective)) if defective else 1.0
    said = f"{escapes} escapes in {len(defective)} golden defects, at most {bound:.2%} (one-sided 95 %)"
    limit = requirements.escape_upper
    if limit is None:
        return _yes("escape bound", f"{said}; no bound is asked for.")
    if bound > limit:
        return _no("escape bound", f"{said}; this station asks for at most {limit:.2%}.")
    return _yes("escape bound", f"{said}, within the {limit:.2%} that this station asks for.")


def _finds(candidate: Examined, requirements: Requirements) -> list[Reason]:
    """Against a candidate that finds nothing, the first of a station too, and whatever the active one finds."""
    defective = [part for part in candidate.parts.values() if part.defective]
    good = [part for part in candidate.parts.values() if not part.defective]
    why = finds_nothing(
        defective=len(defective),
        escapes=sum(not part.rejected for part in defective),
        good=len(good),
        overkill=sum(part.rejected for part in good),
        level=requirements.test_level,
    )
    if not why:
        return []
    return [
        _no(
            "finds",
            f"On the golden set the candidate {why}; train it longer or with more pictures of each defect.",
        )
    ]


def _parity(candidate: Examined) -> Reason:
    if candidate.parity_flips is None or not candidate.parity_pictures:
        return _no(
            "parity",
            "Nobody proved that the exported engine judges as the trained net does: export the candidate again"
            " with a parity check on the golden set.",
        )
    said = (
        f"{candidate.parity_flips} verdicts flip between trained net and exported engine on"
        f" {candidate.parity_pictures} pictures"
    )
    return Reason(about="parity", allowed=candidate.parity_flips == 0, sentence=f"{said}.")


def _runs(candidate: Examined, requirements: Requirements) -> list[Reason]:
    """Whether this station can run it in time."""
    if candidate.refusal:
        return [_no("station", f"This station cannot run it: {candidate.refusal}")]
    limit_ms = requirements.latency_ms
    if limit_ms is None:
        return []
    if candidate.latency_ms is None:
        return [_no("latency", "Nobody measured how long it takes in this station's engine.")]
    said = f"one part takes {candidate.latency_ms:.1f} ms (p99) in this station's engine"
    if candidate.latency_ms > limit_ms:
        return [_no("latency", f"{said}; the deadline leaves {limit_ms:.1f} ms.")]
    return [_yes("latency", f"{said}, of the {limit_ms:.1f} ms that the deadline leaves.")]


def _robustness(active: Examined, candidate: Examined, requirements: Requirements) -> Reason:
    """No disturbance may break the candidate's escape bound earlier than the active one's."""
    if active.robustness is None:
        return _yes(
            "robustness", "The active bundle has no robustness card, so there is none to fall short of."
        )
    if candidate.robustness is None:
        return _no(
            "robustness", "The candidate has no robustness card, and the active bundle has one: evaluate it."
        )
    for name, level in sorted(active.robustness.items()):
        if name not in candidate.robustness:
            return _no("robustness", f"The candidate's robustness card does not speak of {name}.")
        found = candidate.robustness[name]
        falls = found is not None and (level is None or found < requirements.robustness_ratio * level)
        if falls:
            holds = "never" if level is None else f"at {level:g}"
            return _no("robustness", f"{name} breaks the candidate at {found:g}, the active bundle {holds}.")
    return _yes(
        "robustness", f"No disturbance of {len(active.robustness)} breaks it earlier than the active bundle."
    )


def _some(names: tuple[str, ...], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _yes(about: str, sentence: str) -> Reason:
    return Reason(about=about, allowed=True, sentence=_capital(sentence))


def _no(about: str, sentence: str) -> Reason:
    return Reason(about=about, allowed=False, sentence=_capital(sentence))


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
