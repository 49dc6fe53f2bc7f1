# SPDX-License-Identifier: AGPL-3.0-or-later
"""Teach: features of good parts to bank, pose and limit, every score by a model that never saw its part.

Which distance is used is settled on planted defects: the bank alone, unless the parts lie in a fixed pose and
adding the position-wise Gaussian tells planted defects apart better by `WORTH` or more. `TEACHABLE` is the
least AUROC of planted defects against held-out good parts: below it the backbone does not see, and nothing is
taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.ranks import auroc
from inspection.types import StationFault
from training.anomaly.bank import BANK, coreset
from training.anomaly.features import Looking, Shown
from training.anomaly.gaussian import COMPONENTS, PoseSums
from training.anomaly.planted import plant
from training.anomaly.taught import Basis, Pose, Taught, bank_map, pose_map
from training.anomaly.threshold import Limit, choose_limit

BASIS_PARTS = 40
PLANTED = 80
POSE_SHARE = 0.3
"""Least share of the features' variance that the position alone explains, for a pose to count as fixed."""
WORTH, TEACHABLE = 0.02, 0.60
METHODS = ("auto", "bank", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A held-out good part's two distance maps."""

    bank: np.ndarray
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
    """Turned features of all good parts, and the models of the folds."""

    def __init__(
        self, looking: Looking, shown: Sequence[Shown], folds: Sequence[int], *, seed: int, bank: int = BANK
    ) -> None:
        self._looking, self._shown, self._folds = looking, shown, folds
        self._seed, self._bank = seed, bank
        self._size = (looking.frame.lines, looking.frame.columns)
        self._passes = looking.frame.smoothings
        rng = np.random.default_rng(seed)
        some = np.sort(rng.permutation(len(shown))[:BASIS_PARTS])
        self.basis = Basis.of([looking.features(shown[i].pixels) for i in some])
        self.turned = [self.basis.turn(looking.features(item.pixels)) for item in shown]

    def patches(self, index: int) -> np.ndarray:
        """Turned features of one part, without the cells that show only padding."""
        grid = self.turned[index].reshape(*self._size, -1)[self._shown[index].inside]
        return grid.reshape(-1, grid.shape[-1])

    def coreset_of(self, indices: Sequence[int]) -> np.ndarray:
        """The bank of these parts."""
        rng = np.random.default_rng([self._seed, len(indices), *indices[:1]])
        return coreset(np.concatenate([self.patches(i) for i in indices]), self._bank, rng)

    def sums_of(self, indices: Sequence[int]) -> PoseSums:
        """The pose sums of these parts."""
        kept = min(COMPONENTS, self.turned[0].shape[1])
        sums = PoseSums.empty(self._size[0] * self._size[1], kept)
        for index in indices:
            sums.add(self.turned[index][:, :kept])
        return sums

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
        loose = self._looking.frame.average  # pictures of many shapes: no place means the same in two of them
        fixed = method == "both" or (method == "auto" and not loose and share >= POSE_SHARE)
        held: list[Held | None] = [None] * len(self.turned)
        planted: list[tuple[int, Held]] = []
        rng = np.random.default_rng([self._seed, 1])
        chosen = set(rng.permutation(len(self.turned))[:PLANTED].tolist())
        everything = range(len(self.turned))
        sums = self.sums_of(everything) if fixed else None
        for fold in sorted(set(self._folds)):
            rest = [i for i, f in enumerate(self._folds) if f != fold]
            bank = self.coreset_of(rest)
            pose = None
            if sums is not None:
                mine = self.sums_of([i for i, f in enumerate(self._folds) if f == fold])
                pose = Pose.of(sums.without(mine))
            for index in (i for i, f in enumerate(self._folds) if f == fold):
                held[index] = self._held(self.turned[index], bank, pose)
                if index in chosen:
                    other = self._shown[rest[int(rng.integers(len(rest)))]].pixels
                    spoilt = plant(self._shown[index].pixels, other, rng)
                    turned = self.basis.turn(self._looking.features(spoilt))
                    planted.append((index, self._held(turned, bank, pose)))
        complete = [item for item in held if item is not None]
        insides = [item.inside for item in self._shown]
        clean = sorted(chosen)
        units = _units(complete, insides)
        separations: dict[str, float] = {}
        for name in ("bank", "both") if fixed else ("bank",):
            good = [_score(complete[i], insides[i], units, name == "both") for i in clean]
            bad = [_score(item, insides[i], units, name == "both") for i, item in planted]
            separations[name] = auroc(good, bad)
        both = fixed and (method == "both" or separations["both"] >= separations["bank"] + WORTH)
        separation = separations["both" if both else "bank"]
        if separation < least:
            raise StationFault(
                f"not teachable: with this backbone, faint defects planted on good parts stand out from"
                f" good parts with AUROC {separation:.2f} only ({least:.2f} is the least); bring another"
                " backbone with --backbone, or pictures that are taken more evenly."
            )
        scores = [_score(item, inside, units, both) for item, inside in zip(complete, insides, strict=True)]
        limit = choose_limit(scores, overkill)
        taught = Taught(
            basis=self.basis,
            bank=self.coreset_of(everything),
            pose=Pose.of(sums) if both and sums is not None else None,
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
            maps=[_total(item, units, both) for item in complete],
            separation=separation,
            separations={name: round(value, 4) for name, value in separations.items()},
            pose_share=share,
        )

    def _held(self, turned: np.ndarray, bank: np.ndarray, pose: Pose | None) -> Held:
        return Held(
            bank=bank_map(turned, bank, self._size, self._passes),
            pose=pose_map(turned, pose, self._size, self._passes) if pose is not None else None,
        )


def _units(held: Sequence[Held], insides: Sequence[tuple[slice, slice]]) -> tuple[float, float]:
    """What a typical good part reaches, of either distance."""
    bank = float(np.median([item.bank[inside].max() for item, inside in zip(held, insides, strict=True)]))
    poses = [
        item.pose[inside].max() for item, inside in zip(held, insides, strict=True) if item.pose is not None
    ]
    return max(bank, 1e-6), max(float(np.median(poses)), 1e-6) if poses else 1.0


def _total(item: Held, units: tuple[float, float], both: bool) -> np.ndarray:
    total = item.bank / np.float32(units[0])
    return total + item.pose / np.float32(units[1]) if both and item.pose is not None else total


def _score(item: Held, inside: tuple[slice, slice], units: tuple[float, float], both: bool) -> float:
    return float(_total(item, units, both)[inside].max())
