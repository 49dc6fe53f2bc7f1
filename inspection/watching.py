# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch over the active bundle: people's reviews and the station's records go in, a withdrawal comes out.

    gatesight watch --config station.toml [--dataset DATASET | --reviews FILE.jsonl] [--follow SECONDS] [--json]

Reviews come from the dataset home that `watch.dataset` names (`gatesight data review` writes them), or from a
file of another system. Parts that the bundle before judged are the baseline; parts of the active one are tested
in the order of the line (weights/watch.py). A withdrawal is a rollback in the watch's own name: the one act by
which a bundle changes, which the station follows as it follows any other. Nothing here knows gate or PLC.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DatabaseError

from datasets.beliefs import act_at
from datasets.line_audit import plans_of
from datasets.line_parts import judged_parts, reading_records
from datasets.line_review import every_review
from datasets.store import DatasetHome, open_home
from inspection import review_file, review_home
from inspection.board import ProcessState
from inspection.child import ChildContext
from inspection.config import StationConfig, load_config
from inspection.types import StationFault
from weights.bundle import TRUSTED_HERE
from weights.history import Act, Standing, stamp
from weights.registry import Registry
from weights.watch import Streams, watch

WHO = "watch"
_BEAT_S = 1.0


def registry_of(config: StationConfig) -> Registry:
    """The station's registry."""
    return Registry(config.registry_dir, [*(config.station.trusted or [TRUSTED_HERE]), config.key_dir])


def look(config: StationConfig, reviews: Path | DatasetHome, *, tolerated: float = 0.0) -> dict[str, Any]:
    """One look: the evidence, and a withdrawal when the test calls for it. `reviews`: a file, or a home."""
    registry = registry_of(config)
    standing = registry.standing
    if len(standing.actives) < 2:
        raise StationFault("No bundle was promoted over another one yet: there is nothing to compare with.")
    if isinstance(reviews, Path):
        streams = _from_file(config, standing, reviews, tolerated)
    else:
        streams = _from_home(config, standing, reviews, tolerated)
    result = watch(overkill=streams.overkill, escapes=streams.escapes)
    active = standing.active
    if result.withdraw:
        facts = {"reviewed": streams.judged, "waiting": streams.waiting}
        registry.go_back(Act.WITHDRAW, who=WHO, why=result.sentence, bundle=active, facts=facts)
    return {
        "bundle": active,
        "withdrawn": result.withdraw,
        "active": registry.standing.active,
        "overkill": asdict(result.overkill),
        "escapes": asdict(result.escapes),
        "judged": streams.judged,
        "waiting": streams.waiting,
        "sentence": result.sentence,
    }


def _from_file(config: StationConfig, standing: Standing, path: Path, tolerated: float) -> Streams:
    listed = review_file.read_reviews(path)
    with reading_records(config.records_db) as connection:
        parts = review_file.with_records(connection, listed.values())
    return review_file.streams_of(standing, parts, tolerated=tolerated)


def _from_home(config: StationConfig, standing: Standing, home: DatasetHome, tolerated: float) -> Streams:
    plans = plans_of(home, config.station.name)
    if not plans:
        raise StationFault(
            f"No part of {config.station.name} is drawn for review: state a plan with"
            " `gatesight data audit --passes 0.05`; until then the watch has nothing to go by."
        )
    every = every_review(home, config.station.name)
    with reading_records(config.records_db) as connection:
        parts = judged_parts(connection, since_utc_ns=plans[0].since_utc_ns, bundles=standing.actives[-2:])
        return review_home.streams_of(standing, parts, plans, every, tolerated=tolerated)


class Watcher:
    """The station's own watch: it looks whenever somebody has reviewed something, and withdraws.

    What nobody has judged changes nothing, so only reviews and registry are looked at in between. It writes
    one thing: the registry's act, which the supervisor follows as it follows a person's rollback. No link leads
    from here to anybody, so dead or wrong it delays no verdict; the supervisor starts it again, and what it
    cannot do it says on the board and tries again.
    """

    def __init__(self, context: ChildContext, dataset: Path) -> None:
        self._context = context
        self._dataset = dataset
        self._home: DatasetHome | None = None
        self._seen: tuple[int, tuple[int, int]] | None = None  # last act of the home, stamp of the registry
        self._told = ""

    def turn(self) -> None:
        """One look, if there is anything new; a fault is told, and tried again at the next."""
        try:
            self._look()
        except (StationFault, DatabaseError, OSError) as fault:
            self._close()
            self._tell(ProcessState.DEGRADED, str(fault))

    def _look(self) -> None:
        config = self._context.config
        if self._home is None:
            self._home, self._seen = open_home(self._dataset), None
        with self._home.reading() as connection:
            seen = act_at(connection, None), stamp(config.registry_dir)
        if seen == self._seen:
            return
        if len(registry_of(config).standing.actives) < 2:
            self._tell(ProcessState.READY, "no bundle was promoted over another one")
        else:
            self._tell(ProcessState.READY, shown(look(config, self._home, tolerated=config.watch.tolerated)))
        self._seen = seen

    def _tell(self, state: ProcessState, text: str) -> None:
        self._context.row.report(state, text)
        if text != self._told:
            self._told = text
            sys.stderr.write(f"watch: {text}\n")
            sys.stderr.flush()

    def run(self) -> int:
        """Until SIGTERM."""
        row, next_s = self._context.row, 0.0
        while not self._context.stop.is_set():
            row.beat()
            if time.monotonic() >= next_s:
                self.turn()
                next_s = time.monotonic() + self._context.config.watch.look_s
            self._context.stop.wait(min(_BEAT_S, max(0.0, next_s - time.monotonic())))
        self._close()
        return 0

    def _close(self) -> None:
        if self._home is not None:
            self._home.close()
            self._home = None


def _source(given: argparse.Namespace, config: StationConfig) -> Path | DatasetHome:
    if given.reviews is not None:
        return given.reviews
    folder = given.dataset or config.watch.dataset
    if folder is None:
        raise StationFault(
            f"Where do the reviews stand? Set watch.dataset in {given.config}, or give --dataset or --reviews."
        )
    return open_home(folder)


def main(argv: list[str] | None = None) -> int:
    """0 looked (withdrawn or not), 3 refused with one sentence."""
    parser = argparse.ArgumentParser(
        prog="gatesight watch", description="Test the active bundle against what people said of its parts."
    )
    parser.add_argument("--config", "-c", type=Path, default=Path("station.toml"))
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--dataset", type=Path, help="dataset home with the reviews; default: watch.dataset")
    where.add_argument("--reviews", type=Path, help="a file instead: one JSON object a reviewed part")
    parser.add_argument("--tolerated", type=float, help="so much more is not worth an act (share)")
    parser.add_argument("--follow", type=float, metavar="SECONDS", help="look again and again")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a look")
    given = parser.parse_args(argv)
    source: Path | DatasetHome | None = None
    try:
        config = load_config(given.config)
        source = _source(given, config)
        tolerated = config.watch.tolerated if given.tolerated is None else given.tolerated
        while True:
            found = look(config, source, tolerated=tolerated)
            said = json.dumps(found | {"ok": True}) if given.json else shown(found)
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
    finally:
        if isinstance(source, DatasetHome):
            source.close()


def shown(found: dict[str, Any]) -> str:
    """One look for people."""
    if found["withdrawn"]:
        return f"Bundle {found['bundle'][:12]} is withdrawn: {found['sentence']}"
    left = f" {found['waiting']} drawn parts wait for a review." if found["waiting"] else ""
    return f"{found['sentence']}{left}"


if __name__ == "__main__":
    sys.exit(main())
