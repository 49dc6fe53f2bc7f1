# SPDX-License-Identifier: AGPL-3.0-or-later
"""Is this data ready to be trained on, and what can be claimed with it? Every remark comes with its remedy.

`examine` looks at one set, or at the parts of a split; `Report.ready` is False when something forbids training:
then figures would be wrong, not just poor. Pure but for reading the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from datasets.features import Describe, plain_features
from datasets.kept import Kept
from datasets.labels import LabelledSet, Picture
from datasets.likeness import Leaks, Looks, Twins, joined, leaks, looks, twin_pairs
from datasets.readiness_labels import count_classes, label_remarks
from datasets.readiness_pixels import Measured, measure, pixel_remarks
from datasets.readiness_remarks import Remark, Weight
from datasets.suspects import Suspect, box_suspects, picture_suspects, worth_a_look
from inspection.statistics import upper_bound

FOR_ONE_PER_CENT = 299
"""Defective parts, none escaped, that it takes to say "under 1 %" with 95 % confidence."""
_STRADDLE_REMEDY = "Split again by part or lot (`gatesight data split`): what belongs together stays together."


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a split, looked at."""

    data: LabelledSet
    measured: Mapping[str, Measured]
    classes: Mapping[str, int]
    good: int
    defective: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found. `parts` by name: `data` alone, or `train`, `val` and `test`."""

    parts: Mapping[str, Part]
    remarks: tuple[Remark, ...]
    leaks: Mapping[str, Leaks] = field(default_factory=dict)
    twins: tuple[Twins, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    box_suspects: tuple[Suspect, ...] = ()
    features: str = ""

    @property
    def ready(self) -> bool:
        """Whether nothing forbids training."""
        return all(remark.weight is not Weight.FORBIDS for remark in self.remarks)


def examine(
    parts: Mapping[str, LabelledSet],
    describe: Describe = plain_features,
    *,
    features: str = "plain",
    accept_leaks: bool = False,
    quick: bool = False,
    kept: Kept | None = None,
) -> Report:
    """Look at a set, or at the parts of a split.

    accept_leaks: a leak is told, and forbids nothing. quick: look neither for twins in the first part nor for
    suspects. kept: what was measured of these pictures before; what is measured now goes there too.
    """
    kept = Kept() if kept is None else kept
    remarks: list[Remark] = []
    seen: dict[str, Part] = {}
    for name, data in parts.items():
        measured = measure(data.pictures, kept)
        good = sum(picture.good for picture in data.pictures)
        seen[name] = Part(
            data=data,
            measured=measured,
            classes=count_classes(data),
            good=good,
            defective=len(data.pictures) - good,
        )
        remarks += label_remarks(name, data, measured)
        remarks += pixel_remarks(name, data.pictures, measured)
    first = next(iter(parts))
    readable = {
        name: [p for p in part.data.pictures if part.measured[p.name].readable] for name, part in seen.items()
    }
    looked = {name: looks(pictures, describe, kept) for name, pictures in readable.items()}
    twins = () if quick else twin_pairs(looked[first])
    remarks += _twin_remarks(first, twins)
    found = _leaks_between(looked)
    for name, leak in found.items():
        remarks += leak_remarks(name, leak, accepted=accept_leaks)
    claimed = seen.get("test") or seen[first]
    remarks += claim_remarks("test" if "test" in seen else first, claimed.data.pictures)
    whole: list[Suspect] = []
    boxes: list[Suspect] = []
    if not quick:
        whole = worth_a_look(picture_suspects(readable[first], describe, features=looked[first].features))
        boxes = worth_a_look(box_suspects(readable[first], describe, kept))
        remarks += _suspect_remarks(first, whole, boxes)
    remarks.sort(key=lambda remark: remark.weight.rank)
    return Report(
        parts=seen,
        remarks=tuple(remarks),
        leaks=found,
        twins=twins,
        suspects=tuple(whole),
        box_suspects=tuple(boxes),
        features=features,
    )


def _leaks_between(looked: Mapping[str, Looks]) -> dict[str, Leaks]:
    names = list(looked)
    return {
        f"{a}/{b}": leaks(looked[a], looked[b])
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if looked[a].pictures and looked[b].pictures
    }


def leak_remarks(where: str, found: Leaks, *, accepted: bool = False) -> list[Remark]:
    """What lies on both sides of a split. Lots on both sides are told: a lot is many parts."""
    weight = Weight.WARNS if accepted else Weight.FORBIDS
    out = []
    exact = [pair for pair in found.pairs if pair.exact]
    near = [pair for pair in found.pairs if not pair.exact]
    for kind, pairs in (("the same file", exact), ("nearly the same picture", near)):
        if pairs:
            pictures = len({pair.second for pair in pairs})
            out.append(
                Remark(
                    topic="leak",
                    weight=weight,
                    where=where,
                    text=f"{pictures} pictures of {where.split('/')[1]} show {kind} as one of "
                    f"{where.split('/', maxsplit=1)[0]}: figures from them would be too good.",
                    remedy="Move each pair to one side, or take the copies out; `gatesight data split` keeps "
                    "twins together.",
                    names=tuple(f"{pair.first} | {pair.second}" for pair in pairs),
                )
            )
    for kind in ("part", "sequence", "lot"):
        torn = [straddle for straddle in found.straddles if straddle.kind == kind]
        if torn:
            out.append(
                Remark(
                    topic="leak",
                    weight=Weight.WARNS if kind == "lot" else weight,
                    where=where,
                    text=f"{len(torn)} {kind}s have pictures on both sides.",
                    remedy=_STRADDLE_REMEDY,
                    names=tuple(straddle.name for straddle in torn),
                )
            )
    return out


def claim_remarks(where: str, pictures: Sequence[Picture]) -> list[Remark]:
    """What this part of the data can claim at best, however good the model is."""
    bad: dict[str, set[str]] = {}
    defective: set[str] = set()
    for picture in pictures:
        if not picture.good:
            defective.add(picture.part_name)
            for kind in {label.class_name for label in picture.labels} or {picture.image_class or "defect"}:
                bad.setdefault(kind, set()).add(picture.part_name)
    good = {picture.part_name for picture in pictures} - defective
    out = [_claim(where, "defective parts", "escapes", len(defective))]
    out.append(_claim(where, "good parts", "overkill", len(good)))
    thin = {kind: len(parts) for kind, parts in sorted(bad.items()) if len(parts) < FOR_ONE_PER_CENT}
    if thin:
        told = ", ".join(f"{kind} {n} (at most {100 * upper_bound(0, n):.1f} %)" for kind, n in thin.items())
        out.append(
            Remark(
                topic="claims",
                weight=Weight.TELLS,
                where=where,
                text=f"By class no claim of under 1 % is possible: {told}.",
                remedy=f"Collect up to {FOR_ONE_PER_CENT} parts of a class that a claim is wanted for.",
                names=tuple(thin),
            )
        )
    return out


def _claim(where: str, kind: str, what: str, count: int) -> Remark:
    if count == 0:
        return Remark(
            topic="claims",
            weight=Weight.WARNS,
            where=where,
            text=f"There are no {kind}: nothing can be said of {what}.",
            remedy=f"Add {kind} to {where}.",
        )
    bound = 100 * upper_bound(0, count)
    enough = count >= FOR_ONE_PER_CENT
    return Remark(
        topic="claims",
        weight=Weight.TELLS if enough else Weight.WARNS,
        where=where,
        text=f"With {count} {kind} and 0 {what} the claim would be: at most {bound:.2g} % "
        "(one-sided, exact, 95 %).",
        remedy="Nothing to do." if enough else f'"Under 1 %" needs {FOR_ONE_PER_CENT}, all judged right.',
    )


def _twin_remarks(where: str, twins: Sequence[Twins]) -> list[Remark]:
    out = []
    for kind, pairs in (
        ("identical files", [t for t in twins if t.exact]),
        ("near-twins", [t for t in twins if not t.exact]),
    ):
        if pairs:
            groups = joined((pair.first, pair.second) for pair in pairs)
            out.append(
                Remark(
                    topic="duplicates",
                    weight=Weight.WARNS,
                    where=where,
                    text=f"{sum(map(len, groups))} pictures in {len(groups)} groups are {kind}.",
                    remedy="Keep each group on one side of any split (`gatesight data split` does); identical "
                    "files teach nothing new and can go.",
                    names=tuple(" | ".join(sorted(group)) for group in groups),
                )
            )
    return out


def _suspect_remarks(where: str, whole: Sequence[Suspect], boxes: Sequence[Suspect]) -> list[Remark]:
    out = []
    for kind, found in (("pictures", whole), ("boxes", boxes)):
        if found:
            out.append(
                Remark(
                    topic="label noise",
                    weight=Weight.WARNS,
                    where=where,
                    text=f"{len(found)} labels of {kind} are not believed by a classifier that never saw them.",
                    remedy="Look at them in this order, and correct or confirm each.",
                    names=tuple(
                        f"{s.picture}{'' if s.box is None else f' box {s.box}'}: {s.given}, "
                        f"likelier {s.likelier} ({s.belief_likelier:.2f} against {s.belief:.2f})"
                        for s in found
                    ),
                )
            )
    return out
