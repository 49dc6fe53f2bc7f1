# SPDX-License-Identifier: AGPL-3.0-or-later
"""Teach: features of good parts to bank, pose and limit, every score by a model that never saw its part.

Which distance is used is settled on planted defects: the bank alone, unless the parts lie in a fixed pose and
adding the position-wise Gaussian tells planted defects apart better by `WORTH` or more. Where pictures of many
shapes were stretched to one, it is the Gaussian alone or nothing (`teaching` tries it against the bank).
`TEACHABLE` is the least AUROC of planted defects against held-out good parts: below it the backbone does not
see, and nothing is taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.ranks import auroc
from inspection.types import StationFault
from training.anomaly.bank import BANK, coreset
from training.anomaly.features import Looking, Shown
from training.anomaly.folds import least_taught
from training.anomaly.gaussian import ALONE, COMPONENTS, PoseSums
from training.anomaly.modes import Modes, ways_for
from training.anomaly.planted import plant
from training.anomaly.taught import Basis, Pose, Taught, bank_map, pose_map
from training.anomaly.threshold import Limit, choose_limit

BASIS_PARTS = 40
PLANTED = 80
POSE_SHARE = 0.3
"""Least share of the features' variance that the position alone explains, for a pose to count as fixed."""
WORTH, TEACHABLE = 0.02, 0.60
METHODS = ("auto", "bank", "both", "position")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A held-out good part's distance maps: to the bank, from the pose."""

    bank: np.ndarray | None
    pose: np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What teaching gave. scores: held-out distances of the good parts, in their order."""

    taught: Taught
    limit: Limit
    scores: list[float]
    maps: list[np.ndarray]
    separation: float
    separations: dict[str, float]
    pose_share: float


class Teaching:
    """Turned features of all good pictures, and the models of the folds.

    parts: which part each picture shows; without it each shows one of its own.
    """

    def __init__(
        self,
        looking: Looking,
        shown: Sequence[Shown],
        folds: Sequence[int],
        *,
        seed: int,
        bank: int = BANK,
        parts: Sequence[str] | None = None,
    ) -> None:
        self._looking, self._shown, self._folds = looking, shown, folds
        self._seed, self._bank, self._parts = seed, bank, parts
        self._size = (looking.frame.lines, looking.frame.columns)
        self._passes = looking.frame.smoothings
        rng = np.random.default_rng(seed)
        some = np.sort(rng.permutation(len(shown))[:BASIS_PARTS])
        self.basis = Basis.of([looking.features(shown[i].pixels) for i in some])
        self.turned = [self.basis.turn(looking.features(item.pixels)) for item in shown]
        self._ways = ways_for(least_taught(folds, range(len(shown)) if parts is None else parts))

    def patches(self, index: int) -> np.ndarray:
        """Turned features of one part, without the cells that show only padding."""
        grid = self.turned[index].reshape(*self._size, -1)[self._shown[index].inside]
        return grid.reshape(-1, grid.shape[-1])

    def coreset_of(self, indices: Sequence[int]) -> np.ndarray:
        """The bank of these parts."""
        rng = np.random.default_rng([self._seed, len(indices), *indices[:1]])
        return coreset(np.concatenate([self.patches(i) for i in indices]), self._bank, rng)

    def pose_of(self, indices: Sequence[int], components: int) -> Pose:
        """Modes of these parts, as many as the smallest teaching carries, and Gaussians of what those leave."""
        kept = min(components, self.turned[0].shape[1])
        features = np.stack([self.turned[index][:, :kept] for index in indices])
        if not self._ways:
            return Pose.of(PoseSums.of(features), None)
        modes = Modes.of(features, self._ways)
        return Pose.of(PoseSums.of(modes.without(features)), modes)

    def pose_share(self) -> float:
        """Share of the variance that the position explains: 0 for loose texture, near 1 for a fixed pose."""
        mean, square = np.zeros(self.turned[0].shape), np.zeros(self.turned[0].shape)
        for turned in self.turned:
            wide = turned.astype(np.float64)
            mean += wide / len(self.turned)
            square += wide**2 / len(self.turned)
        within = float((square - mean**2).mean(axis=0).sum()) * len(self.turned) / (len(self.turned) - 1)
        total = float((square.mean(axis=0) - mean.mean(axis=0) ** 2).sum())
        return max(0.0, 1 - within / total) if total > 0 else 0.0

    def run(self, *, method: str, overkill: float, least: float = TEACHABLE) -> Outcome:
        """Cross-validate, choose, and fit on all. StationFault when the backbone does not see."""
        share = self.pose_share()
        kinds = self._kinds(method, share)
        everything = range(len(self.turned))
        components = 0 if kinds == ("bank",) else ALONE if method == "position" else COMPONENTS
        held, planted = self._cross_validated(kinds, components)
        insides = [item.inside for item in self._shown]
        units = _units(held, insides)
        separations = self._separations(kinds, held, planted, units)
        kind = kinds[-1]
        if method == "auto" and len(kinds) > 1 and separations["both"] < separations["bank"] + WORTH:
            kind = "bank"
        separation = separations[kind]
        if separation < least:
            raise StationFault(
                f"not teachable: with this backbone, faint defects planted on good parts stand out from"
                f" good parts with AUROC {separation:.2f} only ({least:.2f} is the least); bring another"
                " backbone with --backbone, or pictures that are taken more evenly."
            )
        scores = [_score(item, inside, units, kind) for item, inside in zip(held, insides, strict=True)]
        limit = choose_limit(scores, overkill, parts=self._parts)
        taught = Taught(
            basis=self.basis,
            bank=self._no_bank() if kind == "position" else self.coreset_of(everything),
            pose=None if kind == "bank" else self.pose_of(everything, components),
            bank_unit=units[0],
            pose_unit=units[1],
            limit=limit.value,
            lines=self._size[0],
            columns=self._size[1],
            smoothings=self._passes,
        )
        return Outcome(
            taught=taught,
            limit=limit,
            scores=scores,
            maps=[_total(item, units, kind) for item in held],
            separation=separation,
            separations={name: round(value, 4) for name, value in separations.items()},
            pose_share=share,
        )

    def position_gains(self) -> tuple[float, dict[str, float]]:
        """Share of the variance that the position explains; planted defects by bank and by Gaussian alone."""
        kinds = ("bank", "position")
        held, planted = self._cross_validated(kinds, ALONE)
        units = _units(held, [item.inside for item in self._shown])
        return self.pose_share(), self._separations(kinds, held, planted, units)

    def _kinds(self, method: str, share: float) -> tuple[str, ...]:
        """Which distances are computed; the last is wanted most."""
        if method == "position":
            return ("position",)
        loose = self._looking.frame.average  # pictures of many shapes: no place means the same in two of them
        fixed = method == "both" or (method == "auto" and not loose and share >= POSE_SHARE)
        return ("bank", "both") if fixed else ("bank",)

    def _cross_validated(
        self, kinds: Sequence[str], components: int
    ) -> tuple[list[Held], list[tuple[int, Held]]]:
        """Maps of every part, and of some with a planted defect (its number first), by models without it."""
        held: dict[int, Held] = {}
        planted: list[tuple[int, Held]] = []
        rng = np.random.default_rng([self._seed, 1])
        chosen = set(rng.permutation(len(self.turned))[:PLANTED].tolist())
        for fold in sorted(set(self._folds)):
            rest = [i for i, f in enumerate(self._folds) if f != fold]
            mine = [i for i, f in enumerate(self._folds) if f == fold]
            bank = self._no_bank() if kinds == ("position",) else self.coreset_of(rest)
            pose = self.pose_of(rest, components) if components else None
            for index in mine:
                held[index] = self._held(self.turned[index], bank, pose)
                if index in chosen:
                    other = self._shown[rest[int(rng.integers(len(rest)))]].pixels
                    spoilt = plant(self._shown[index].pixels, other, rng)
                    turned = self.basis.turn(self._looking.features(spoilt))
                    planted.append((index, self._held(turned, bank, pose)))
        return [held[index] for index in range(len(self.turned))], planted

    def _separations(
        self,
        kinds: Sequence[str],
        held: Sequence[Held],
        planted: Sequence[tuple[int, Held]],
        units: tuple[float, float],
    ) -> dict[str, float]:
        """AUROC of planted defects against the same parts without one, by each kind of distance."""
        found: dict[str, float] = {}
        for kind in kinds:
            good = [_score(held[i], self._shown[i].inside, units, kind) for i, _ in planted]
            bad = [_score(item, self._shown[i].inside, units, kind) for i, item in planted]
            found[kind] = auroc(good, bad)
        return found

    def _no_bank(self) -> np.ndarray:
        return np.zeros((0, self.turned[0].shape[1]), np.float32)

    def _held(self, turned: np.ndarray, bank: np.ndarray, pose: Pose | None) -> Held:
        return Held(
            bank=bank_map(turned, bank, self._size, self._passes) if len(bank) else None,
            pose=pose_map(turned, pose, self._size, self._passes) if pose is not None else None,
        )


def _units(held: Sequence[Held], insides: Sequence[tuple[slice, slice]]) -> tuple[float, float]:
    """What a typical good part reaches, of either distance."""

    def typical(maps: Sequence[np.ndarray | None]) -> float:
        reached = [m[inside].max() for m, inside in zip(maps, insides, strict=True) if m is not None]
        return max(float(np.median(reached)), 1e-6) if reached else 1.0

    return typical([item.bank for item in held]), typical([item.pose for item in held])


def _total(item: Held, units: tuple[float, float], kind: str) -> np.ndarray:
    near = item.bank / np.float32(units[0]) if item.bank is not None and kind != "position" else None
    away = item.pose / np.float32(units[1]) if item.pose is not None and kind != "bank" else None
    if near is None or away is None:
        only = away if near is None else near
        assert only is not None  # noqa: S101 - every kind has one of the two
        return only
    return near + away


def _score(item: Held, inside: tuple[slice, slice], units: tuple[float, float], kind: str) -> float:
    return float(_total(item, units, kind)[inside].max())
