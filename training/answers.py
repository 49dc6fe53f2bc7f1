# SPDX-License-Identifier: AGPL-3.0-or-later
"""Show pictures to a bundle and keep its answers beside the truth: labelled COCO sets, and rendered parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datasets.labels import LabelledSet, Picture
from inspection.twin.renderer import PartRenderer
from inspection.twin.stamp import STRIP_HEIGHT_PX
from inspection.types import Finding, StationFault
from training.engine import Asked
from training.pictures import read_picture
from training.statistics import PartAnswer, Scored, best_scores
from weights.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Everything a set was answered with. `found` and `truth` number the labelled pictures from 0."""

    parts: tuple[PartAnswer, ...]
    found: tuple[Scored, ...] = ()
    truth: tuple[Scored, ...] = ()
    pictures: int = 0


def _scored(picture: int, findings: Sequence[Finding], index_of: dict[str, int]) -> list[Scored]:
    return [
        Scored(picture=picture, class_index=index_of[f.defect_class], box=f.box, score=f.score)
        for f in findings
    ]


def answer_coco(bundle: Bundle, pictures: LabelledSet, *, threads: int = 1) -> Answers:
    """Answer a COCO set; templates count as good parts, and only at part level.

    Pictures of the same part are one part. Raises StationFault when the set's classes are not the bundle's.
    """
    if set(pictures.classes) != set(bundle.card.classes):
        raise StationFault(
            f"{pictures.source} teaches {', '.join(pictures.classes)}, the bundle knows "
            f"{', '.join(bundle.card.classes)}; evaluate on a set with the same classes"
        )
    index_of = {name: index for index, name in enumerate(pictures.classes)}
    asked = Asked(bundle, threads=threads)
    found: list[Scored] = []
    truth: list[Scored] = []
    views: dict[str, tuple[list[Finding], list[Picture]]] = {}
    try:
        for number, picture in enumerate((*pictures.pictures, *pictures.templates)):
            channels = bundle.card.picture_channels
            template = None if picture.template is None else read_picture(picture.template, channels)
            findings = asked.find(read_picture(picture.path, channels), template)
            seen, shown = views.setdefault(picture.part_name, ([], []))
            seen.extend(findings)
            shown.append(picture)
            if number < len(pictures.pictures):
                found.extend(_scored(number, findings, index_of))
                truth.extend(
                    Scored(picture=number, class_index=index_of[label.class_name], box=label.box)
                    for label in picture.labels
                )
    finally:
        asked.close()
    parts = tuple(
        PartAnswer(
            defective=not all(picture.good for picture in shown),
            counted=True,
            best=best_scores(seen),
            size_px=max((label.box.size_px for picture in shown for label in picture.labels), default=0.0),
        )
        for seen, shown in views.values()
    )
    return Answers(parts=parts, found=tuple(found), truth=tuple(truth), pictures=len(pictures.pictures))


def answer_rendered(
    bundle: Bundle,
    seeds: Iterable[int],
    *,
    parts: int,
    views: int,
    limit: float,
    defective_share: float = 0.2,
    threads: int = 1,
) -> Answers:
    """Answer `parts` rendered parts of each seed, all views. `limit`: detectability that counts."""
    kinds = list(bundle.card.classes)
    index_of = {name: index for index, name in enumerate(kinds)}
    asked = Asked(bundle, threads=threads)
    answers: list[PartAnswer] = []
    found: list[Scored] = []
    truths: list[Scored] = []
    picture = 0
    try:
        for seed in seeds:
            renderer = PartRenderer(seed=seed, views=views, defective_share=defective_share)
            for part_no in range(parts):
                truth = renderer.truth(part_no)
                seen: list[Finding] = []
                for view in range(views):
                    findings = asked.find(renderer.render(part_no, view)[:-STRIP_HEIGHT_PX])
                    seen.extend(findings)
                    found.extend(_scored(picture, findings, index_of))
                    truths.extend(
                        Scored(picture=picture, class_index=index_of[d.kind], box=d.box)
                        for d in truth.defects
                        if d.view == view
                    )
                    picture += 1
                clearest = max(truth.defects, key=lambda d: d.detectability, default=None)
                answers.append(
                    PartAnswer(
                        defective=truth.defective,
                        counted=clearest is not None and clearest.detectability >= limit,
                        best=best_scores(seen),
                        size_px=clearest.size_px if clearest else 0.0,
                        detectability=clearest.detectability if clearest else 0.0,
                        kind=clearest.kind if clearest else "",
                    )
                )
    finally:
        asked.close()
    return Answers(parts=tuple(answers), found=tuple(found), truth=tuple(truths), pictures=picture)
