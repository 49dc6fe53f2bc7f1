# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data next`: what a person should look at next, of a line or of a dataset, each with the reason."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import Connection

from datasets.beliefs import read
from datasets.classifier import fit
from datasets.commands.line_options import add_line, placed
from datasets.features import PLAIN, Describe, describe_all, describer
from datasets.labels import Picture
from datasets.line_audit import AuditPlan, drawn_with, plans_of
from datasets.line_next import Next, disagreements, drawn, pictures_of, sampled
from datasets.line_parts import LinePart, judged_parts, reading_records
from datasets.line_review import Reviews, reviews_of
from datasets.sampling import Pick, Pool, propose
from datasets.store import open_home
from datasets.suspects import whole_label
from inspection.config import StationConfig
from inspection.recipe import load_recipe
from inspection.storage.images import ImageStore
from inspection.types import StationFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[DATASET], --config or --pictures, --count, --pool, --backbone, --quick."""
    parser.epilog = "Such picks say nothing about rates, but for those drawn by chance: `gatesight data audit`."
    add_line(parser)
    parser.add_argument(
        "--pictures", action="store_true", help="rank the unlabelled pictures of DATASET; no line is asked"
    )
    parser.add_argument("--count", type=int, default=20, metavar="N", help="so many (20)")
    parser.add_argument("--pool", type=int, default=300, metavar="N", help="sampler: of the newest N (300)")
    parser.add_argument("--backbone", metavar="ONNX", help="network to compare pictures with, or `plain`")
    parser.add_argument("--quick", action="store_true", help="compare pictures by plain figures: no network")


def run(args: argparse.Namespace) -> Mapping[str, Any]:
    """A ranked list."""
    if args.count < 1 or args.pool < 1:
        raise StationFault("--count and --pool are 1 at least.")
    describe, name = describer(PLAIN if args.quick else args.backbone)
    if args.pictures:
        return _of_dataset(args, describe) | {"features": name}
    config, folder = placed(args)
    with reading_records(config.records_db) as connection:  # first: a refusal leaves no new home behind
        with open_home(folder, create=True) as home:
            plans, reviews = plans_of(home, config.station.name), reviews_of(home, config.station.name)
        found = _of_line(args, config, connection, (plans, reviews), describe)
    answer = {"station": config.station.name, "features": name, "next": [_plain(one) for one in found]}
    return answer | {"said": _said(found, plans)}


def _of_line(
    args: argparse.Namespace,
    config: StationConfig,
    connection: Connection,
    known: tuple[Sequence[AuditPlan], Reviews],
    describe: Describe,
) -> list[Next]:
    """Up to half for disagreements, up to half of what is left for the sampler, the rest for the audit."""
    plans, reviews = known
    store = ImageStore(config.images_dir)
    disputed = disagreements(connection, reviews, args.count)
    first = disputed[: (args.count + 1) // 2]
    taken = {one.part.key for one in first}

    def draws(part: LinePart) -> bool:
        return part.key not in taken and drawn_with(plans, part) is not None

    left = args.count - len(first)
    parts = judged_parts(connection, since_utc_ns=plans[0].since_utc_ns) if plans else ()
    audit = drawn(parts, draws, reviews, left)
    chosen = sampled(
        connection,
        store,
        load_recipe(config.station.recipe),
        describe,
        reviewed=reviews,
        leave=taken | {one.part.key for one in audit},
        pool=args.pool,
        most=max(left // 2, left - len(audit)),
    )
    found = [*first, *audit[: left - len(chosen)], *chosen]
    more = [one for one in disputed[len(first) :] if one.part.key not in {two.part.key for two in found}]
    found[len(first) : len(first)] = more[: args.count - len(found)]
    kept = pictures_of(connection, store, [one.part.id for one in found])
    return [replace(one, pictures=kept.get(one.part.id, ())) for one in found]


def _of_dataset(args: argparse.Namespace, describe: Describe) -> dict[str, Any]:
    """Unlabelled pictures of a home: what a classifier on frozen features is unsure of, and what looks new."""
    if args.dataset is None:
        raise StationFault("Name the DATASET whose unlabelled pictures are to be ranked.")
    with open_home(args.dataset) as home:
        everything, labelled = read(home), read(home, unlabelled=False)
    known = {picture.name for picture in labelled.pictures}
    waiting = [picture for picture in everything.pictures if picture.name not in known][-args.pool :]
    if not waiting:
        return {"said": "Every picture has been looked at.", "next": []}
    picks = propose(_pool(waiting, labelled.pictures, describe), args.count)
    plain = [{"picture": pick.name, "why": pick.why.value, "text": pick.text} for pick in picks]
    return {"said": "\n".join(_line(pick) for pick in picks), "next": plain}


def _pool(waiting: Sequence[Picture], labelled: Sequence[Picture], describe: Describe) -> Pool:
    features, known = (describe_all(pictures, describe) for pictures in (waiting, labelled))
    told = [whole_label(picture, by_class=True) for picture in labelled]
    classes = tuple(sorted(set(told)))
    beliefs: tuple[np.ndarray, ...] = ()
    if len(classes) > 1:
        model = fit(known, np.array([classes.index(value) for value in told]), len(classes))
        beliefs = (model.probabilities(features),)
    return Pool(
        names=tuple(picture.name for picture in waiting),
        features=features,
        labelled=known,
        beliefs=beliefs,
        classes=classes,
    )


def _line(pick: Pick) -> str:
    return f"{pick.name}  {pick.text}"


def _plain(one: Next) -> dict[str, Any]:
    pictures = [str(path) for path in one.pictures]
    return {"part": one.part.name, "why": one.why, "text": one.text, "pictures": pictures}


def _said(found: Sequence[Next], plans: Sequence[AuditPlan]) -> str:
    lines = []
    for one in found:
        lines.append(f"{one.part.name}  {one.text}")
        lines += [f"    {path}" for path in one.pictures] or ["    no picture is kept"]
    if not plans:
        lines.append("No part is drawn by chance yet: `gatesight data audit --passes 0.05` begins an audit.")
    return "\n".join(lines) or "Nothing waits for a review."
