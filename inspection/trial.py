# SPDX-License-Identifier: AGPL-3.0-or-later
"""Can this station run that bundle, and how fast? Tried before anybody promotes it, in a process of its own.

    python -m inspection.trial --config station.toml --bundle PATH

Prints one JSON object: latency_ms (99 of 100 parts, all views of one, in the configured engine), limit_ms (what
the deadline leaves), or refusal (one sentence: signature, recipe, engine). It beside a running line takes a
core's time for
a few seconds, at the lowest priority: the figure errs towards slow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from inspection.config import StationConfig, load_config
from inspection.detectors.base import Detector, View, ask
from inspection.inspector import build_detector, check_recipe
from inspection.recipe import load_recipe
from inspection.types import StationFault

_PARTS = 100
_LONGEST_S = 20.0
_AROUND_MS = 40.0  # pairing, rules, link, journal and registers (inspection.inspector's margins)
_NICE = 10


def limit_ms(config: StationConfig) -> float:
    """What a part's deadline leaves for the engine."""
    return config.line.deadline_ms - config.line.plc_poll_ms - _AROUND_MS


def measure_ms(config: StationConfig, detector: Detector) -> float:
    """99 % of parts take at most so long, all views one after the other; milliseconds."""
    noise = np.random.default_rng(0)
    views: list[View] = []
    for i, camera in enumerate(config.camera):
        _, _, width_px, height_px = camera.view
        colour = () if camera.pixel_format.startswith("Mono") else (3,)
        pixels = noise.integers(0, 255, (height_px, width_px, *colour), dtype=np.uint8)
        views.append(View(camera=i, pixels=pixels))
    taken: list[float] = []
    give_up_s = time.monotonic() + _LONGEST_S
    while len(taken) < _PARTS and time.monotonic() < give_up_s:
        started_ns = time.monotonic_ns()
        for view in views:
            if (fault := ask(detector, view).fault) is not None:
                raise StationFault(f"The engine fails on a picture of noise: {fault}.")
        taken.append((time.monotonic_ns() - started_ns) / 1e6)
    return float(np.percentile(taken, 99, method="higher"))


def trial(config: StationConfig, bundle: Path) -> dict[str, float | str]:
    """Everything that the inspector does before it is ready, with another bundle."""
    detector = build_detector(config, bundle)
    try:
        check_recipe(config, load_recipe(config.station.recipe), detector.info)
        detector.warm_up()
        return {"latency_ms": round(measure_ms(config, detector), 2), "limit_ms": limit_ms(config)}
    finally:
        detector.close()


def main(argv: list[str] | None = None) -> int:
    """0 with figures, 3 with the sentence that refuses; JSON on standard output either way."""
    parser = argparse.ArgumentParser(prog="inspection.trial", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    given = parser.parse_args(argv)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    cv2.setNumThreads(1)
    try:
        result = trial(load_config(given.config), given.bundle.resolve())
    except (StationFault, TimeoutError) as e:
        sys.stdout.write(json.dumps({"refusal": str(e)}) + "\n")
        return 3
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
