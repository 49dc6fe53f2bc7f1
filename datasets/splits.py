# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sides for pictures: train, val, test; what belongs together stays so, and nothing ever changes sides.  Pure.

Pictures of one lot (or sequence, or part: the coarsest that is given), of the same bytes, and near-twins form a
group; a group lies on one side. Groups that have a side keep it. New ones are dealt out, the large ones first,
each to the side where it brings counts of pictures and of classes closest to their shares (least sum of
(count - wanted)^2 / wanted, as in Sechidis, Tsoumakas, Vlahavas, ECML PKDD 2011, but for groups); the seed
decides between equals. Where a new picture would tie two sides together, it is left aside, and said so.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from datasets.grouping import Groups
from inspection.types import StationFault

SIDES = ("train", "val", "test")
GOLDEN, ASIDE = "golden", "aside"
LEVELS = ("lot", "sequence", "part")
"""What pictures may have in common, the coarsest first."""

_WORTH_SAYING = 0.02  # of all pictures
_EVERY = ""  # the stratum that all pictures are in


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to split."""

    by: str = "auto"  # auto | lot | sequence | part
    train: float = 0.7
    val: float = 0.15
    test: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("auto", *LEVELS):
            raise StationFault(f"Nothing is split by {self.by!r}: give auto, {', '.join(LEVELS)}.")
        shares = (self.train, self.val, self.test)
        if min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-6 or self.train == 0:
            raise StationFault(
                f"Shares {self.train:g}, {self.val:g} and {self.test:g} make no whole: "
                "give --train, --val and --test that add up to 1, with something to train on."
            )

    @property
    def shares(self) -> dict[str, float]:
        """Side -> share."""
        return dict(zip(SIDES, (self.train, self.val, self.test), strict=True))

    def to_plain(self) -> dict[str, object]:
        """As JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What a split needs to know of a picture."""

    name: str
    sha256: str
    part: str | None = None
    lot: str | None = None
    sequence: str | None = None
    strata: frozenset[str] = frozenset()  # classes it shows
    golden: bool = False
    source_side: str | None = None  # where its source put it

    def level(self, name: str) -> str | None:
        """What it names at `lot`, `sequence` or `part`."""
        return {"lot": self.lot, "sequence": self.sequence, "part": self.part}[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Side of each picture (train, val, test, golden, aside) and what there is to say about it."""

    sides: dict[str, str]
    sentences: tuple[str, ...]
    groups: dict[str, int]  # number of a picture's group, by its name

    def names(self, side: str) -> list[str]:
        """Pictures on one side, in order."""
        return [name for name, given in self.sides.items() if given == side]

    def counts(self) -> dict[str, int]:
        """Pictures on each side."""
        counts = Counter(self.sides.values())
        return {side: counts[side] for side in (*SIDES, GOLDEN, ASIDE) if counts[side] or side in SIDES}


def split(
    members: Sequence[Member],
    plan: Plan,
    *,
    twins: Iterable[Collection[str]] = (),
    earlier: Mapping[str, str] | None = None,
) -> Split:
    """Give every picture a side.

    twins: names of pictures that look alike, best as pairs (then a new picture that resembles two old ones on
    different sides is left aside, instead of an old one). earlier: sides that an earlier split gave; they stay.
    """
    earlier = earlier or {}
    if plan.by != "auto" and members and not any(member.level(plan.by) for member in members):
        raise StationFault(
            f"No picture names a {plan.by}: import it with the pictures, or split by another level."
        )
    fixed = {m.name: side for m in members if (side := _fixed_side(m, earlier)) is not None}
    groups = Groups([m.name for m in members], fixed)
    for alike in _belongings(members, plan):
        groups.unite(alike, "belong together")
    for alike in twins:
        groups.unite([name for name in alike if name in groups], "look alike")
    dealt = _deal_out(members, plan, groups)
    sides = {m.name: _final_side(m, groups, dealt) for m in members}
    sentences = (*groups.sentences, *_fit(members, plan, sides, groups))
    return Split(sides=sides, sentences=sentences, groups=groups.numbered())


def _fixed_side(member: Member, earlier: Mapping[str, str]) -> str | None:
    """The side that a picture has already. Groups of golden ones count as test: none learns from them."""
    if member.golden:
        return "test"
    if member.source_side is not None:
        return member.source_side
    side = earlier.get(member.name)
    return side if side in SIDES else None


def _belongings(members: Sequence[Member], plan: Plan) -> list[list[str]]:
    """Names of pictures with the same bytes, and of those with the same lot, sequence or part.

    A picture is bound by the coarsest that it names. One that names a part only also goes with pictures of that
    part that name a lot; as pairs, so that where it would tie two lots together, it is the one that gives way.
    """
    levels = LEVELS[LEVELS.index(plan.by) :] if plan.by != "auto" else LEVELS
    bound: dict[tuple[str, str], list[str]] = {}
    besides: dict[tuple[str, str], list[str]] = {}
    for member in members:
        bound.setdefault(("bytes", member.sha256), []).append(member.name)
        named = [(level, value) for level in levels if (value := member.level(level)) is not None]
        for key in named[:1]:
            bound.setdefault(key, []).append(member.name)
        for key in named[1:]:
            besides.setdefault(key, []).append(member.name)
    pairs = [[name, other] for key, names in bound.items() for name in names for other in besides.get(key, ())]
    return [names for names in bound.values() if len(names) > 1] + pairs


def _deal_out(members: Sequence[Member], plan: Plan, groups: Groups) -> dict[str, str]:
    """Side of each group that has none yet, by its first name."""
    counted = [m for m in members if m.name not in groups.aside]  # golden ones as tested on: else test refills
    wanted = _Counts(plan, counted)
    free: dict[str, list[Member]] = {}
    for member in counted:
        side = groups.side(member.name)
        if side is None:
            free.setdefault(groups.first(member.name), []).append(member)
        else:
            wanted.put([member], side)
    order = sorted(free, key=lambda first: (-len(free[first]).bit_length(), _draw(plan.seed, free[first])))
    dealt: dict[str, str] = {}
    for number, first in enumerate(order):
        empty = wanted.empty_sides()
        choices = empty if empty and len(order) - number <= len(empty) else wanted.open_sides
        dealt[first] = min(
            choices, key=lambda side: (wanted.cost(free[first], side), _draw(plan.seed, free[first], side))
        )
        wanted.put(free[first], dealt[first])
    return dealt


class _Counts:
    """How many pictures of each class each side has, and should have."""

    def __init__(self, plan: Plan, members: Sequence[Member]) -> None:
        self.open_sides = [side for side, share in plan.shares.items() if share > 0]
        total = _strata(members)
        self._wanted = {
            (side, stratum): plan.shares[side] * count
            for side in self.open_sides
            for stratum, count in total.items()
        }
        self._have: Counter[tuple[str, str]] = Counter()

    def put(self, group: Sequence[Member], side: str) -> None:
        for stratum, count in _strata(group).items():
            self._have[side, stratum] += count

    def empty_sides(self) -> list[str]:
        return [side for side in self.open_sides if not self._have[side, _EVERY]]

    def cost(self, group: Sequence[Member], side: str) -> float:
        """By how much the distance to what is wanted changes when the group goes to this side."""
        change = 0.0
        for stratum, count in _strata(group).items():
            wanted, have = self._wanted[side, stratum], self._have[side, stratum]
            change += ((have + count - wanted) ** 2 - (have - wanted) ** 2) / wanted
        return change


def _strata(members: Sequence[Member]) -> Counter[str]:
    counts = Counter(stratum for member in members for stratum in member.strata)
    counts[_EVERY] = len(members)
    return counts


def _draw(seed: int, group: Sequence[Member], side: str = "") -> str:
    """The same for the same group and seed on every machine."""
    key = min(member.name for member in group)
    return hashlib.sha256(f"{seed}\n{side}\n{key}".encode()).hexdigest()


def _final_side(member: Member, groups: Groups, dealt: Mapping[str, str]) -> str:
    if member.golden:
        return GOLDEN
    if member.name in groups.aside:
        return ASIDE
    return groups.side(member.name) or dealt[groups.first(member.name)]


def _fit(members: Sequence[Member], plan: Plan, sides: Mapping[str, str], groups: Groups) -> list[str]:
    """Where the groups did not allow what was wanted."""
    sides = {name: "test" if side == GOLDEN else side for name, side in sides.items()}
    counted = [m for m in members if sides[m.name] in SIDES]
    if not counted:
        return ["There is no labelled picture to split."] if not members else []
    said = []
    got = Counter(sides[m.name] for m in counted)
    off = max(abs(got[side] / len(counted) - share) for side, share in plan.shares.items())
    if off > max(_WORTH_SAYING, 0.5 / len(counted)) and any(m.source_side is None for m in counted):
        sizes = Counter(groups.first(m.name) for m in counted)
        said.append(
            f"Wanted {_percent(plan.shares)}, got {_percent({s: got[s] / len(counted) for s in SIDES})}: the "
            f"{len(counted)} pictures form {len(sizes)} groups, the largest of {max(sizes.values())}, "
            "or have their sides from before."
        )
    for stratum in sorted({s for m in counted for s in m.strata}):
        of_it = [m for m in counted if stratum in m.strata]
        missing = [
            side
            for side, share in plan.shares.items()
            if share > 0 and not any(sides[m.name] == side for m in of_it)
        ]
        if missing:
            kept = len({groups.first(m.name) for m in of_it})
            said.append(
                f"No picture of {stratum} in {' and '.join(missing)}: its {len(of_it)} pictures form {kept} "
                f"group{'s' if kept > 1 else ''}."
            )
    return said


def _percent(shares: Mapping[str, float]) -> str:
    return " / ".join(f"{share:.0%} {side}" for side, share in shares.items())
