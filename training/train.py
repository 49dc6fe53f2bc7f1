# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train a candidate: `python -m training.train --recipe NAME (--rendered | --train COCO --val COCO) --out DIR`.

Stages, each skipped when its result is already in DIR: pictures, ultralytics folder, fit. A killed job goes
on with
the same command and `--resume`: same seed, same data, from the last finished epoch. The trained weights end as
`DIR/fit/weights/last.pt` (averaged weights of the last epoch); `training.export` turns them into ONNX.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from itertools import pairwise
from pathlib import Path

from datasets.coco import read_coco
from datasets.labels import LabelledSet
from inspection.types import StationFault
from training.environment import prepare
from training.job import TrainingRecipe, code_commit, file_sha256, load_training_recipe
from training.rendered import CHOICE_SEEDS, TRAIN_SEEDS, write_rendered
from training.yolo_folder import write_folder


def _pictures(given: argparse.Namespace, recipe: TrainingRecipe) -> tuple[LabelledSet, LabelledSet]:
    if given.rendered:
        if not recipe.rendered_train:
            raise StationFault(f"recipe {recipe.name} has no rendered_train; give --train and --val COCO files")
        spread = 1000 * given.seed
        train = write_rendered(
            given.out / "rendered_train",
            first_seed=TRAIN_SEEDS.start + spread,
            pictures=recipe.rendered_train,
        )
        val = write_rendered(
            given.out / "rendered_val",
            first_seed=CHOICE_SEEDS.start + spread,
            pictures=recipe.rendered_val,
            dense=False,
        )
        return read_coco(train), read_coco(val)
    if given.train is None or given.val is None:
        raise StationFault("nothing to train on: give --rendered, or both --train COCO and --val COCO")
    return read_coco(given.train), read_coco(given.val)


def fit(
    recipe: TrainingRecipe,
    data: Path,
    out: Path,
    *,
    seed: int,
    resume: bool,
    threads: int,
    start: Path | None = None,
) -> Path:
    """Run ultralytics on a prepared folder; return the weights.

    `start`: weights to go on from, with a schedule of its own; else from scratch.
    Raises StationFault when the folder holds a half-done fit and `resume` was not asked for.
    """
    prepare(threads=threads)
    import torch
    from ultralytics import YOLO  # pyright: ignore[reportPrivateImportUsage]
    from ultralytics import settings as ultralytics_settings

    from training.augmentations import policy
    from training.cpu_bf16 import Bf16Trainer, worthwhile

    outward = ("sync", "clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")
    ultralytics_settings.update({name: False for name in outward if name in ultralytics_settings})
    last, finished = out / "fit" / "weights" / "last.pt", out / "fit" / "finished"
    if finished.is_file():
        return last
    trainer = Bf16Trainer if worthwhile() else None

    def use_threads(_: object) -> None:
        torch.set_num_threads(threads)  # choosing the device set it to the machine's cores less one

    if last.is_file():
        if not resume:
            raise StationFault(f"{out} holds an unfinished training; add --resume, or choose another --out")
        model = YOLO(last)
        model.add_callback("on_train_start", use_threads)
        model.train(resume=True, trainer=trainer)
    else:
        model = YOLO(start or recipe.network_path, task="detect")
        model.add_callback("on_train_start", use_threads)
        model.train(
            trainer=trainer,
            data=str(data),
            imgsz=recipe.input_px,
            project=str(out.resolve()),
            name="fit",
            exist_ok=True,
            device=0 if torch.cuda.is_available() else "cpu",
            amp="bf16" if torch.cuda.is_available() else False,
            seed=seed,
            deterministic=True,
            workers=0,
            cache="ram",
            plots=False,
            patience=0,
            augmentations=policy(recipe.policy),
            scale=0.0,
            translate=0.0,
            hsv_h=0.0,
            hsv_s=0.0,
            hsv_v=0.0,
            fliplr=0.5,
            flipud=0.5,
            **recipe.ultralytics,
        )
    finished.write_text("done\n")
    return last


def main(argv: list[str] | None = None) -> int:
    """Run one job; 0 when the weights are there, 3 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, help="name of a file in training/recipes")
    parser.add_argument("--rendered", action="store_true", help="train on the twin's rendered parts")
    parser.add_argument("--train", type=Path, help="COCO file of the training pictures")
    parser.add_argument("--val", type=Path, help="COCO file for watching the fit and choosing thresholds")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--start", type=Path, help="weights of an earlier job to go on from (its fit/weights/last.pt)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--json", action="store_true", help="print the job record as JSON")
    given = parser.parse_args(argv)
    try:
        recipe = load_training_recipe(given.recipe)
        given.out.mkdir(parents=True, exist_ok=True)
        train, val = _pictures(given, recipe)
        data = write_folder(
            train,
            val,
            given.out / "data",
            input_px=recipe.input_px,
            channels=recipe.channels,
            template_share=recipe.template_share,
        )
        if given.start is not None and not given.start.is_file():
            raise StationFault(f"no weights at {given.start}; give the last.pt of an earlier job")
        weights = fit(
            recipe,
            data,
            given.out,
            seed=given.seed,
            resume=given.resume,
            threads=given.threads,
            start=given.start,
        )
    except StationFault as fault:
        sys.stderr.write(f"gatesight train: {fault}\n")
        return 3
    record = {
        "recipe": recipe.name,
        "policy": recipe.policy,
        "seed": given.seed,
        "rendered": given.rendered,
        "classes": list(train.classes),
        "train": _described(train),
        "val": _described(val),
        "weights": str(weights.resolve()),
        "code_commit": code_commit(),
        "start": None if given.start is None else _earlier(given.start),
        "fit_s": _fit_seconds(given.out / "fit" / "results.csv"),
    }
    (given.out / "job.json").write_text(json.dumps(record, indent=2))
    line = json.dumps(record) if given.json else f"trained {recipe.name}: {weights} in {record['fit_s']:.0f} s"
    sys.stdout.write(line + "\n")
    return 0


def _described(pictures: LabelledSet) -> dict[str, object]:
    """What a card says of a set of pictures, and where it lies on this machine."""
    return {
        "source": pictures.source.name,
        "path": str(pictures.source.resolve()),
        "sha256": file_sha256(pictures.source),
        "pictures": len(pictures.pictures),
        "labels": sum(len(picture.labels) for picture in pictures.pictures),
    }


def _earlier(weights: Path) -> dict[str, object]:
    """Name the weights a job went on from, with the record of the job that made them where that is at hand."""
    record = weights.parent.parent.parent / "job.json"
    made_by = json.loads(record.read_text()) if record.is_file() else {}
    kept = {key: made_by.get(key) for key in ("recipe", "seed", "code_commit", "fit_s", "start")}
    with (weights.parent.parent / "results.csv").open() as stream:
        epochs = sum(1 for _ in stream) - 1
    return {"weights_sha256": file_sha256(weights), "epochs": epochs, "job": kept}


def _fit_seconds(results: Path) -> float:
    """Seconds that the finished epochs took; the clock starts again at every restart, so laps are summed."""
    with results.open(newline="") as stream:
        rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(stream)]
    times = [float(row["time"]) for row in rows]
    laps = [time for time, after in pairwise(times) if after < time]
    return sum(laps) + (times[-1] if times else 0.0)


if __name__ == "__main__":
    raise SystemExit(main())
