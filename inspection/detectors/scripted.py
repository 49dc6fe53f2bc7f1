# SPDX-License-Identifier: AGPL-3.0-or-later
"""An engine that follows a script: known findings, delays, exceptions, hangs and nonsense, for tests and demos.

A script is a function from a view to a `Step`, or a JSON file that says the same:

    {"classes": ["scratch"], "max_batch": 4, "parallel": 1, "delay_ms": 2.0,
     "steps": [{"camera": 0, "every": 5, "offset": 2, "do": "find",
                "findings": [{"class": "scratch", "score": 0.9, "box": [10, 10, 30, 20]}]},
               {"frame_id": [7], "do": "raise"}, {"encoder": [120, 240], "do": "hang"},
               {"frame_id": [9], "do": "nonsense"}, {"frame_id": [11], "delay_ms": 400}]}

The first step whose conditions (camera, every/offset of the frame id, frame_id, encoder) all hold is taken;
none means "looked, found nothing". Boxes are view pixels.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inspection.detectors.base import BatchResult, DetectorInfo, EngineFault, Finished, View
from inspection.detectors.decode import RowDecoder
from inspection.pixels import Letterbox
from inspection.types import Box, Finding, StationFault

_Strict = ConfigDict(extra="forbid", frozen=True)
Action = Literal["find", "raise", "hang", "nonsense"]


class ScriptedFinding(BaseModel):
    """One finding, box in view pixels."""

    model_config = _Strict

    defect_class: str = Field(alias="class")
    score: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float]


class Step(BaseModel):
    """What to do for one view, and when. Without conditions it always holds."""

    model_config = _Strict

    camera: int | None = None
    every: int | None = Field(default=None, ge=1)
    offset: int = 0
    frame_id: tuple[int, ...] | None = None
    encoder: tuple[int, ...] | None = None
    do: Action = "find"
    findings: tuple[ScriptedFinding, ...] = ()
    delay_ms: float = Field(default=0.0, ge=0)

    def holds(self, view: View) -> bool:
        """Whether this step is meant for this view."""
        frame = view.frame
        if self.camera is not None and self.camera != view.camera:
            return False
        if frame is None:
            return self.every is None and self.frame_id is None and self.encoder is None
        return (
            (self.every is None or frame.frame_id % self.every == self.offset % self.every)
            and (self.frame_id is None or frame.frame_id in self.frame_id)
            and (self.encoder is None or frame.encoder_pulses in self.encoder)
        )


class Script(BaseModel):
    """A whole script file."""

    model_config = _Strict

    classes: tuple[str, ...] = ("defect",)
    max_batch: int = Field(default=4, ge=1)
    parallel: int = Field(default=1, ge=1)
    delay_ms: float = Field(default=0.0, ge=0)  # of every batch
    steps: tuple[Step, ...] = ()

    def step(self, view: View) -> Step:
        """The step for one view."""
        return next((s for s in self.steps if s.holds(view)), _NOTHING)


_NOTHING = Step()


def load_script(path: Path) -> Script:
    """Read a script; StationFault names file and field."""
    try:
        return Script.model_validate_json(path.read_bytes())
    except OSError as e:
        raise StationFault(f"Cannot read the engine's script {path}: {e.strerror}.") from e
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StationFault(f"{path}: {where}: {first['msg']}; correct the script.") from e


_Work = tuple[int, Sequence[View]]


class ScriptedDetector:
    """Detector that does what the script says.

    answer: a function used instead of the script's steps. Without delays and hangs (`immediate`) it answers
    inside `submit`, which makes it the null engine of benchmarks; otherwise `parallel` threads answer.
    """

    def __init__(
        self,
        script: Script,
        *,
        answer: Callable[[View], Step] | None = None,
        immediate: bool | None = None,
        input_px: tuple[int, int] = (640, 640),
    ) -> None:
        self._script = script
        self._answer_for = answer or script.step
        slow = script.delay_ms > 0 or any(s.delay_ms or s.do == "hang" for s in script.steps)
        self._immediate = not slow and answer is None if immediate is None else immediate
        self._decoder = RowDecoder(classes=script.classes, floor_score=0.0)
        self._released = threading.Event()
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._finished: Finished[BatchResult] = Finished()
        self._threads = [
            threading.Thread(target=self._run, name=f"scripted-engine-{i}", daemon=True)
            for i in range(0 if self._immediate else script.parallel)
        ]
        for thread in self._threads:
            thread.start()
        self.info = DetectorInfo(
            name="scripted",
            runtime="scripted",
            input_width_px=input_px[0],
            input_height_px=input_px[1],
            classes=script.classes,
            floor_score=0.0,
            bundle_sha256=hashlib.sha256(script.model_dump_json(by_alias=True).encode()).hexdigest(),
            max_batch=script.max_batch,
            parallel=script.parallel,
            threads=1,
        )

    def warm_up(self) -> int:
        """Nothing to warm; the delay of every batch."""
        return int(self._script.delay_ms * 1e6)

    def submit(self, number: int, batch: Sequence[View]) -> None:
        """Answer at once, or hand the batch to a thread."""
        if self._immediate:
            self._finished.put_here(self._perform(number, batch))
        else:
            self._work.put((number, batch))

    def collect(self) -> BatchResult | None:
        """What was performed."""
        return self._finished.take()

    def fileno(self) -> int:
        """An event for each answer of a thread."""
        return self._finished.fileno()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            self._finished.put(self._perform(*work))

    def _perform(self, number: int, batch: Sequence[View]) -> BatchResult:
        steps = [self._answer_for(view) for view in batch]
        delay_ms = self._script.delay_ms + max(step.delay_ms for step in steps)
        if delay_ms:
            time.sleep(delay_ms / 1000)
        if any(step.do == "hang" for step in steps):
            self._released.wait()  # until close()
        if any(step.do == "raise" for step in steps):
            return BatchResult(number=number, fault=EngineFault("the script says: raise"))
        try:
            return BatchResult(
                number=number,
                findings=tuple(self._findings(view, step) for view, step in zip(batch, steps, strict=True)),
            )
        except EngineFault as e:
            return BatchResult(number=number, fault=e)

    def _findings(self, view: View, step: Step) -> tuple[Finding, ...]:
        if step.do == "nonsense":  # through the same decoder that guards the real engines
            height_px, width_px = view.pixels.shape[:2]
            box = Letterbox(
                source_width_px=width_px, source_height_px=height_px, width_px=width_px, height_px=height_px
            )
            return self._decoder.decode(np.full((1, 6), np.nan, np.float32), box, view)
        return tuple(
            Finding(
                defect_class=f.defect_class,
                score=f.score,
                box=Box(
                    x0_px=f.box[0] + view.x_px,
                    y0_px=f.box[1] + view.y_px,
                    x1_px=f.box[2] + view.x_px,
                    y1_px=f.box[3] + view.y_px,
                ),
                camera=view.camera,
            )
            for f in step.findings
        )

    def close(self) -> None:
        """Let what hangs go on, then end the threads."""
        self._released.set()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        self._finished.close()
