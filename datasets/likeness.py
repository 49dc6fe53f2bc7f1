# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which pictures are near-twins, and which of those lie on both sides of a split.

Four steps. Identical bytes are found by sha256. A perceptual hash (256 bits of a DCT) and features of each
picture name its few nearest candidates. Sketches (`datasets/sketches.py`) tell which of these may be twins at
all; those are laid on each other and compared in detail (`datasets/registration.py`). How alike is too alike is
measured on the data at hand: one camera and one fixture make every picture alike, so twins have to be at least
halfway from what unrelated pictures of the set reach to identity. Rotations are not looked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import cv2
import numpy as np

from datasets.features import Describe, name_of, plain_features, read_grey
from datasets.kept import Kept
from datasets.labels import Picture
from datasets.registration import NONE, Agreement, Sight, agreement, sight, thumbnail
from datasets.sketches import promising
from inspection.types import StationFault

HASH_BITS = 256
_LOW = 17  # frequencies kept in each direction; the first coefficient (brightness) is left out
_CANDIDATES = 3  # nearest by hash, and as many by features
_BACKGROUND_PAIRS = 80
_BACKGROUND_SHARE = 0.95
_LEAST_FINE, _LEAST_COARSE = 0.5, 0.9  # no threshold falls below, however unlike a set's pictures are
_ENOUGH = (0.75, 0.85, 0.97)  # fine agreement that ends a registration; few steps, so that it can be kept
_SIGHTS = 256  # kept at hand, 200 kB each: candidates of one picture are candidates of its twins
_BLOCK = 256
_VERSION = f"1 opencv {cv2.__version__}"  # of hash, thumbnail, agreement: count up when they say other things


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What is compared of some pictures, one row each."""

    pictures: tuple[Picture, ...]
    digests: tuple[str, ...]  # sha256 of the files
    hashes: np.ndarray  # bool (N, 256)
    features: np.ndarray  # float32 (N, D)
    thumbnails: np.ndarray  # uint8 (N, 128, 128)
    kept: Kept  # where it was kept, and what comes of comparing will be


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What unrelated pictures of the set reach (95 of 100 pairs lie below), and the limits that follow."""

    pairs: int
    reached: Agreement
    limit: Agreement
    by_group: bool  # pairs were drawn from different parts, sequences or lots, not only at random


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """Two pictures that are nearly the same."""

    first: str
    second: str
    exact: bool
    hash_bits: int  # of 256 that differ
    agreement: Agreement
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Straddle:
    """A part, sequence or lot with pictures on both sides of a split."""

    kind: str  # part | sequence | lot
    name: str
    train: int
    test: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """What a test part shares with a training part. No pairs and no straddles: nothing was found."""

    pairs: tuple[Twins, ...]  # first is in train, second in test
    straddles: tuple[Straddle, ...]
    background: Background


def perceptual_hash(grey: np.ndarray) -> np.ndarray:
    """256 bits of a picture's coarse layout: which low DCT frequencies lie above their median."""
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_LOW, :_LOW].ravel()[1 : HASH_BITS + 1]
    return low > np.median(low)


def looks(pictures: Sequence[Picture], describe: Describe = plain_features, kept: Kept | None = None) -> Looks:
    """Read each picture once and keep what is compared. Raises StationFault naming a file that is none.

    kept: where it was kept before; a description without a name of its own is never kept.
    """
    name = name_of(describe)
    kept = Kept() if kept is None or name is None else kept

    def seen(index: int) -> tuple[np.ndarray, ...]:
        grey = read_grey(pictures[index].path)
        return perceptual_hash(grey), thumbnail(grey), np.asarray(describe([grey])[0], np.float32)

    digests = [_digest(kept, picture) for picture in pictures]
    rows = kept.rows((f"hash {_VERSION}", f"thumbnail {_VERSION}", f"features {name}"), digests, seen)
    hashes, thumbnails, features = zip(*rows, strict=True) if rows else ((), (), ())
    return Looks(
        pictures=tuple(pictures),
        digests=tuple(digests),
        hashes=np.array(hashes, bool).reshape(-1, HASH_BITS),
        features=np.array(features, np.float32) if features else np.zeros((0, 0), np.float32),
        thumbnails=np.array(thumbnails, np.uint8),
        kept=kept,
    )


def _digest(kept: Kept, picture: Picture) -> str:
    try:
        return kept.digest(picture.path)
    except OSError as error:
        raise StationFault(
            f"{picture.path} cannot be read ({error.strerror}); replace it or take it out of the set"
        ) from error


def leaks(
    train: Sequence[Picture] | Looks, test: Sequence[Picture] | Looks, describe: Describe = plain_features
) -> Leaks:
    """Find near-twins and groups that lie in both parts. `pairs` is sorted: surest first."""
    one = train if isinstance(train, Looks) else looks(train, describe)
    other = test if isinstance(test, Looks) else looks(test, describe)
    background = background_of(one, other)
    pairs = _exact(one, other)
    found = [_twins((one, i), (other, j), NONE, background, exact=True) for i, j in pairs]
    found += _confirmed(one, other, _candidates(one, other) - set(pairs), background)
    found.sort(key=lambda t: (not t.exact, -t.agreement.fine - t.agreement.coarse, t.first, t.second))
    return Leaks(
        pairs=tuple(found),
        straddles=straddles(one.pictures, other.pictures),
        background=background,
    )


def twin_pairs(
    pictures: Sequence[Picture] | Looks,
    describe: Describe = plain_features,
    *,
    among: Collection[str] | None = None,
    background: Background | None = None,
) -> tuple[Twins, ...]:
    """Near-twins within one set, each pair once. among: only pairs of which one at least is named here.

    background: what unrelated pictures reach, where these may all be twins; without it the set itself tells.
    """
    seen = pictures if isinstance(pictures, Looks) else looks(pictures, describe)
    if len(seen.pictures) < 2:
        return ()
    background = background or background_of(seen, seen)
    exact = {(i, j) for i, j in _exact(seen, seen) if i < j}
    near = {(min(i, j), max(i, j)) for i, j in _candidates(seen, seen) if i != j} - exact
    if among is not None:
        asked = [picture.name in among for picture in seen.pictures]
        exact, near = ({(i, j) for i, j in some if asked[i] or asked[j]} for some in (exact, near))
    found = [_twins((seen, i), (seen, j), NONE, background, exact=True) for i, j in sorted(exact)]
    return (*found, *_confirmed(seen, seen, near, background))


def twins(pictures: Sequence[Picture] | Looks, describe: Describe = plain_features) -> list[set[str]]:
    """Groups of names that belong on one side of a split: chains of near-twins, each of two or more."""
    seen = pictures if isinstance(pictures, Looks) else looks(pictures, describe)
    return joined((pair.first, pair.second) for pair in twin_pairs(seen))


def joined(pairs: Iterable[tuple[str, str]]) -> list[set[str]]:
    """Connected components of pairs, in order of their first name."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for a, b in pairs:
        parent[root(a)] = root(b)
    groups: dict[str, set[str]] = {}
    for name in parent:
        groups.setdefault(root(name), set()).add(name)
    return sorted(groups.values(), key=min)


def straddles(train: Sequence[Picture], test: Sequence[Picture]) -> tuple[Straddle, ...]:
    """Parts, sequences and lots that have pictures in both."""
    out = []
    for kind in ("part", "sequence", "lot"):
        counts: list[dict[str, int]] = []
        for side in (train, test):
            count: dict[str, int] = {}
            for picture in side:
                name = getattr(picture, kind)
                if name is not None:
                    count[name] = count.get(name, 0) + 1
            counts.append(count)
        out += [
            Straddle(kind=kind, name=name, train=counts[0][name], test=counts[1][name])
            for name in sorted(counts[0].keys() & counts[1].keys())
        ]
    return tuple(out)


def background_of(one: Looks, other: Looks, seed: int = 0) -> Background:
    """How alike unrelated pictures are: pairs of different groups where groups are known, else at random.

    At random a few pairs may be twins themselves; the 95th percentile bears that as long as they are few.
    """
    rng = np.random.default_rng(seed)
    total = len(one.pictures) * len(other.pictures)
    picks = (
        rng.permutation(total)[: 4 * _BACKGROUND_PAIRS] if total < 10_000_000 else rng.integers(total, size=600)
    )
    pairs: list[tuple[int, int]] = []
    by_group = False
    for pick in picks.tolist():
        i, j = divmod(pick, len(other.pictures))
        a, b = one.pictures[i], other.pictures[j]
        if a.path == b.path or one.digests[i] == other.digests[j] or _together(a, b):
            continue
        by_group = by_group or any(getattr(a, k) is not None and getattr(b, k) is not None for k in _GROUPS)
        pairs.append((i, j))
        if len(pairs) == _BACKGROUND_PAIRS:
            break
    values = _agreements(one, other, pairs, _ENOUGH[-1])
    share = [
        float(np.quantile(side, _BACKGROUND_SHARE)) if values else 0.0
        for side in ([v.fine for v in values], [v.coarse for v in values])
    ]
    return reaching(share[0], share[1], pairs=len(values), by_group=by_group)


def reaching(fine: float, coarse: float, *, pairs: int = 0, by_group: bool = False) -> Background:
    """The background of a set whose unrelated pictures agree so far, and the limits that follow."""
    return Background(
        pairs=pairs,
        reached=Agreement(fine=fine, coarse=coarse),
        limit=Agreement(fine=max(_LEAST_FINE, (1 + fine) / 2), coarse=max(_LEAST_COARSE, (2 + coarse) / 3)),
        by_group=by_group,
    )


_GROUPS = ("part", "sequence", "lot")


def _together(a: Picture, b: Picture) -> bool:
    return any(getattr(a, kind) is not None and getattr(a, kind) == getattr(b, kind) for kind in _GROUPS)


def _alike(agrees: Agreement, background: Background) -> bool:
    coarse = agrees.coarse >= background.limit.coarse and agrees.fine >= background.reached.fine
    return coarse or agrees.fine >= background.limit.fine


def _confirmed(
    one: Looks, other: Looks, pairs: Collection[tuple[int, int]], background: Background
) -> list[Twins]:
    """Those of the candidates that are near-twins, by their places."""
    hopeful = promising(one.thumbnails, other.thumbnails, pairs)
    enough = next(step for step in _ENOUGH if step >= min(background.limit.fine, _ENOUGH[-1]))
    return [
        _twins((one, i), (other, j), agrees, background)
        for (i, j), agrees in zip(hopeful, _agreements(one, other, hopeful, enough), strict=True)
        if _alike(agrees, background)
    ]


def _agreements(one: Looks, other: Looks, pairs: Sequence[tuple[int, int]], enough: float) -> list[Agreement]:
    """How well each pair agrees once it is laid on each other."""
    first, second = (lru_cache(_SIGHTS)(partial(_sight_of, side)) for side in (one, other))

    def compare(index: int) -> tuple[np.ndarray]:
        i, j = pairs[index]
        agrees = agreement(first(i), second(j), enough)
        return (np.array([agrees.fine, agrees.coarse]),)

    contents = [f"{one.digests[i]} {other.digests[j]}" for i, j in pairs]
    rows = one.kept.rows((f"agreement {_VERSION} {enough}",), contents, compare)
    return [Agreement(fine=float(fine), coarse=float(coarse)) for ((fine, coarse),) in rows]


def _sight_of(side: Looks, index: int) -> Sight:
    return sight(side.thumbnails[index])


def _exact(one: Looks, other: Looks) -> list[tuple[int, int]]:
    where: dict[str, list[int]] = {}
    for i, value in enumerate(one.digests):
        where.setdefault(value, []).append(i)
    return [(i, j) for j, value in enumerate(other.digests) for i in where.get(value, [])]


def _candidates(one: Looks, other: Looks) -> set[tuple[int, int]]:
    """The few nearest of `one` to each of `other`, by hash and by features; never a picture with itself."""
    if not one.pictures or not other.pictures:
        return set()
    both = np.concatenate([one.features, other.features])
    middle, spread = both.mean(axis=0), both.std(axis=0) + 1e-6
    spaces = (
        (one.hashes * 2.0 - 1.0, other.hashes * 2.0 - 1.0),
        ((one.features - middle) / spread, (other.features - middle) / spread),
    )
    same = one is other
    count = min(len(one.pictures), _CANDIDATES + same)
    found: set[tuple[int, int]] = set()
    for space, asked in spaces:
        reach = (space**2).sum(axis=1)
        for start in range(0, len(asked), _BLOCK):
            far = reach[None] - 2 * asked[start : start + _BLOCK] @ space.T
            nearest = np.argpartition(far, count - 1, axis=1)[:, :count]
            found |= {
                (int(i), start + j)
                for j, row in enumerate(nearest)
                for i in row
                if not (same and int(i) == start + j)
            }
    return found


def _twins(
    a: tuple[Looks, int],
    b: tuple[Looks, int],
    agrees: Agreement,
    background: Background,
    *,
    exact: bool = False,
) -> Twins:
    (one, i), (other, j) = a, b
    bits = int((one.hashes[i] != other.hashes[j]).sum())
    why = "the files are identical, byte by byte"
    if not exact:
        fine = agrees.fine >= background.limit.fine
        kind, value, reached = (
            ("fine", agrees.fine, background.reached.fine)
            if fine
            else ("coarse", agrees.coarse, background.reached.coarse)
        )
        why = (
            f"laid on each other their {kind} details agree to {value:.2f} or more, where 95 of 100 unrelated "
            f"pairs of these pictures stay below {reached:.2f}; {bits} of {HASH_BITS} hash bits differ"
        )
    return Twins(
        first=one.pictures[i].name,
        second=other.pictures[j].name,
        exact=exact,
        hash_bits=bits,
        agreement=Agreement(fine=1.0, coarse=1.0) if exact else agrees,
        why=why,
    )
