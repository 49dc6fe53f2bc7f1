# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person should see next: uncertain, disputed, new-looking, spread over time. Pure.

One ranked list with the reason for each pick. The four kinds take turns, each as often as its weight says, and
what was picked counts as seen: near-copies of a pick move back. These picks say nothing about rates: they are
chosen because they look bad. Rates come from the random audit alone (`datasets/audit.py`).
Novelty is greedy k-centre (Sener and Savarese, ICLR 2018), uncertainty the margin of the two likeliest classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class Why(str, Enum):
    """Why a picture was picked."""

    UNCERTAIN = "uncertain"
    DISPUTED = "disputed"
    NEW = "new"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Pictures that nobody has labelled, one row each, and what is known of them.

    beliefs: for each model its class probabilities (N, classes); may be empty. labelled: features of what has
    been labelled (M, D), M may be 0. times_s: when each was taken, and when the labelled ones were.
    """

    names: tuple[str, ...]
    features: np.ndarray
    labelled: np.ndarray
    beliefs: tuple[np.ndarray, ...] = ()
    classes: tuple[str, ...] = ()
    times_s: np.ndarray | None = None
    labelled_times_s: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One picture to look at. `text` says why, for the person who looks."""

    name: str
    why: Why
    value: float
    text: str


def _usual_mix() -> Mapping[Why, float]:
    return {Why.UNCERTAIN: 4.0, Why.DISPUTED: 1.0, Why.NEW: 1.0, Why.TIME: 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How often each kind has its turn; a kind that the pool knows nothing for is passed over."""

    weights: Mapping[Why, float] = field(default_factory=_usual_mix)


def propose(pool: Pool, count: int, mix: Mix | None = None) -> list[Pick]:
    """The next `count` pictures to look at, the first first; fewer when the pool holds fewer."""
    seen = _Seen(pool)
    weights = {
        why: weight
        for why, weight in (mix or Mix()).weights.items()
        if weight > 0 and seen.values(why) is not None
    }
    credit = dict.fromkeys(weights, 0.0)
    picks: list[Pick] = []
    while len(picks) < min(count, len(pool.names)) and weights:
        for why, weight in weights.items():
            credit[why] += weight
        why = max(credit, key=lambda kind: (credit[kind], -list(Why).index(kind)))
        credit[why] -= sum(weights.values())
        values = seen.values(why)
        assert values is not None  # noqa: S101 - such kinds have no weight
        place = int(np.where(seen.open, values, -np.inf).argmax())
        picks.append(
            Pick(name=pool.names[place], why=why, value=float(values[place]), text=seen.text(why, place))
        )
        seen.take(place)
    return picks


class _Seen:
    """The pool while it is being picked from: what was picked counts as seen."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        count = len(pool.names)
        self.open = np.ones(count, bool)
        together = np.concatenate([pool.features, pool.labelled]) if len(pool.labelled) else pool.features
        spread = together.std(axis=0) + 1e-6 if count else 1.0
        self._rows = pool.features / spread
        self._far = np.full(count, np.inf)
        if len(pool.labelled) and count:
            self._far = _nearest(self._rows, pool.labelled / spread)
        elif count:
            self._far = np.linalg.norm(self._rows - self._rows.mean(axis=0), axis=1)
        usual = np.median(self._far) if count else 1.0
        self._usual = float(usual) if usual > 0 else 1.0
        mean = np.mean(pool.beliefs, axis=0) if pool.beliefs else None
        self._mean = mean
        self._unsure = None if mean is None else 1.0 - _margin(mean)
        self._disputed = None
        if mean is not None and len(pool.beliefs) > 1:
            apart = [0.5 * np.abs(belief - mean).sum(axis=1) for belief in pool.beliefs]
            self._disputed = np.mean(apart, axis=0)
        self._gap_s = None
        if pool.times_s is not None and count:
            known = pool.labelled_times_s
            if known is None or not len(known):
                known = np.array([np.median(pool.times_s)])
            self._gap_s = np.abs(pool.times_s[:, None] - known[None]).min(axis=1)

    def values(self, why: Why) -> np.ndarray | None:
        """How much each picture is worth for one reason; None when nothing is known for it."""
        if why is Why.NEW:
            return self._far
        if why is Why.TIME:
            return self._gap_s
        values = self._unsure if why is Why.UNCERTAIN else self._disputed
        # what lies beside something labelled or picked teaches little more
        return None if values is None else values * np.minimum(1.0, self._far / self._usual)

    def take(self, place: int) -> None:
        """Count one as seen."""
        self.open[place] = False
        self._far = np.minimum(self._far, np.linalg.norm(self._rows - self._rows[place], axis=1))
        if self._gap_s is not None and self._pool.times_s is not None:
            self._gap_s = np.minimum(self._gap_s, np.abs(self._pool.times_s - self._pool.times_s[place]))

    def text(self, why: Why, place: int) -> str:
        """The reason in words."""
        if why is Why.NEW:
            return (
                f"looks new: {self._far[place] / self._usual:.1f} times as far as usual from all labelled ones"
            )
        if why is Why.TIME:
            gap = 0.0 if self._gap_s is None else float(self._gap_s[place])
            return f"nothing was labelled within {gap / 60:.0f} minutes of it"
        if why is Why.UNCERTAIN and self._mean is not None:
            first, second = np.argsort(-self._mean[place], kind="stable")[:2].tolist()
            return f"unsure: {self._said(self._mean, place, first)} or {self._said(self._mean, place, second)}"
        told = [self._said(belief, place, int(belief[place].argmax())) for belief in self._pool.beliefs]
        return f"models disagree: {', '.join(told)}"

    def _said(self, beliefs: np.ndarray, place: int, number: int) -> str:
        name = self._pool.classes[number] if number < len(self._pool.classes) else f"class {number}"
        return f"{name} {beliefs[place, number]:.2f}"


def _margin(beliefs: np.ndarray) -> np.ndarray:
    if beliefs.shape[1] < 2:
        return beliefs[:, 0]
    top = np.sort(beliefs, axis=1)
    return top[:, -1] - top[:, -2]


def _nearest(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Distance of each row to the nearest known one."""
    squares = (rows**2).sum(axis=1)[:, None] - 2 * rows @ known.T + (known**2).sum(axis=1)[None]
    return np.sqrt(np.maximum(squares.min(axis=1), 0.0))
