# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the pictures of a set say about themselves: blur, exposure, size, and tell-tale trivial statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np

from datasets.kept import Kept
from datasets.labels import Picture
from datasets.ranks import auroc
from datasets.readiness_remarks import Remark, Weight

_FEW = 8  # pictures below which no outlier can be told
_OUTLYING = 4.0  # robust standard deviations
_BLURRED = 0.35  # of the set's median sharpness, at most
_ODD_GREY = 10.0  # grey levels from the median, at least
_CLIPPED = 0.25  # of all pixels
_TELLING = 0.90  # AUROC from which a trivial statistic solves the task
_SIZE_RATIO = 2.0
_VERSION = f"measured 1 opencv {cv2.__version__}"  # count up when `_measure` says other things


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Statistics of one picture; all zero when it cannot be read."""

    readable: bool
    width_px: int = 0
    height_px: int = 0
    mean_grey: float = 0.0
    sharpness: float = 0.0  # variance of the Laplacian
    black: float = 0.0  # share of pixels at 0
    white: float = 0.0  # share of pixels at 255


def measure(pictures: Sequence[Picture], kept: Kept | None = None) -> dict[str, Measured]:
    """Read each picture once; one that cannot be read is said so, not raised. kept: see `datasets/kept.py`."""
    kept = Kept() if kept is None else kept
    there, contents = [], []
    for picture in pictures:
        with suppress(OSError):
            contents.append(kept.digest(picture.path))
            there.append(picture)
    rows = kept.rows((_VERSION,), contents, lambda index: (_measure(there[index]),))
    found = {picture.name: Measured(readable=False) for picture in pictures}
    for picture, (values,) in zip(there, rows, strict=True):
        if len(values):
            width_px, height_px, mean_grey, sharpness, black, white = values.tolist()
            found[picture.name] = Measured(
                readable=True,
                width_px=int(width_px),
                height_px=int(height_px),
                mean_grey=mean_grey,
                sharpness=sharpness,
                black=black,
                white=white,
            )
    return found


def _measure(picture: Picture) -> np.ndarray:
    """What `Measured` says of a picture, in its order; nothing when it cannot be read."""
    grey = cv2.imread(str(picture.path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        return np.zeros(0)
    height_px, width_px = grey.shape
    shares = float((grey == 0).mean()), float((grey == 255).mean())
    return np.array([width_px, height_px, float(grey.mean()), laplacian_variance(grey), *shares])


def laplacian_variance(grey: np.ndarray) -> float:
    """Sharpness of a uint8 grey picture: the more fine detail, the higher (Pech-Pacheco et al., ICPR 2000)."""
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def pixel_remarks(where: str, pictures: Sequence[Picture], measured: Mapping[str, Measured]) -> list[Remark]:
    """Everything that the pixels alone can tell about one part of a split."""
    names = [p.name for p in pictures if measured[p.name].readable]
    unread = [p.name for p in pictures if not measured[p.name].readable]
    out = []
    if unread:
        out.append(
            Remark(
                topic="pictures",
                weight=Weight.FORBIDS,
                where=where,
                text=f"{len(unread)} pictures cannot be read.",
                remedy="Replace them, or take them out of the set.",
                names=tuple(unread),
            )
        )
    if len(names) < _FEW:
        return out
    out += _outliers(where, names, measured)
    out += _sizes(where, names, measured)
    out += _telling(where, [p for p in pictures if measured[p.name].readable], measured)
    return out


def _outliers(where: str, names: Sequence[str], measured: Mapping[str, Measured]) -> list[Remark]:
    sharp = np.array([measured[name].sharpness for name in names])
    grey = np.array([measured[name].mean_grey for name in names])
    two_valued = np.array([measured[name].black + measured[name].white > 0.98 for name in names])
    clips = np.array([max(measured[name].black, measured[name].white) > _CLIPPED for name in names])
    unsharp = (_distance(np.log(sharp + 1e-3)) < -_OUTLYING) & (sharp < _BLURRED * np.median(sharp))
    odd = (np.abs(_distance(grey)) > _OUTLYING) & (np.abs(grey - np.median(grey)) > _ODD_GREY)

    def those(which: np.ndarray) -> list[str]:
        return [names[i] for i in np.flatnonzero(which).tolist()]

    blurred, exposed, clipped = those(unsharp), those(odd & ~two_valued), those(clips & ~two_valued)
    found = (
        (
            "blur",
            blurred,
            "pictures are far less sharp than the rest",
            "Look at them: take out what the station's focus limit would refuse, and check focus and motion.",
        ),
        (
            "exposure",
            exposed,
            f"pictures are far brighter or darker than the rest (median grey {np.median(grey):.0f})",
            "Check light and exposure; keep them only if the line will show such pictures too.",
        ),
        (
            "exposure",
            clipped,
            f"pictures have over {100 * _CLIPPED:g} % of their pixels at black or white",
            "Lower exposure or gain: what is clipped cannot be inspected. A masked background may stay.",
        ),
    )
    return [
        Remark(
            topic=topic,
            weight=Weight.WARNS,
            where=where,
            text=f"{len(some)} {text}.",
            remedy=remedy,
            names=tuple(some),
        )
        for topic, some, text, remedy in found
        if some
    ]


def _distance(values: np.ndarray) -> np.ndarray:
    """Distance from the median in robust standard deviations."""
    middle = np.median(values)
    return (values - middle) / (1.4826 * np.median(np.abs(values - middle)) + 1e-9)


def _sizes(where: str, names: Sequence[str], measured: Mapping[str, Measured]) -> list[Remark]:
    sides = np.array([max(measured[n].width_px, measured[n].height_px) for n in names])
    kinds = len({(measured[n].width_px, measured[n].height_px) for n in names})
    if sides.max() < _SIZE_RATIO * sides.min():
        return []
    return [
        Remark(
            topic="sizes",
            weight=Weight.WARNS,
            where=where,
            text=f"Pictures come in {kinds} sizes, the longer side from {sides.min()} to {sides.max()} px: the "
            "same defect is shown to the network at very different scales.",
            remedy="Cut all pictures to one field of view, or train with an input that fits the largest.",
        )
    ]


def _telling(where: str, pictures: Sequence[Picture], measured: Mapping[str, Measured]) -> list[Remark]:
    """Where one plain number separates good from defective, a model may learn the camera, not the defect."""
    bad = np.array([not picture.good for picture in pictures])
    if min(bad.sum(), (~bad).sum()) < _FEW:
        return []
    statistics: dict[str, Callable[[Measured], float]] = {
        "mean grey": lambda m: m.mean_grey,
        "Laplacian variance": lambda m: m.sharpness,
    }
    out = []
    for name, of in statistics.items():
        values = np.array([of(measured[picture.name]) for picture in pictures])
        area = auroc(values[~bad], values[bad])
        area = max(area, 1 - area)
        if area >= _TELLING:
            out.append(
                Remark(
                    topic="trivial statistic",
                    weight=Weight.WARNS,
                    where=where,
                    text=f"The {name} of a picture alone tells good from defective (AUROC {area:.3f}).",
                    remedy="Photograph good and defective parts in the same session, normalise gain, judge "
                    "by where the model looks, not by picture scores.",
                )
            )
    return out
