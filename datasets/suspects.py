# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which labels look wrong: each is judged by a classifier that was fitted without it.

Confident learning (Northcutt, Jiang, Chuang, J. Artif. Intell. Res. 70 (2021) 1373) with the out-of-fold
probability of the given label as rank: the less the rest of the data believes it, the higher it stands. Folds
never tear a group, or a twin would vouch for a wrong label. The list is where a person looks first; it proves
nothing, and it finds single slips, not a rule that everybody applied wrongly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.classifier import folds_by_group, out_of_fold
from datasets.features import BOXES_VERSION, Describe, describe_all, describe_boxes, name_of
from datasets.kept import Kept
from datasets.labels import Picture

FOLDS = 5
LEAST_OF_A_CLASS = 5
"""Labels of a class below which nothing can be said of it: it is left out."""
DEFECTIVE, GOOD = "defective", "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One label that the rest of the data does not believe. `box`: its place among the picture's."""

    picture: str
    box: int | None
    given: str
    likelier: str
    belief: float  # probability of the given label, out of fold
    belief_likelier: float

    @property
    def unlikely(self) -> bool:
        """Whether another label is believed more."""
        return self.belief_likelier > self.belief


def ranked(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    groups: Sequence[Hashable],
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Order of the labels, most doubtful first, and the out-of-fold probabilities (N, classes). Pure."""
    fold_of = folds_by_group(groups, folds, seed)
    beliefs = out_of_fold(features, labels, classes, fold_of)
    own = beliefs[np.arange(len(labels)), labels]
    return np.argsort(own, kind="stable"), beliefs


def whole_label(picture: Picture, *, by_class: bool) -> str:
    """What the picture as a whole is labelled: good, or its class (by_class), or just defective."""
    if picture.good:
        return GOOD
    if not by_class:
        return DEFECTIVE
    if picture.image_class is not None:
        return picture.image_class
    kinds = sorted({label.class_name for label in picture.labels})
    return kinds[0] if len(kinds) == 1 else DEFECTIVE


def picture_suspects(
    pictures: Sequence[Picture],
    describe: Describe,
    *,
    features: np.ndarray | None = None,
    groups: Sequence[Hashable] | None = None,
    by_class: bool = True,
) -> list[Suspect]:
    """All whole-picture labels, most doubtful first; empty when there are not two classes of enough pictures.

    groups: what belongs together, one for each picture; by default the part, else the picture itself.
    """
    given = [whole_label(picture, by_class=by_class) for picture in pictures]
    rows = describe_all(pictures, describe) if features is None else features
    together = [p.part_name for p in pictures] if groups is None else groups
    return _suspects(rows, given, together, [(p.name, None) for p in pictures])


def box_suspects(pictures: Sequence[Picture], describe: Describe, kept: Kept | None = None) -> list[Suspect]:
    """All labels on pictures, each seen as its box with its surroundings, most doubtful first."""
    marked = [picture for picture in pictures if picture.labels]
    if not marked:
        return []
    name = name_of(describe)
    kept = Kept() if kept is None or name is None else kept
    rows = kept.rows(
        (f"boxes {BOXES_VERSION} {name}",),
        [_boxes_of(kept, picture) for picture in marked],
        lambda index: (describe_boxes(marked[index], marked[index].labels, describe),),
    )
    labels = [(picture, number, label) for picture in marked for number, label in enumerate(picture.labels)]
    return _suspects(
        np.concatenate([row for (row,) in rows]),
        [label.class_name for _, _, label in labels],
        [picture.part_name for picture, _, _ in labels],
        [(picture.name, number) for picture, number, _ in labels],
    )


def _boxes_of(kept: Kept, picture: Picture) -> str:
    """What the description of a picture's boxes rests on: its bytes, and where they are."""
    boxes = [(b.x0_px, b.y0_px, b.x1_px, b.y1_px) for b in (label.box for label in picture.labels)]
    return hashlib.sha256(f"{kept.digest(picture.path)} {boxes}".encode()).hexdigest()


def _suspects(
    features: np.ndarray,
    given: Sequence[str],
    groups: Sequence[Hashable],
    where: Sequence[tuple[str, int | None]],
) -> list[Suspect]:
    counts: dict[str, int] = {}
    for name in given:
        counts[name] = counts.get(name, 0) + 1
    classes = sorted(name for name, count in counts.items() if count >= LEAST_OF_A_CLASS)
    kept = [i for i, name in enumerate(given) if name in classes]
    if len(classes) < 2 or len({groups[i] for i in kept}) < 2:
        return []
    labels = np.array([classes.index(given[i]) for i in kept])
    order, beliefs = ranked(features[kept], labels, len(classes), [groups[i] for i in kept])
    out = []
    for place in order.tolist():
        others = beliefs[place].copy()
        others[labels[place]] = -1.0
        other = int(others.argmax())
        picture, box = where[kept[place]]
        out.append(
            Suspect(
                picture=picture,
                box=box,
                given=classes[labels[place]],
                likelier=classes[other],
                belief=float(beliefs[place, labels[place]]),
                belief_likelier=float(others[other]),
            )
        )
    return out


def worth_a_look(suspects: Sequence[Suspect], share: float = 0.10) -> list[Suspect]:
    """The part of a list that a person should look at: its first tenth, and of those what is believed less
    than another label.
    """
    first = max(1, round(share * len(suspects))) if suspects else 0
    return [suspect for suspect in suspects[:first] if suspect.unlikely]
