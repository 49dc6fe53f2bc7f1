# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evaluate a bundle: picture level, pixel level, and part level through the real rules.

`gatesight evaluate --bundle PATH --data COCO [--protocol NAME] [--report HTML] --json FILE`
`gatesight evaluate --bundle PATH --rendered SEED... [--parts N] [--views N] --json FILE`

PATH is a bundle, or the folder of a finished training. Score limits come from the bundle's recipe, never from
the data at hand. Exit codes: 0 done, 1 a claim that was asked for is refused, 3 bad input.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from datasets.coco import read_coco
from datasets.labels import LabelledSet
from inspection.recipe import Recipe
from inspection.types import StationFault
from training.answers import Answers, Question, answer, known_classes, questions_drawn, questions_of
from training.claims import parse_claim, percent
from training.code import code_commit
from training.figures import costs, figures, held, listed, summary_sentences
from training.job import file_sha256
from training.protocols import PROTOCOLS, protocol_named
from training.robustness import card_of_robustness
from training.sets import described
from weights.bundle import Bundle, load_bundle
from weights.keys import find_bundle, trusted_by_default

STDOUT = Path("-")
"""As --json FILE: one JSON object on standard output instead of sentences, a refusal included."""


def recipe_of(bundle: Bundle) -> Recipe:
    """The recipe that a bundle suggests. StationFault when it has none."""
    if bundle.recipe is None:
        raise StationFault(f"{bundle.path} holds no recipe.json; train or teach it again")
    try:
        return msgspec.json.decode(bundle.recipe, type=Recipe)
    except msgspec.DecodeError as e:
        raise StationFault(f"{bundle.path}: its recipe.json is not valid ({e}); train or teach it again") from e


def limits_of(bundle: Bundle) -> dict[str, float]:
    """Return the score limit of each class from the bundle's recipe. StationFault when it has none."""
    recipe = recipe_of(bundle)
    return {name: recipe.limit(name).min_score for name in bundle.card.classes}


def evaluate(bundle: Bundle, given: argparse.Namespace) -> tuple[dict[str, Any], Answers]:
    """Answer the chosen set with a bundle and return its figures, and the answers behind them."""
    recipe = recipe_of(bundle)
    protocol = None if given.protocol is None else protocol_named(given.protocol)
    claims = [parse_claim(text) for text in given.claim or []]
    started = time.monotonic()
    if given.data:
        sets = [read_coco(path) for path in given.data]
        for pictures in sets:
            known_classes(bundle, pictures)
        several = len(sets) > 1  # then parts of the same name are two parts
        questions = [
            replace(question, part=f"{pictures.source.name}:{question.part}") if several else question
            for pictures in sets
            for question in questions_of(pictures)
        ]
        questions, left_out = without(questions, given.leave_out or [])
        notes = [note for pictures in sets for note in taught_on(bundle, pictures)]
        source = ", ".join(path.name for path in given.data)
        hashes = {path.name: file_sha256(path) for path in given.data}
    else:
        questions = questions_drawn(given.rendered, parts=given.parts, views=given.views)
        source = f"rendered, seeds {given.rendered}, {given.parts} parts each, {given.views} views"
        left_out, notes = 0, []
        hashes = {source: hashlib.sha256(source.encode()).hexdigest()}
    if not questions:
        raise StationFault(f"{source} holds no pictures; there is nothing to evaluate on")
    unmarked = protocol is not None and protocol.unmarked_are_free
    answers = answer(bundle, questions, threads=given.threads, unmarked_are_free=unmarked)
    metrics = bundle.card.metrics
    result = figures(
        answers,
        answers.classes,
        recipe,
        protocol=protocol,
        f_limit=metrics.get("f_score_limit"),
        pixel_limits=metrics.get("pixel_limits"),
        claims=claims,
    )
    if given.escape_cost is not None:
        (result["cheapest"],) = costs(
            answers,
            recipe,
            answers.classes,
            ratios=[given.escape_cost],
            defective_share=given.defective_share,
        ) or [None]
    if given.hold_escapes is not None:
        result["held"] = held(answers, recipe, answers.classes, given.hold_escapes)
    if given.robustness:
        result["robustness"], result["robustness_run"] = card_of_robustness(
            bundle, recipe, questions, threads=given.threads, parts=given.robustness_parts
        )
    result |= {
        "source": source,
        "bundle": bundle.sha256,
        "data_sha256": next(iter(hashes.values()))
        if len(hashes) == 1
        else hashlib.sha256("".join(sorted(hashes.values())).encode()).hexdigest(),
        "parts": listed(answers.parts, recipe),
        "pedigree": pedigree(bundle, hashes),
        "left_out": left_out,
        "notes": notes,
        "summary": [*notes, *summary_sentences(result)],
        "wall_s": round(time.monotonic() - started, 1),
    }
    return result, answers


def without(questions: list[Question], taught: list[Path]) -> tuple[list[Question], int]:
    """The questions whose pictures are in none of these sets, byte for byte, and how many were."""
    if not taught:
        return questions, 0
    known = {file_sha256(picture.path) for path in taught for picture in read_coco(path).pictures}
    kept = [q for q in questions if q.path is None or file_sha256(q.path) not in known]
    return kept, len(questions) - len(kept)


def taught_on(bundle: Bundle, pictures: LabelledSet) -> list[str]:
    """A sentence where the card names this very set as the one that taught, or that chose the limits."""
    mine = {described(pictures)["sha256"], file_sha256(pictures.source)}
    said = {
        "train": "is the set it was taught on: these figures say nothing of new parts",
        "val": "is the set that chose its limits: these figures flatter it",
    }
    return [
        f"{pictures.source.name} {sentence}"
        for key, sentence in said.items()
        if isinstance(bundle.card.data.get(key), dict) and bundle.card.data[key].get("sha256") in mine
    ]


def pedigree(bundle: Bundle, data: dict[str, str]) -> dict[str, Any]:
    """Where the model and the figures come from; what is not known says so."""
    card = bundle.card
    training = {key: card.training[key] for key in ("recipe", "seed", "code_commit") if key in card.training}
    return {
        "bundle_sha256": bundle.sha256,
        "name": card.name,
        "version": card.version,
        "task": card.task,
        "signed_by": bundle.signed_by,
        "key_fingerprint": bundle.key_fingerprint,
        "licence": card.licence,
        "created_utc": card.created_utc or "not stated",
        "author": card.data.get("author") or card.training.get("author") or "not stated",
        "taught_on": card.data,
        "training": training,
        "evaluated_on_sha256": data,
        "evaluating_code": code_commit(),
        "classes": list(card.classes),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gatesight evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle, or folder of a finished training")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="COCO",
        help="COCO file, may be repeated; templates are good",
    )
    what.add_argument("--rendered", type=int, nargs="+", metavar="SEED", help="seeds of rendered parts")
    parser.add_argument("--parts", type=int, default=2000, help="rendered parts of each seed")
    parser.add_argument("--views", type=int, default=2, help="views of a rendered part")
    parser.add_argument(
        "--except",
        dest="leave_out",
        type=Path,
        action="append",
        metavar="COCO",
        help="leave out pictures of --data whose bytes are in this set, such as those it was taught on",
    )
    parser.add_argument("--protocol", metavar="NAME", help=f"one of: {', '.join(sorted(PROTOCOLS))}")
    parser.add_argument("--trusted", type=Path, action="append", help="folder of NAME.pub, may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--claim", action="append", metavar="TEXT", help="rule on a claim: 'escapes<1%%', may be repeated"
    )
    parser.add_argument(
        "--hold-escapes",
        type=float,
        metavar="SHARE",
        help="find limits that hold this share with 95 %% confidence",
    )
    parser.add_argument(
        "--escape-cost",
        type=float,
        metavar="N",
        help="find the cheapest limits where an escape costs N overkills",
    )
    parser.add_argument(
        "--defective-share", type=float, metavar="SHARE", help="of parts on the line, for --escape-cost"
    )
    parser.add_argument(
        "--robustness", action="store_true", help="ask again under worse light, focus, place, ..."
    )
    parser.add_argument("--robustness-parts", type=int, default=200, help="parts for it; 0: all")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a report for people here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here; - prints them")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Evaluate one bundle; 0, 1 for a refused claim, or 3 for bad input."""
    given = _parser().parse_args(argv)
    try:
        _sensible(given)
        bundle = load_bundle(find_bundle(given.bundle), trusted_by_default(given.trusted))
        result, answers = evaluate(bundle, given)
        if given.json is not None and given.json != STDOUT:
            _write(given.json, json.dumps(result, indent=1, allow_nan=False) + "\n")
        if given.report is not None:
            from training.report.page import page

            _write(given.report, page(result, answers, bundle, recipe_of(bundle), threads=given.threads))
    except StationFault as fault:
        if given.json == STDOUT:
            sys.stdout.write(json.dumps({"ok": False, "error": str(fault)}) + "\n")
        sys.stderr.write(f"gatesight evaluate: {fault}\n")
        return 3
    if given.json == STDOUT:
        sys.stdout.write(json.dumps({"ok": True, **result}, allow_nan=False) + "\n")
    else:
        sys.stdout.write(_told(result))
    asked = {f"{claim.kind} under {percent(claim.under)}" for claim in map(parse_claim, given.claim or [])}
    return 1 if any(not row["carried"] and row["claim"] in asked for row in result["claims"]) else 0


def _sensible(given: argparse.Namespace) -> None:
    """StationFault for a number that means nothing."""
    for name in ("hold_escapes", "defective_share"):
        value = getattr(given, name)
        if value is not None and not 0 < value < 1:
            raise StationFault(f"--{name.replace('_', '-')} is a share above 0 and below 1, not {value}")
    if given.escape_cost is not None and not given.escape_cost > 0:
        raise StationFault(f"--escape-cost says how many overkills one escape costs, not {given.escape_cost}")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temp = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temp.write_text(text, encoding="utf-8")
        temp.replace(path)
    except OSError as e:
        temp.unlink(missing_ok=True)
        raise StationFault(f"cannot write {path}: {e.strerror}; choose another place") from e


def _told(result: dict[str, Any]) -> str:
    """A few lines for a terminal."""
    lines = [f"{result['source']}, {result['pictures']} pictures", *result["summary"]]
    shown = (
        ("map50", "mAP50"),
        ("map50_95", "mAP50-95"),
        ("mask_map50", "mask mAP50"),
        ("map_protocol", "protocol mAP"),
        ("f_protocol", "protocol F"),
        ("auroc", "AUROC"),
        ("aupro", "AUPRO"),
        ("pixel_f1", "pixel F1"),
    )
    lines.append(", ".join(f"{name} {result[key]:.3f}" for key, name in shown if result.get(key) is not None))
    sure = result.get("map50_two_sided_95")
    if sure is not None:
        low, high, groups = sure["low"], sure["high"], sure["groups"]
        lines.append(f"mAP50 {low:.3f} to {high:.3f} (two-sided 95 %, bootstrap over {groups} groups)")
    if result["trivial"] is not None:
        lines.append(
            f"best trivial statistic: {result['trivial']['name']}, AUROC {result['trivial_auroc']:.3f}"
        )
    lines += [row["sentence"] for row in result["claims"]]
    return "\n".join(line for line in lines if line) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
