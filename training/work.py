# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process that does a training job: `training.train` starts it in a session of its own and watches it.

Stages: read, pictures, fit, export, limits, test, sign. Each leaves something whole in OUT/work or nothing, so
that a job that was killed at any moment goes on or begins that stage again. The bundle comes last, by a rename.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inspection.types import StationFault
from training import candidate, options
from training.code import code_commit
from training.environment import prepare
from training.job import JobFolder, file_sha256, now_utc, process_started
from training.low_priority import die_with_parent, stand_back
from training.recipe import TrainingRecipe, load_training_recipe
from training.sets import (
    Given,
    check_sets,
    described,
    draw_sets,
    read_sets,
    read_snapshot_sets,
    refuse_twins,
    taught_classes,
)
from training.start import stand_on, start_weights
from weights.bundle import REPORT_NAME, load_bundle, write_bundle
from weights.keys import default_key_dir
from weights.signing import station_key

PARITY_PICTURES = 24
_LIBRARIES = ("torch", "ultralytics", "albumentations", "onnx", "onnxruntime", "openvino", "numpy")


class _Stopped(Exception):
    """The job was cancelled between two stages."""


class Work:
    """One run of a job, in this process."""

    def __init__(self, given: argparse.Namespace, folder: JobFolder) -> None:
        self._given, self._folder = given, folder
        self._recipe: TrainingRecipe = load_training_recipe(given.recipe)
        self._about = candidate.read_about(given.about)
        self._start = start_weights(self._recipe, given.start)
        self._backbone: dict[str, Any] | None = None
        self._told_to_stop = False
        self._epoch_seconds: list[float] = []

    def stop(self, *_: object) -> None:
        """Signal handler: end at the next look."""
        self._told_to_stop = True

    def cancelled(self) -> bool:
        """Whether somebody asked for the end."""
        return self._told_to_stop or self._folder.cancelled()

    def asked(self) -> dict[str, Any]:
        """What makes this job the one it is: a resumed one must ask for the same."""
        content = json.dumps(asdict(self._recipe), sort_keys=True).encode()
        return {
            "recipe": self._recipe.name,
            "recipe_sha256": hashlib.sha256(content).hexdigest(),
            "seed": self._given.seed,
            "threads": self._given.threads,
            "rendered": self._given.rendered,
            "start_sha256": None if self._start is None else file_sha256(self._start),
        }

    def stage(self, name: str) -> None:
        """Say where we are; stop here if somebody asked."""
        if self.cancelled():
            raise _Stopped
        self._folder.write(stage=name)
        self._folder.tell("stage", stage=name)

    def run(self) -> dict[str, Any]:
        """All stages; the record of the finished job."""
        folder, recipe = self._folder, self._recipe
        work = folder.work
        work.mkdir(parents=True, exist_ok=True)
        self.stage("read")
        given = self._sets()
        classes = taught_classes(recipe, given.train)
        data = self._data(given)
        self.stage("pictures")
        from training.yolo_folder import write_folder

        taught = write_folder(recipe, given.train, given.val, work / "data")
        self.stage("fit")
        weights = self._fit(given, taught)
        self.stage("export")
        from training.export import as_trained

        model_path = work / "model.onnx"
        parity = self._export(given, weights, len(classes), model_path)
        content = candidate.card_content(recipe, classes, self._about, data, self._pedigree(weights, parity))
        made = candidate.make(
            recipe,
            given,
            model_path.read_bytes(),
            content,
            self._about,
            source=model_path,
            rendered=candidate.RenderedTest(
                parts=self._given.parts,
                choice_parts=self._given.choice_parts,
                offset=self._given.test_offset,
            ),
            trained=as_trained(recipe, len(classes), weights),
            threads=1,  # engines answer one picture at a time
            tell=self.stage,
        )
        self.stage("sign")
        key = station_key(self._given.key_dir or default_key_dir())
        sha256 = write_bundle(
            folder.bundle, model=made.model, card=made.card, key=key, recipe=made.recipe, report=made.report
        )
        return {"bundle": sha256, "metrics": _summary(made.report)}

    def _sets(self) -> Given:
        asked = self._given
        if asked.rendered:
            given = draw_sets(self._recipe, self._folder.work, asked.seed)
        elif asked.snapshot:
            given = read_snapshot_sets(asked.snapshot, asked.dataset)
        else:
            given = read_sets(self._recipe, asked.train, asked.val, asked.test)
        for note in check_sets(self._recipe, given):
            self._folder.tell("note", text=note)
        refuse_twins(given)
        return given

    def _data(self, given: Given) -> dict[str, Any]:
        """Describe the sets, and hold them against what the job began with."""
        data: dict[str, Any] = {"train": described(given.train), "val": described(given.val)}
        if given.test is not None:
            data["test"] = described(given.test)
        if given.snapshot is not None:
            data["snapshot"] = given.snapshot
        began_with = self._folder.record().get("data")
        for name in ("train", "val"):
            if began_with is not None and began_with[name]["sha256"] != data[name]["sha256"]:
                raise StationFault(
                    f"the {name} set is no longer the one that {self._folder.path} began with; choose another "
                    "--out, or bring back the old pictures and labels"
                )
        self._folder.write(data=data, snapshot=given.snapshot)
        return data

    def _fit(self, given: Given, taught: Path) -> Path:
        prepare(threads=self._given.threads)
        from training.fit import fit
        from training.trainers import Surroundings

        trunk, start, self._backbone = stand_on(self._recipe, self._start, given.train)
        around = Surroundings(
            folder=self._folder.work / "fit",
            seed=self._given.seed,
            threads=self._given.threads,
            start=start,
            tell=self._tell_epoch,
            note=lambda text: self._folder.tell("note", text=text),
            cancelled=self.cancelled,
            trunk=trunk,
        )
        return fit(self._recipe, taught, around)

    def _tell_epoch(self, told: Any) -> None:
        self._epoch_seconds.append(told.seconds)
        recent = self._epoch_seconds[-5:]
        left_s = sum(recent) / len(recent) * (told.epochs - told.epoch)
        facts = {key: round(value, 5) for key, value in told.metrics.items()}
        self._folder.tell(
            "epoch",
            epoch=told.epoch,
            epochs=told.epochs,
            loss=round(told.loss, 5),
            metric=round(told.fitness, 5),
            metrics=facts,
            seconds=round(told.seconds, 2),
            left_s=round(left_s),
        )
        self._folder.write(epoch=told.epoch, epochs=told.epochs)

    def _export(self, given: Given, weights: Path, classes: int, model_path: Path) -> dict[str, Any]:
        from training.export import export_onnx
        from training.pictures import network_pictures

        recipe = self._recipe
        # defective ones first: an empty picture proves little
        shown = sorted(given.val.pictures, key=lambda picture: picture.good)[:PARITY_PICTURES]
        pictures = network_pictures(shown, recipe.input_px, recipe.channels, recipe.steps)
        return export_onnx(recipe, classes, weights, model_path, pictures)

    def _pedigree(self, weights: Path, parity: Mapping[str, Any]) -> dict[str, Any]:
        from training.augmentations import policy
        from training.checkpoint import read_tensors
        from training.cpu_bf16 import worthwhile

        _, facts = read_tensors(weights)
        return {
            "seed": self._given.seed,
            "threads": self._given.threads,
            "precision": "bfloat16 forward, float32 weights" if worthwhile() else "float32",
            "policy_sha256": policy(self._recipe.policy).sha256,
            "epochs": facts["epochs"],
            "weights_of_epoch": facts["epoch"],
            "weights_sha256": file_sha256(weights),
            "start_sha256": None if self._start is None else file_sha256(self._start),
            **({} if self._backbone is None else {"backbone": self._backbone}),
            "code_commit": code_commit(),
            "versions": versions(),
            "parity": dict(parity),
        }


def versions() -> dict[str, str]:
    """What a model was made with."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **found}


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures that a list of jobs shows, and what they mean in plain words."""
    from training.figures import candidate_sentences

    on, of = ("test", report["test"]) if "test" in report else ("val", report["choice"])
    said = candidate_sentences(of, on)
    return {"on": on, "map50": of["map50"], "part": of["part"], "sentences": said}


def _found(folder: JobFolder, key_dir: Path) -> dict[str, Any]:
    """What the record of a finished job says, from the bundle itself. StationFault when that is not whole."""
    sha256 = load_bundle(folder.bundle, [key_dir]).sha256
    return {"bundle": sha256, "metrics": _summary(json.loads((folder.bundle / REPORT_NAME).read_bytes()))}


def begin(folder: JobFolder, work: Work, *, resume: bool) -> None:
    """Refuse to mix two jobs in one folder, and clear away what cannot be gone on from."""
    record = folder.record()
    fitted = (folder.work / "fit").is_dir()
    if not resume and (fitted or folder.bundle.exists()):
        what = "a finished" if folder.bundle.exists() else "an unfinished"
        raise StationFault(f"{folder.path} holds {what} training; add --resume, or choose another --out")
    earlier, asked = record.get("asked"), work.asked()
    if resume and earlier is not None and earlier != asked:
        other = next(key for key in asked if asked[key] != earlier.get(key))
        raise StationFault(
            f"{folder.path} was begun with another {other.removesuffix('_sha256')} "
            f"({earlier.get(other)}, now {asked[other]}); give the same, or choose another --out"
        )
    if not resume or earlier is None:
        shutil.rmtree(folder.work, ignore_errors=True)
        record = {}
    for left in folder.path.glob(".bundle.*.new"):  # of a process that was killed while it signed
        shutil.rmtree(left, ignore_errors=True)
    folder.write(
        state="running",
        stage="read",
        error=None,
        asked=asked,
        data=record.get("data"),
        who=record.get("who") or work._given.who or getpass.getuser(),
        host=platform.node(),
        pid=os.getpid(),
        pid_started=process_started(os.getpid()),
        began_utc=record.get("began_utc") or now_utc(),
        started_utc=now_utc(),
        ended_utc=None,
        attempts=record.get("attempts", 0) + 1,
        code_commit=code_commit(),
        versions=versions(),
    )
    folder.tell("started", resumed=bool(record), recipe=asked["recipe"], seed=asked["seed"])


def do(given: argparse.Namespace, folder: JobFolder) -> tuple[int, str | None]:
    """Run or go on with a job; the exit code, and why where it is not 0. The folder's lock is held."""
    try:
        work = Work(given, folder)
        record = folder.record()
        if given.resume and folder.bundle.exists() and record.get("asked") == work.asked():
            told = record.get("state") == "done" and "sentences" in record.get("metrics", {})
            if not told:  # killed between the bundle's rename and the record, or a record of an earlier version
                facts = _found(folder, given.key_dir or default_key_dir())
                ended_utc = record.get("ended_utc") or now_utc()
                folder.write(state="done", stage="done", error=None, ended_utc=ended_utc, **facts)
                folder.tell("done", **facts)
            return 0, None
        begin(folder, work, resume=given.resume)
    except StationFault as fault:
        return options.EXIT_REFUSED, str(fault)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, work.stop)
    state, code, why = "failed", options.EXIT_FAILED, None
    facts: dict[str, Any] = {}
    try:
        facts = work.run()
        state, code = "done", 0
    except _Stopped:
        state, code, why = "cancelled", options.EXIT_CANCELLED, "cancelled; go on with --resume"
    except StationFault as fault:
        code, why = options.EXIT_REFUSED, str(fault)
    except Exception as error:  # noqa: BLE001 - top of the process: whatever it is, the record must say it
        if type(error).__name__ == "Cancelled":
            state, code, why = "cancelled", options.EXIT_CANCELLED, "cancelled; go on with --resume"
        else:
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0]
            why = f"{type(error).__name__}: {first} (the whole story is in {folder.path / 'log.txt'})"
    folder.write(state=state, stage=state, error=why, ended_utc=now_utc(), **facts)
    folder.tell(state, **({} if why is None else {"error": why}), **facts)
    return code, why


def main(argv: list[str] | None = None) -> int:
    """Work for the process that started us; what it should say goes into its pipe."""
    words = list(sys.argv[1:] if argv is None else argv)
    parent, answer_fd = int(words.pop(0)), int(words.pop(0))
    die_with_parent(parent)
    given = options.read(words)
    stand_back(given.nice)
    folder = JobFolder(given.out)
    try:
        with folder.working():
            code, why = do(given, folder)
    except StationFault as fault:
        code, why = options.EXIT_REFUSED, str(fault)
    with os.fdopen(answer_fd, "w") as pipe:
        pipe.write(json.dumps({"code": code, "error": why}))
    return code


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main())  # libraries' threads must not hold up the end
