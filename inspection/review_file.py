# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reviews from a file of another system, for the watch: one JSON object a line.

    {"epoch": 7, "ordinal": 12, "utc_ns": 1, "defective": false, "share": 0.05}

`utc_ns` is any instant within an hour of the part (epochs come again in time). `share` is how likely a part
that was *passed* was to be reviewed, as a share of how likely a rejected one was (1 where it is left out).
What was said of a part, and by which bundle, is read from the records database. A part reviewed twice counts
by its last review. Nothing here knows who was still to be reviewed: whoever writes the file keeps to the line's
order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from inspection.records import schema as t
from inspection.records.projection import OUTCOME_NAMES
from inspection.types import Outcome, StationFault
from weights.history import Standing
from weights.watch import Baseline, Seen, Streams

_TOGETHER_NS = 3_600_000_000_000
_PASS, _REJECT = OUTCOME_NAMES[Outcome.PASS], OUTCOME_NAMES[Outcome.REJECT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """One part that somebody looked at, and what the station had said of it."""

    utc_ns: int  # of its trigger: the order of the line
    bundle_sha256: str
    passed: bool
    defective: bool
    share: float


def read_reviews(path: Path) -> dict[tuple[int, int, int], Mapping[str, Any]]:
    """Reviews by (epoch, ordinal, hour); the last of a part counts. StationFault names file and line."""
    found: dict[tuple[int, int, int], Mapping[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise StationFault(f"Cannot read the reviews {path}: {e}; give one JSON object a line.") from e
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            key = int(value["epoch"]), int(value["ordinal"]), int(value["utc_ns"]) // _TOGETHER_NS
            if not isinstance(value["defective"], bool) or not 0.0 < float(value.get("share", 1.0)) <= 1.0:
                raise ValueError("defective is true or false, share lies in (0, 1]")
        except (ValueError, TypeError, KeyError) as e:
            raise StationFault(f"{path}, line {number}: not a review ({e!r}); correct or remove it.") from e
        found[key] = value
    return found


def with_records(connection: Connection, reviews: Iterable[Mapping[str, Any]]) -> list[Reviewed]:
    """The reviewed parts that the station judged, in the order of the line."""
    p, found = t.parts.c, []
    for value in reviews:
        at_ns = int(value["utc_ns"])
        query = select(p.trigger_utc_ns, p.bundle_sha256, p.outcome).where(
            p.epoch == int(value["epoch"]),
            p.ordinal == int(value["ordinal"]),
            p.trigger_utc_ns.between(at_ns - _TOGETHER_NS, at_ns + _TOGETHER_NS),
            p.outcome.in_([_PASS, _REJECT]),
        )
        row = connection.execute(query).first()
        if row is not None:
            found.append(
                Reviewed(
                    utc_ns=row.trigger_utc_ns,
                    bundle_sha256=row.bundle_sha256,
                    passed=row.outcome == _PASS,
                    defective=bool(value["defective"]),
                    share=float(value.get("share", 1.0)),
                )
            )
    return sorted(found, key=lambda part: part.utc_ns)


def streams_of(standing: Standing, parts: list[Reviewed], *, tolerated: float = 0.0) -> Streams:
    """The active bundle's parts since its promotion, against those of the bundle before."""
    since_ns = standing.entry(standing.act_number).utc_ns
    before = [part for part in parts if part.bundle_sha256 == standing.actives[-2]]
    now = [part for part in parts if part.bundle_sha256 == standing.active and part.utc_ns >= since_ns]
    return Streams(
        overkill=(_baseline(before, _overkill, tolerated), _overkill(now)),
        escapes=(_baseline(before, _escapes, tolerated), _escapes(now)),
        judged=len(now),
    )


def _overkill(parts: list[Reviewed]) -> list[Seen]:
    return [Seen(bad=not part.passed, share=part.share) for part in parts if not part.defective]


def _escapes(parts: list[Reviewed]) -> list[Seen]:
    """Audited passes: whether one is looked at does not depend on what it is, so all count alike."""
    return [Seen(bad=part.defective) for part in parts if part.passed]


def _baseline(parts: list[Reviewed], seen: Any, tolerated: float) -> Baseline:
    """Where only a share of the passes was reviewed, each stands for 1/share of them.

    The weight of the sample is rounded down, so that the baseline claims no more than was looked at: of a
    sample of 1 in 20 the bound is that of the parts really seen, at the share really meant.
    """
    items = seen(parts)
    bad = sum(item.bad for item in items)
    good = [item for item in items if not item.bad]
    if all(item.share == 1.0 for item in good):
        return Baseline(events=bad, trials=len(items), tolerated=tolerated)
    line = bad + sum(1 / item.share for item in good)  # parts of the line that these stand for
    share = bad / line
    return Baseline(events=int(-(-share * len(items) // 1)), trials=len(items), tolerated=tolerated)
