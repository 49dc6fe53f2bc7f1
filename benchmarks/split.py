# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector with probes: `python -m benchmarks.split --split FILE --config ... --links ...`.

Runs the real inspector process, its functions wrapped by stopwatches of CPU time; at its end FILE holds the
microseconds a picture of each stage, exclusive of the stages that it calls. Only `benchmarks.overhead` starts
this, in a round of its own: the probes themselves cost a few per cent, so no other figure comes from here.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino as ov

from inspection import inspecting, inspector
from inspection.detectors import openvino
from inspection.detectors.base import Finished
from inspection.detectors.decode import RowDecoder
from inspection.inspecting import Inspector
from inspection.judging import Judging
from inspection.link import Link
from inspection.pairing import Pairer
from inspection.pixels import Letterbox
from inspection.slots import CameraSlots, Keeper

STAGES: dict[str, tuple[tuple[Any, str], ...]] = {
    "receive": ((Link, "receive"),),
    "pair": tuple((Pairer, name) for name in ("part", "frame", "close", "expire")),
    "copy": ((CameraSlots, "view"), (Letterbox, "apply")),
    "submit": ((Inspector, "_feed"), (openvino.OpenVinoDetector, "submit")),
    "engine": ((ov.InferRequest, "start_async"),),  # not the network, that has threads of its own
    "callback": ((openvino.OpenVinoDetector, "_ended"), (Finished, "put")),
    "collect": (
        (RowDecoder, "decode"),
        (openvino.OpenVinoDetector, "collect"),
        (Inspector, "_take_answers"),
        (Inspector, "_result"),
    ),
    "judge": tuple((Judging, name) for name in ("answered", "part", "frame", "closed", "next_batch")),
    "send": ((Link, "send"), (Inspector, "_judged_message")),
    "release": ((Keeper, "release"),),
    "tick": ((Judging, "tick"), (Inspector, "_look_for_hangs"), (Inspector, "_show")),
    "loop": ((Inspector, "run"),),  # what is left: select, dispatch, heartbeat
}


class Stopwatch:
    """Exclusive CPU time a stage, over all threads."""

    def __init__(self) -> None:
        self.spent_ns = dict.fromkeys(STAGES, 0)
        self._open = threading.local()

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time counted for `stage` and taken off the stage that called it."""
        spent, here, now = self.spent_ns, self._open, time.thread_time_ns

        @functools.wraps(function)
        def timed(*positional: Any, **named: Any) -> Any:
            outer = getattr(here, "inner_ns", 0)
            here.inner_ns = 0
            started_ns = now()
            try:
                return function(*positional, **named)
            finally:
                took_ns = now() - started_ns
                spent[stage] += took_ns - here.inner_ns
                here.inner_ns = outer + took_ns

        return timed


def main(argv: list[str]) -> int:
    """The inspector's own main, wrapped; then the report."""
    path, rest = Path(argv[1]), argv[2:]
    watch = Stopwatch()
    for stage, functions in STAGES.items():
        for owner, name in functions:
            setattr(owner, name, watch.wrap(stage, getattr(owner, name)))
    counted: list[int] = []
    real = inspecting.Inspector.close

    def close(self: Inspector) -> None:
        counted.append(self._judging.counts.inferences)
        real(self)

    inspecting.Inspector.close = close
    code = inspector.main(rest)
    pictures = max(1, sum(counted))
    path.write_text(json.dumps({stage: ns / 1e3 / pictures for stage, ns in watch.spent_ns.items()}))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
