# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight train`: from labels to a signed, evaluated candidate bundle, in one command.

This process only watches: the work is done by `training.work`, in a session of its own and at low priority. It
prints the job's events, hands signals on, and where the worker ends without a word it says so in the record.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from inspection.types import StationFault
from training import options
from training.candidate import read_about
from training.job import CANCEL_NAME, DIED, LOG_NAME, JobFolder, now_utc
from training.recipe import load_training_recipe
from training.sets import check_sets, read_sets, read_snapshot_sets

_LOOK_S = 0.2


def _refuse_early(given: argparse.Namespace) -> None:
    """Say at once what needs no worker to be seen. Raises StationFault."""
    recipe = load_training_recipe(given.recipe)
    read_about(given.about)
    if given.rendered:
        if not recipe.rendered_train:
            raise StationFault(f"recipe {recipe.name} has no rendered_train; give --train and --val COCO files")
    elif given.snapshot:
        check_sets(recipe, read_snapshot_sets(given.snapshot, given.dataset))
    else:
        check_sets(recipe, read_sets(recipe, given.train, given.val, given.test))


def _start(given: argparse.Namespace, words: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """The worker, and the end of the pipe on which it answers."""
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StationFault(
            f"{given.out} cannot be a job's folder ({error.strerror}): choose another --out"
        ) from None
    (given.out / CANCEL_NAME).unlink(missing_ok=True)
    ours, theirs = os.pipe()
    with (given.out / LOG_NAME).open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "training.work", str(os.getpid()), str(theirs), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(theirs,),
            start_new_session=True,
        )
    os.close(theirs)
    return worker, ours


def _watch(worker: subprocess.Popen[bytes], folder: JobFolder, *, quiet: bool) -> None:
    """Print events until the worker has ended; the first Ctrl-C cancels, the second kills."""
    asked = 0

    def hand_on(*_: object) -> None:
        nonlocal asked
        asked += 1
        worker.send_signal(signal.SIGTERM if asked == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    _, offset = folder.events()  # what earlier runs said
    try:
        ended = False
        while not ended:
            ended = worker.poll() is not None
            events, offset = folder.events(offset)
            for event in events:
                line = _line(event)
                if line and not quiet:
                    sys.stdout.write(line + "\n")
                    sys.stdout.flush()
            if not ended:
                time.sleep(_LOOK_S)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(event: dict[str, Any]) -> str:
    """One event as a person reads it; empty for those that say nothing."""
    match event.get("event"):
        case "stage":
            return f"{event['stage']}"
        case "note":
            return f"  note: {event['text']}"
        case "epoch":
            return (
                f"  epoch {event['epoch']}/{event['epochs']}  loss {event['loss']:.4g}  "
                f"metric {event['metric']:.4f}  {_span(event['left_s'])} left"
            )
        case _:
            return ""


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _answer(pipe: int) -> tuple[int, str | None]:
    """What the worker said at its end; EXIT_FAILED and DIED when it said nothing."""
    with os.fdopen(pipe) as stream:
        text = stream.read()
    try:
        answer = json.loads(text)
        return int(answer["code"]), answer["error"]
    except (ValueError, KeyError, TypeError):
        return options.EXIT_FAILED, None


def run(given: argparse.Namespace, words: list[str]) -> tuple[int, dict[str, Any]]:
    """Start, watch and sum up one job; the exit code and what to print. Raises StationFault."""
    _refuse_early(given)
    folder = JobFolder(given.out)
    worker, pipe = _start(given, words)
    _watch(worker, folder, quiet=given.json)
    code, error = _answer(pipe)
    if error is None and code != 0:
        error = DIED
        with folder.working(patience_s=2.0):
            folder.write(state="failed", error=DIED, ended_utc=now_utc())
            folder.tell("failed", error=DIED, signal=-(worker.returncode or 0))
    if code != 0:
        return code, {"error": error}
    return 0, {**folder.record(), "bundle_path": str(folder.bundle)}


def main(argv: list[str] | None = None) -> int:
    """One job; the exit code is in `gatesight train --help`."""
    words = list(sys.argv[1:] if argv is None else argv)
    given = options.read(words)
    try:
        if given.preview_policy is not None:
            from training.preview import preview

            sheet = preview(given.preview_policy, given.train, given.out, given.seed)
            sys.stdout.write(json.dumps({"ok": True, "sheet": str(sheet)}) if given.json else str(sheet))
            sys.stdout.write("\n")
            return 0
        code, told = run(given, words)
    except StationFault as fault:
        code, told = options.EXIT_REFUSED, {"error": str(fault)}
    if code != 0:
        sys.stderr.write(f"gatesight train: {told['error']}\n")
    if given.json:
        sys.stdout.write(json.dumps({"ok": code == 0, **told}) + "\n")
    elif code == 0:
        sys.stdout.write(_told(told))
    return code


def _told(record: dict[str, Any]) -> str:
    head = f"{record['bundle_path']}  ({record['bundle'][:16]})"
    return "".join(f"{line}\n" for line in (head, *record["metrics"]["sentences"]))


if __name__ == "__main__":
    raise SystemExit(main())
