# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what counts to what shall count: records of the difference, each naming what it replaces.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets.agreement import match_labels
from datasets.beliefs import Believed, LabelRecord
from datasets.labels import Label
from datasets.shapes import canonical, label_to_plain, shape_of

_MOVED = 0.3  # a mark that overlaps the old one this much (IoU) is the old one, corrected


def revision(one: Believed, labels: Sequence[Label], image_class: str | None) -> list[dict[str, Any]]:
    """Rows for the table of labels after which exactly these labels and this whole-picture class count.

    A mark that moved or changed its class replaces the mark it was; a mark without one is new; one that is not
    wanted any more is taken away. Where nothing is marked and nobody had looked yet, `nothing` is recorded.
    """
    picture_id, counting = one.id, one.records
    old = [record for record in counting if record.label is not None]
    missing, kept = list(labels), []
    for record in old:
        if (same := _find(missing, record)) is not None:
            missing.remove(same)
        else:
            kept.append(record)
    rows = _marks(picture_id, kept, missing) + _whole(picture_id, counting, image_class)
    said_nothing = next((record for record in counting if record.shape == "nothing"), None)
    if said_nothing is not None and rows:
        return [rows[0] | {"replaces": said_nothing.id}, *rows[1:]] if rows[0]["replaces"] is None else rows
    return rows if rows or one.labelled else first_rows(picture_id, (), None)


def first_rows(picture_id: int, labels: Sequence[Label], image_class: str | None) -> list[dict[str, Any]]:
    """Rows for a picture that nobody has looked at before."""
    rows = [mark_row(picture_id, label) for label in labels]
    rows += [] if image_class is None else [whole_row(picture_id, image_class)]
    return rows or [_row(picture_id, "nothing", None, "{}", None)]


def mark_row(picture_id: int, label: Label, replaces: int | None = None) -> dict[str, Any]:
    """The row of one mark."""
    return _row(picture_id, shape_of(label), label.class_name, canonical(label_to_plain(label)), replaces)


def whole_row(picture_id: int, image_class: str, replaces: int | None = None) -> dict[str, Any]:
    """The row of a judgement of the whole picture."""
    return _row(picture_id, "whole", image_class, "{}", replaces)


def gone_row(picture_id: int, replaces: int) -> dict[str, Any]:
    """The row that takes a record away."""
    return _row(picture_id, "gone", None, "{}", replaces)


def _row(
    picture_id: int, shape: str, class_name: str | None, body: str, replaces: int | None
) -> dict[str, Any]:
    return {
        "picture_id": picture_id,
        "shape": shape,
        "class_name": class_name,
        "body": body,
        "replaces": replaces,
    }


def _find(labels: Sequence[Label], record: LabelRecord) -> Label | None:
    content = record.content
    for label in labels:
        if (shape_of(label), label.class_name, canonical(label_to_plain(label))) == content:
            return label
    return None


def _marks(picture_id: int, old: Sequence[LabelRecord], new: Sequence[Label]) -> list[dict[str, Any]]:
    """Old marks that do not stand as they were, new ones that are not there yet."""
    was = [label for record in old if (label := record.label) is not None]
    matched = match_labels(was, new, at_least=_MOVED, same_class=False)
    rows = [mark_row(picture_id, new[j], old[i].id) for i, j, _ in matched.pairs]
    rows += [mark_row(picture_id, new[j]) for j in matched.only_second]
    return rows + [gone_row(picture_id, old[i].id) for i in matched.only_first]


def _whole(picture_id: int, counting: Sequence[LabelRecord], image_class: str | None) -> list[dict[str, Any]]:
    present = next((record for record in counting if record.shape == "whole"), None)
    if present is None:
        return [] if image_class is None else [whole_row(picture_id, image_class)]
    if image_class is None:
        return [gone_row(picture_id, present.id)]
    return [] if present.class_name == image_class else [whole_row(picture_id, image_class, present.id)]
