# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""What the tracker asks of the gate, in order: words for `inspection.tracker`, which decides them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from inspection.messages import PartJudged
from inspection.types import Ordinal, Outcome, PartRef, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Tell the inspector to expect pictures of this part."""

    part: PartRef


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalVerdict:
    """Append this to the journal; for a PASS, sync it and call `Tracker.durable` when it is on disk.

    A second one for the same ordinal supersedes the first and is always NOT_INSPECTED.
    """

    part: PartRef
    outcome: Outcome
    reasons: tuple[Reason, ...]
    judged: PartJudged | None  # what the inspector said, if it said anything
    bundle_sha256: str = ""  # in use when the part was triggered
    superseding: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Mark as published in the journal, then write into the verdict ring."""

    part: PartRef
    outcome: Outcome
    reasons: tuple[Reason, ...]
    margin_ns: int  # what was left until the deadline; 0 when it had passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Tell the inspector that the outcome is fixed."""

    ordinal: Ordinal


Effect = Open | JournalVerdict | Publish | Close
Effects = tuple[Effect, ...]
