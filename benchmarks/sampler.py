# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many labels does the sampler save? `GATESIGHT_DATA=... python -m benchmarks.sampler [--backbone ONNX]`.

Protocol, fixed on the train and val parts before the test part was looked at:
- magnetic_tile; the pool is the train part (804 pictures), F1 is measured on the test part (236). A linear
  classifier on frozen features (`datasets/classifier.py`) is fitted anew at each budget: 20, 40, ... 500.
- Two tasks: `classes`, macro F1 of the six classes (it carries the bar), and `defective`, F1 of defective among
  good or defective.
- Both start from the same 20 random labels of a seed (5 seeds). Random goes on at random; the sampler takes
  its next 20 from `datasets.sampling.propose` with its usual mix (one model, no times: uncertain 4, new 1).
- F1 at a budget is the mean of that budget and the two before it. The bar is what random of the same seed has
  at 400 labels, half of the pool. `ratio` = the sampler's first budget with at least that, over 400; 'never'
  counts as 500 / 400. Wanted: a median of at most 0.70.
- Control: another random order under the same rule shows what chance alone makes of the ratio.
Near-twins lie on both sides of this shared split (`gatesight data check` names them); both ways gain by them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.classifier import fit
from datasets.coco import read_coco
from datasets.features import describe_all, describer
from datasets.sampling import Pool, propose
from datasets.suspects import whole_label

START, STEP, END, BAR_AT = 20, 20, 500, 400
SEEDS = range(5)
WANTED = 0.70
TASKS = ("classes", "defective")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the ratios of all seeds, the control beside them; non-zero when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--backbone", help="ONNX file or `plain`; default: GATESIGHT_BACKBONE, else ours")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    if "GATESIGHT_DATA" not in os.environ:
        parser.error("set GATESIGHT_DATA to the folder of the data sets")
    folder = Path(os.environ["GATESIGHT_DATA"]) / "magnetic_tile"
    describe, name = describer(args.backbone)
    sides = [read_coco(folder / f"{side}.json").pictures for side in ("train", "test")]
    features = [describe_all(pictures, describe) for pictures in sides]
    figures: dict[str, object] = {"features": name}
    for task in TASKS:
        given = [[whole_label(p, by_class=task == "classes") for p in pictures] for pictures in sides]
        classes = sorted(set(given[0]))
        labels = [np.array([classes.index(value) for value in side]) for side in given]
        figures[task] = measure(Experiment(features, labels, classes))
        print(task, json.dumps(figures[task]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    met = figures["classes"]["ratio_median"] <= WANTED  # type: ignore[index]
    return 0 if met else 1


class Experiment:
    """Features and labels of pool and test, and how F1 grows with the labels one buys."""

    def __init__(
        self, features: Sequence[np.ndarray], labels: Sequence[np.ndarray], classes: Sequence[str]
    ) -> None:
        self._pool, self._test = features
        self._labels, self._truth = labels
        self._classes = tuple(classes)

    def curve(self, seed: int, *, sampler: bool, order_seed: int | None = None) -> np.ndarray:
        """F1 at each budget. The first labels are drawn by `seed`, further random ones by `order_seed`."""
        first = np.random.default_rng(seed).permutation(len(self._labels))[:START]
        others = np.setdiff1d(np.arange(len(self._labels)), first)
        np.random.default_rng((seed, order_seed or 0)).shuffle(others)
        bought = first.tolist()
        out = []
        for budget in range(START, END + 1, STEP):
            model = fit(self._pool[bought], self._labels[bought], len(self._classes))
            out.append(self._f1(model.probabilities(self._test).argmax(axis=1)))
            if sampler:
                rest = np.setdiff1d(np.arange(len(self._labels)), bought)
                pool = Pool(
                    names=tuple(str(i) for i in rest.tolist()),
                    features=self._pool[rest],
                    labelled=self._pool[bought],
                    beliefs=(model.probabilities(self._pool[rest]),),
                    classes=self._classes,
                )
                bought += [int(pick.name) for pick in propose(pool, STEP)]
            else:
                bought = [*first.tolist(), *others[: budget + STEP - START].tolist()]
        return np.array(out)

    def _f1(self, said: np.ndarray) -> float:
        kinds = range(len(self._classes)) if len(self._classes) > 2 else [self._classes.index("defective")]
        scores = []
        for kind in kinds:
            both = ((said == kind) & (self._truth == kind)).sum()
            scores.append(2 * both / max(1, (said == kind).sum() + (self._truth == kind).sum()))
        return float(np.mean(scores))


def smooth(curve: np.ndarray) -> np.ndarray:
    """Each value with the two before it."""
    return np.array([curve[max(0, i - 2) : i + 1].mean() for i in range(len(curve))])


def labels_needed(curve: np.ndarray, wanted: float) -> int:
    """The first budget at which a smoothed curve reaches `wanted`; END when it never does."""
    reached = np.flatnonzero(curve >= wanted)
    return START + STEP * int(reached[0]) if len(reached) else END


def measure(experiment: Experiment) -> dict[str, object]:
    """Ratios of all seeds, for the sampler and for the control."""
    ratios, control, bars, at_bar = [], [], [], []
    place = (BAR_AT - START) // STEP
    for seed in SEEDS:
        bar = float(smooth(experiment.curve(seed, sampler=False))[place])
        sampled = smooth(experiment.curve(seed, sampler=True))
        again = smooth(experiment.curve(seed, sampler=False, order_seed=1))
        bars.append(round(bar, 3))
        at_bar.append(round(float(sampled[place]), 3))
        ratios.append(labels_needed(sampled, bar) / BAR_AT)
        control.append(labels_needed(again, bar) / BAR_AT)
    return {
        "random_f1_at_400": bars,
        "sampler_f1_at_400": at_bar,
        "ratios": ratios,
        "ratio_median": float(np.median(ratios)),
        "control_ratios": control,
        "control_median": float(np.median(control)),
    }


if __name__ == "__main__":
    sys.exit(main())
