# SPDX-License-Identifier: AGPL-3.0-or-later
"""Groups of pictures that must lie on one side, and who is left aside where two sides would be tied.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

_STRONGER = {"test": 2, "val": 1, "train": 0}  # what was measured on stays; what was learnt from gives way


class Groups:
    """Union of names. `fixed`: names whose side is known; two different sides are never united."""

    def __init__(self, names: Sequence[str], fixed: Mapping[str, str]) -> None:
        self._parent = {name: name for name in names}
        self._fixed = fixed
        self._side: dict[str, str | None] = {name: fixed.get(name) for name in names}  # of each root
        self.aside: dict[str, str] = {}
        self.sentences: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._parent

    def first(self, name: str) -> str:
        """The name that stands for a picture's group."""
        root = name
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[name] != root:
            self._parent[name], name = root, self._parent[name]
        return root

    def side(self, name: str) -> str | None:
        """The side of a picture's group, None when it has none yet."""
        return self._side[self.first(name)]

    def unite(self, names: Collection[str], why: str) -> None:
        """Put pictures into one group. Where that would tie two sides together, some of them are left aside.

        Of pictures that have sides of their own, the strongest side stays (test, val, train). A picture without
        a side of its own gives way to one that has.
        """
        names = [name for name in dict.fromkeys(names) if name not in self.aside]
        sides = {side for name in names if (side := self.side(name)) is not None}
        if len(sides) > 1:
            own = {side for name in names if (side := self._fixed.get(name)) is not None}
            kept = max(own or sides, key=_STRONGER.__getitem__)
            self._leave_aside([n for n in names if self.side(n) not in (None, kept)], kept, why, names)
            names = [name for name in names if name not in self.aside]
        for name in names[1:]:
            self._join(names[0], name)

    def numbered(self) -> dict[str, int]:
        """Number of each picture's group, in order of appearance."""
        numbers: dict[str, int] = {}
        return {name: numbers.setdefault(self.first(name), len(numbers)) for name in self._parent}

    def _join(self, a: str, b: str) -> None:
        a, b = self.first(a), self.first(b)
        if a != b:
            self._parent[b] = a
            self._side[a] = self._side[a] or self._side[b]

    def _leave_aside(self, leaving: Sequence[str], kept: str, why: str, names: Sequence[str]) -> None:
        for name in leaving:
            self.aside[name] = why
        was = sorted({self.side(name) or "" for name in leaving})
        stays = next((name for name in names if name not in self.aside), names[0])
        more = f" and {len(leaving) - 1} more" if len(leaving) > 1 else ""
        self.sentences.append(
            f"{leaving[0]}{more} left aside: they {why} with {stays}, which is in {kept}, but are tied to "
            f"{' and '.join(was)}."
        )
