# SPDX-License-Identifier: AGPL-3.0-or-later
"""Show pictures to a bundle and keep its answers beside the truth: labelled sets, and rendered parts.

Both become `Question`s: a picture that can be read when its turn comes, and what is true of it. Findings come
from the station's own detector and decoder; the raw table behind them gives picture scores and pixel maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from datasets.labels import GOOD_CLASSES, Label, LabelledSet
from inspection.detectors.base import EngineFault
from inspection.twin.renderer import PartRenderer
from inspection.twin.stamp import STRIP_HEIGHT_PX
from inspection.types import Finding, StationFault
from training.engine import Asked, Look
from training.pictures import labelled_picture, read_picture
from training.pixel_level import MaskJudge, PixelJudge
from training.statistics import PartAnswer, Scored
from training.trivial import statistics_of
from weights.bundle import Bundle

ANOMALY = "anomaly"
"""The one class of a good-only bundle: it answers any class of defect."""
Spoil = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One picture to be asked about. `read(channels)`: the picture and its defect-free reference, uint8."""

    name: str
    part: str
    good: bool
    read: Callable[[int], tuple[np.ndarray, np.ndarray | None]]
    labels: tuple[Label, ...] = ()
    image_class: str | None = None
    labelled: bool = True  # counts in mAP and pixel figures; templates do not
    path: Path | None = None  # None: drawn
    group: str = ""  # pictures that look alike: sequence, lot, or the part


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One question and its answer. `score`: the highest raw score, not cut off at any floor.

    `fault`: why the engine could not look; then nothing was found and the score is 1: silence is reject.
    """

    question: Question
    findings: tuple[Finding, ...]
    score: float
    fault: str = ""
    trivial: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Everything a set was answered with. `found` and `truth` number the labelled pictures from 0."""

    parts: tuple[PartAnswer, ...]
    found: tuple[Scored, ...] = ()
    truth: tuple[Scored, ...] = ()
    pictures: int = 0
    classes: tuple[str, ...] = ()  # what class indexes mean
    boxes: bool = True  # whether somebody marked boxes and the bundle finds places
    masks: MaskJudge | None = None
    shown: tuple[Shown, ...] = ()
    pixels: PixelJudge | None = None
    groups: tuple[str, ...] = ()  # of the labelled pictures, in their order


def questions_of(pictures: LabelledSet) -> list[Question]:
    """Every picture of a set, and its templates as good parts of their own."""
    questions = []
    for number, picture in enumerate((*pictures.pictures, *pictures.templates)):

        def read(channels: int, picture=picture):
            pixels, template = labelled_picture(picture, channels), picture.template
            return pixels, None if template is None else read_picture(template, channels)

        questions.append(
            Question(
                name=picture.name,
                part=picture.part_name,
                good=picture.good,
                read=read,
                labels=picture.labels,
                image_class=picture.image_class,
                labelled=number < len(pictures.pictures),
                path=picture.path,
                group=picture.sequence or picture.lot or picture.part_name,
            )
        )
    return questions


def questions_drawn(
    seeds: Iterable[int], *, parts: int, views: int, defective_share: float = 0.2
) -> list[Question]:
    """`parts` rendered parts of each seed, all views."""
    questions = []
    for seed in seeds:
        renderer = PartRenderer(seed=seed, views=views, defective_share=defective_share)
        for part_no in range(parts):
            truth = renderer.truth(part_no)
            for view in range(views):
                marks = tuple(
                    Label(class_name=d.kind, box=d.box, detectability=d.detectability)
                    for d in truth.defects
                    if d.view == view
                )

                def read(channels: int, renderer=renderer, part_no=part_no, view=view):
                    del channels  # drawn in grey, as the simulated camera gives it
                    return renderer.render(part_no, view)[:-STRIP_HEIGHT_PX], None

                questions.append(
                    Question(
                        name=f"seed {seed} part {part_no} view {view}",
                        part=f"seed {seed} part {part_no}",
                        good=not marks,
                        read=read,
                        labels=marks,
                        group=f"seed {seed} part {part_no}",
                    )
                )
    return questions


def answer_coco(
    bundle: Bundle, pictures: LabelledSet, *, threads: int = 1, spoil: Spoil | None = None
) -> Answers:
    """Answer a labelled set; templates count as good parts, and only at part level.

    Pictures of the same part are one part. Raises StationFault when the set has labels of classes that the
    bundle does not know (a good-only bundle answers any).
    """
    known_classes(bundle, pictures)
    return answer(bundle, questions_of(pictures), threads=threads, spoil=spoil)


def known_classes(bundle: Bundle, pictures: LabelledSet) -> None:
    """StationFault when the set has labels of classes that the bundle does not know; a good-only one answers
    any.
    """
    used = {label.class_name for picture in pictures.pictures for label in picture.labels}
    if not is_good_only(bundle) and used - set(bundle.card.classes):
        raise StationFault(
            f"{pictures.source} teaches {', '.join(pictures.classes)}, the bundle knows "
            f"{', '.join(bundle.card.classes)}; evaluate on a set with the same classes"
        )


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
    drawn = questions_drawn(seeds, parts=parts, views=views, defective_share=defective_share)
    return answer(bundle, drawn, threads=threads, limit=limit)


def is_good_only(bundle: Bundle) -> bool:
    """Whether the bundle learnt from good parts alone, so that its class answers any defect."""
    return bundle.card.task == "anomaly"


def answer(
    bundle: Bundle,
    questions: Sequence[Question],
    *,
    threads: int = 1,
    limit: float | None = None,
    unmarked_are_free: bool = False,
    spoil: Spoil | None = None,
) -> Answers:
    """Ask the bundle every question, in order. limit: detectability that counts; None: the card's.

    unmarked_are_free: a defective picture without an outline has an empty mask. spoil: what is done to each
    picture first; then only part level is kept.
    """
    if limit is None:
        limit = float(bundle.card.detectability.get("limit", 0.0))
    classes = tuple(bundle.card.classes)
    channels = bundle.card.picture_channels
    judge = None if spoil is not None else PixelJudge.of(bundle.card, questions, unmarked_are_free)
    masks = None if spoil is not None else MaskJudge.of(bundle.card, questions)
    views: dict[str, list[int]] = {}
    shown: list[Shown] = []
    asked = Asked(bundle, threads=threads)
    try:
        for question in questions:
            picture, reference = question.read(channels)
            look, fault = _looked(asked, picture if spoil is None else spoil(picture), reference)
            cameras = views.setdefault(question.part, [])
            found = () if look is None else look.findings
            entry = Shown(
                question=question,
                findings=tuple(replace(f, camera=len(cameras)) for f in found),
                score=1.0 if look is None else picture_score(look, bundle),
                fault=fault,
                trivial=statistics_of(picture) if spoil is None else {},
            )
            cameras.append(len(shown))
            shown.append(entry)
            if judge is not None:
                judge.add(look, question, picture.shape[:2])
            if masks is not None:
                masks.add(look, question, picture.shape[:2])
    finally:
        asked.close()
    if spoil is None and shown and all(item.fault for item in shown):
        raise StationFault(
            f"{bundle.path} could not look at a single picture ({shown[0].fault}); "
            "evaluate it on pictures of its kind"
        )
    parts = tuple(
        _part(name, [shown[i] for i in numbers], tuple(numbers), limit) for name, numbers in views.items()
    )
    found_boxes, truth, labelled = _scored(shown, classes, good_only=is_good_only(bundle))
    return Answers(
        parts=parts,
        found=tuple(found_boxes),
        truth=tuple(truth),
        pictures=labelled,
        classes=classes,
        boxes=bool(truth) and bundle.card.output.kind != "scores_nc",
        shown=tuple(shown),
        pixels=judge,
        masks=masks,
        groups=tuple(item.question.group for item in shown if item.question.labelled),
    )


def _looked(asked: Asked, picture: np.ndarray, reference: np.ndarray | None) -> tuple[Look | None, str]:
    """What the engine saw; None and why where it could not look: on the line that part is not inspected."""
    try:
        return asked.look(picture, reference), ""
    except EngineFault as fault:
        return None, str(fault)


def picture_score(look: Look, bundle: Bundle) -> float:
    """The highest raw score of any class of defect."""
    defects = [i for i, name in enumerate(bundle.card.classes) if name not in GOOD_CLASSES]
    return look.best(defects)


def _part(name: str, shown: Sequence[Shown], numbers: tuple[int, ...], limit: float) -> PartAnswer:
    labels = [label for item in shown for label in item.question.labels]
    clearest = max(labels, key=lambda mark: (mark.detectability or 0.0, mark.box.size_px), default=None)
    told = [item.question.image_class for item in shown if item.question.image_class and not item.question.good]
    known = [mark.detectability for mark in labels if mark.detectability is not None]
    kinds = {label.class_name for label in labels} or set(told)
    return PartAnswer(
        name=name,
        defective=not all(item.question.good for item in shown),
        counted=not known or max(known) >= limit,
        views=tuple(item.findings for item in shown),
        faults=tuple(item.fault for item in shown if item.fault),
        kinds=tuple(sorted(kinds)),
        kind=clearest.class_name if clearest else (told[0] if told else ""),
        size_px=clearest.box.size_px if clearest else 0.0,
        detectability=(clearest.detectability or 0.0) if clearest else 0.0,
        shown=numbers,
    )


def _scored(
    shown: Sequence[Shown], classes: Sequence[str], *, good_only: bool
) -> tuple[list[Scored], list[Scored], int]:
    """Findings and truths by labelled picture; for a good-only bundle every truth is of its one class."""
    index_of = {name: index for index, name in enumerate(classes)}
    found: list[Scored] = []
    truth: list[Scored] = []
    number = 0
    for item in shown:
        if not item.question.labelled:
            continue
        found += [
            Scored(picture=number, class_index=index_of[f.defect_class], box=f.box, score=f.score)
            for f in item.findings
            if f.defect_class not in GOOD_CLASSES
        ]
        truth += [
            Scored(picture=number, class_index=0 if good_only else index_of[mark.class_name], box=mark.box)
            for mark in item.question.labels
        ]
        number += 1
    return found, truth, number
