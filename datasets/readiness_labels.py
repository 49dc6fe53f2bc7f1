# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the labels of a set say about themselves: counts, contradictions, boxes that cannot be. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from datasets.labels import GOOD_CLASSES, Label, LabelledSet, Picture
from datasets.readiness_pixels import Measured
from datasets.readiness_remarks import Remark, Weight

LEAST_TO_LEARN = 10
"""Labels of a class below which a detector cannot be expected to learn it."""
LARGEST_IMBALANCE = 20.0
_TINY_PX = 3.0
_OUTSIDE_PX = 1.0  # labels may stand out by rounding


def count_classes(data: LabelledSet) -> dict[str, int]:
    """Labels a class, every class of the set included; whole-picture classes where nothing is drawn."""
    counts = dict.fromkeys(data.classes, 0)
    for picture in data.pictures:
        for label in picture.labels:
            counts[label.class_name] = counts.get(label.class_name, 0) + 1
        if not picture.labels and picture.image_class is not None and not picture.good:
            counts[picture.image_class] = counts.get(picture.image_class, 0) + 1
    return counts


def label_remarks(where: str, data: LabelledSet, measured: Mapping[str, Measured]) -> list[Remark]:
    """Everything that labels alone can tell about one part of a split."""
    out = _counts(where, data) if where in {"data", "train"} else []
    if not data.pictures:
        out.append(_remark("counts", Weight.FORBIDS, where, "There are no pictures.", "Add pictures."))
        return out
    out += _boxes(where, data)
    out += _whole(where, data)
    wrong = [
        p.name
        for p in data.pictures
        if measured[p.name].readable
        and (measured[p.name].width_px, measured[p.name].height_px) != (p.width_px, p.height_px)
    ]
    if wrong:
        out.append(
            _remark(
                "sizes",
                Weight.FORBIDS,
                where,
                f"{len(wrong)} pictures are not of the size that their labels were made for.",
                "Put back the original pictures, or scale the labels and correct width and height.",
                wrong,
            )
        )
    unlinked = [p.name for p in data.pictures if p.part is None and p.lot is None and p.sequence is None]
    if unlinked:
        out.append(
            _remark(
                "links",
                Weight.WARNS,
                where,
                f"{len(unlinked)} of {len(data.pictures)} pictures name no part, sequence or lot: nobody "
                "can tell which belong together, and each counts as a part of its own.",
                "Give `part`, `sequence` or `lot` with the import, from file names or from the line's records.",
                unlinked,
            )
        )
    return out


def _remark(  # noqa: PLR0917 - a sentence with its parts in their usual order
    topic: str, weight: Weight, where: str, text: str, remedy: str, names: list[str] | None = None
) -> Remark:
    return Remark(topic=topic, weight=weight, where=where, text=text, remedy=remedy, names=tuple(names or ()))


def _counts(where: str, data: LabelledSet) -> list[Remark]:
    counts = count_classes(data)
    out = []
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        out.append(
            _remark(
                "counts",
                Weight.WARNS,
                where,
                f"{len(empty)} classes have no label at all: {', '.join(empty)}.",
                "Label some, or take the class out.",
                empty,
            )
        )
    thin = {name: count for name, count in counts.items() if 0 < count < LEAST_TO_LEARN}
    if thin:
        told = ", ".join(f"{name} {count}" for name, count in thin.items())
        out.append(
            _remark(
                "counts",
                Weight.WARNS,
                where,
                f"Too thin to learn: {told}.",
                f"Collect {LEAST_TO_LEARN} labels or more of each, or join it with a class like it.",
                list(thin),
            )
        )
    full = {name: count for name, count in counts.items() if count}
    if full and max(full.values()) > LARGEST_IMBALANCE * min(full.values()):
        most, least = max(full, key=full.__getitem__), min(full, key=full.__getitem__)
        out.append(
            _remark(
                "imbalance",
                Weight.WARNS,
                where,
                f"{most} has {full[most]} labels, {least} only {full[least]}.",
                f"Collect more of {least} (sampling puts new-looking pictures first), and judge by class.",
                [least],
            )
        )
    return out


def _boxes(where: str, data: LabelledSet) -> list[Remark]:
    lost, out_of, tiny, twice = [], [], [], []
    for picture in data.pictures:
        known: set[tuple[object, ...]] = set()
        for number, label in enumerate(picture.labels):
            name = f"{picture.name} box {number} ({label.class_name})"
            box = label.box
            if _lies_outside(label, picture):
                lost.append(name)
            elif (
                box.x0_px < -_OUTSIDE_PX
                or box.y0_px < -_OUTSIDE_PX
                or box.x1_px > picture.width_px + _OUTSIDE_PX
                or box.y1_px > picture.height_px + _OUTSIDE_PX
            ):
                out_of.append(name)
            elif min(box.width_px, box.height_px) < _TINY_PX:
                tiny.append(name)
            key = (label.class_name, box.x0_px, box.y0_px, box.x1_px, box.y1_px)
            if key in known:
                twice.append(name)
            known.add(key)
    found = (
        (lost, Weight.FORBIDS, "labels have no area or lie outside their picture", "Delete or redraw them."),
        (out_of, Weight.WARNS, "labels stand out of their picture", "Clip or redraw them."),
        (
            tiny,
            Weight.WARNS,
            f"labels are less than {_TINY_PX:g} px wide or high",
            "Check that they mark something; what is so small needs a larger picture scale to be learned.",
        ),
        (twice, Weight.WARNS, "labels stand twice on their picture", "Delete one of each."),
    )
    return [
        _remark("boxes", weight, where, f"{len(names)} {text}.", remedy, names)
        for names, weight, text, remedy in found
        if names
    ]


def _lies_outside(label: Label, picture: Picture) -> bool:
    box = label.box
    return (
        min(box.width_px, box.height_px) <= 0
        or box.x1_px <= 0
        or box.y1_px <= 0
        or box.x0_px >= picture.width_px
        or box.y0_px >= picture.height_px
    )


def _whole(where: str, data: LabelledSet) -> list[Remark]:
    out = []
    torn = [p.name for p in data.pictures if p.image_class in GOOD_CLASSES and p.labels]
    if torn:
        out.append(
            _remark(
                "contradictions",
                Weight.FORBIDS,
                where,
                f"{len(torn)} pictures are called good and carry defect labels.",
                "Decide for each: correct the whole-picture label, or delete the boxes.",
                torn,
            )
        )
    bare = [p.name for p in data.pictures if not p.good and not p.labels]
    if bare:
        all_bare = len(bare) == sum(not p.good for p in data.pictures)
        out.append(
            _remark(
                "unmarked defects",
                Weight.TELLS if all_bare else Weight.WARNS,
                where,
                f"{len(bare)} defective pictures carry no annotation.",
                "Good-only teaching and classification can use them; for detection draw the defects."
                if all_bare
                else "Draw the defects, or correct the whole-picture label: a detector learns them as good.",
                bare,
            )
        )
    return out
