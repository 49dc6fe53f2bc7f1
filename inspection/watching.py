# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch over the active bundle: reviews and records go in, a withdrawal comes out when the test calls for
it.

    python -m inspection.watching --config station.toml --reviews FILE.jsonl [--follow SECONDS] [--json]

A review is one line of JSON: {"epoch": 7, "ordinal": 12, "utc_ns": 1, "defective": false, "share": 0.05}.
`utc_ns` is any instant within an hour of the part (epochs come again in time). `share` is how likely a part
that was *passed* was to be reviewed, as a share of how likely a rejected one was (1 where it is left out).

What was said of a part, and by which bundle, is read from the records database. Parts that the bundle before
judged are the baseline; parts of the active one are tested in the order of the line (weights/watch.py). A part
reviewed twice counts by its last review. A withdrawal is a rollback in the watch's own name.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from inspection.config import StationConfig, load_config
from inspection.records import schema as t
from inspection.records.database import open_reader
from inspection.records.projection import OUTCOME_NAMES
from inspection.types import Outcome, StationFault
from weights.bundle import TRUSTED_HERE
from weights.history import Act, Standing
from weights.registry import Registry
from weights.watch import Baseline, Seen, WatchResult, watch

_TOGETHER_NS = 3_600_000_000_000
_PASS, _REJECT = OUTCOME_NAMES[Outcome.PASS], OUTCOME_NAMES[Outcome.REJECT]
WHO = "watch"


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


def judge_bundle(standing: Standing, parts: list[Reviewed], *, tolerated: float = 0.0) -> WatchResult:
    """The active bundle's parts since its promotion, against those of the bundle before."""
    if len(standing.actives) < 2:
        raise StationFault("No bundle was promoted over another one yet: there is nothing to compare with.")
    since_ns = standing.entry(standing.act_number).utc_ns
    before = [part for part in parts if part.bundle_sha256 == standing.actives[-2]]
    now = [part for part in parts if part.bundle_sha256 == standing.active and part.utc_ns >= since_ns]
    return watch(
        overkill=(_baseline(before, _overkill, tolerated), _overkill(now)),
        escapes=(_baseline(before, _escapes, tolerated), _escapes(now)),
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


def look(config: StationConfig, reviews: Path, *, tolerated: float = 0.0) -> dict[str, Any]:
    """One look: the evidence, and a withdrawal when the test calls for it."""
    registry = Registry(config.registry_dir, [*(config.station.trusted or [TRUSTED_HERE]), config.key_dir])
    standing = registry.standing
    listed = read_reviews(reviews)
    engine = open_reader(config.records_db)
    try:
        with engine.connect() as connection:
            parts = with_records(connection, listed.values())
    except OperationalError as e:
        raise StationFault(f"{config.records_db} cannot be read ({e.orig}): has the station run?") from e
    finally:
        engine.dispose()
    result = judge_bundle(standing, parts, tolerated=tolerated)
    active = standing.active
    if result.withdraw:
        registry.go_back(
            Act.WITHDRAW, who=WHO, why=result.sentence, bundle=active, facts={"reviewed": len(parts)}
        )
    return {
        "bundle": active,
        "withdrawn": result.withdraw,
        "active": registry.standing.active,
        "overkill": asdict(result.overkill),
        "escapes": asdict(result.escapes),
        "sentence": result.sentence,
    }


def main(argv: list[str] | None = None) -> int:
    """0 looked (withdrawn or not), 3 refused with one sentence."""
    parser = argparse.ArgumentParser(prog="gatesight watch", description="Watch the active bundle.")
    parser.add_argument("--config", "-c", type=Path, default=Path("station.toml"))
    parser.add_argument("--reviews", type=Path, required=True, help="one JSON object a reviewed part")
    parser.add_argument("--tolerated", type=float, default=0.0, help="so much more is not worth an act (share)")
    parser.add_argument("--follow", type=float, metavar="SECONDS", help="look again and again")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a look")
    given = parser.parse_args(argv)
    try:
        config = load_config(given.config)
        while True:
            found = look(config, given.reviews, tolerated=given.tolerated)
            said = json.dumps(found) if given.json else found["sentence"]
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()
            if given.follow is None or found["withdrawn"]:
                return 0
            time.sleep(given.follow)
    except StationFault as e:
        if given.json:
            sys.stdout.write(json.dumps({"ok": False, "error": str(e)}) + "\n")
        sys.stderr.write(f"{e}\n")
        return 3
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
