# SPDX-License-Identifier: AGPL-3.0-or-later
"""How good parts in a fixed pose vary as a whole, taken off before a position-wise Gaussian looks.

A turned thread, a step of the light, a part that lies two pixels further: each changes many places at once, and
always in the same few ways. These ways are the principal components of whole feature maps of the taught parts.
What they explain of a part is no defect; what is left is measured (eigenfaces' "distance from feature space",
Turk and Pentland 1991, on features, position by position). A part may use each way only as far as good parts
do: what goes beyond stays, so that a part that is wrong all over does not pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MOST, SHARE, FROM = 40, 0.375, 64
"""So many ways, at most this share of the parts that the smallest teaching of a fold rests on; none below
`FROM` of them, which are too few to tell how parts vary from how these do (magnetic tiles, 40 parts: AUROC 0.86
without, 0.84 with). In five even folds that is 0.3 of all parts, from 80 on."""
REACH = 2.5
"""How far along one way a part may go, in standard deviations of the taught parts."""
_LEAST = 1e-6  # of the largest eigenvalue: below it is rounding


def ways_for(parts: int) -> int:
    """How many ways are taken off where the smallest teaching of a fold has so many parts.

    The final fit takes off as many: its distances are measured by the folds' limit. Counted by all parts, the
    ways would explain a small teaching completely; nothing would be left to measure held-out parts by.
    """
    return min(MOST, int(SHARE * parts)) if parts >= FROM else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Ways (g, p x d) of unit length at right angles to each other, from `centre` (p, d); `reach` (g,)."""

    centre: np.ndarray = field(repr=False)
    ways: np.ndarray = field(repr=False)
    reach: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, features: np.ndarray, wanted: int) -> Modes:
        """`wanted` ways, or fewer where there are no more, from the features (n, p, d) of n parts."""
        parts = len(features)
        centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        away = (features - centre).reshape(parts, -1)
        values, vectors = np.linalg.eigh((away @ away.T).astype(np.float64))
        chosen = [i for i in range(parts - 1, -1, -1) if values[i] > _LEAST * values[-1]][:wanted]
        lengths = np.sqrt(values[chosen])
        ways = (vectors[:, chosen] / lengths).T.astype(np.float32) @ away
        reach = REACH * lengths / np.sqrt(parts)
        return cls(centre=centre, ways=ways, reach=reach.astype(np.float32))

    def without(self, features: np.ndarray) -> np.ndarray:
        """Features (n, p, d) or (p, d) less what the ways explain of them; float32."""
        away = (features - self.centre).reshape(-1, self.centre.size)
        used = np.clip(away @ self.ways.T, -self.reach, self.reach)
        return features - (used @ self.ways).reshape(features.shape)
