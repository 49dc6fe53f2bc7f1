# SPDX-License-Identifier: AGPL-3.0-or-later
"""A review of a line part, without a home to put it into."""

from __future__ import annotations

from datasets.line_parts import LinePart
from datasets.line_review import Review, Said


def reviewed(part: LinePart, said: Said, *, utc_ns: int = 1, probability: float | None = None) -> Review:
    return Review(
        id=1,
        station="x",
        epoch=part.epoch,
        ordinal=part.ordinal,
        trigger_utc_ns=part.trigger_utc_ns,
        said=said,
        class_name=None,
        outcome=part.outcome,
        bundle_sha256=part.bundle_sha256,
        probability=probability,
        replaces=None,
        who="Ann",
        why="test",
        utc_ns=utc_ns,
    )
