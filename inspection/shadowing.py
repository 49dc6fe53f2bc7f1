# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the shadow does: a candidate judges copies of parts that were judged already. It decides nothing.

It hears of a candidate from the registry; without one it idles. Its only way out is a link to the recorder.
Nothing
that goes wrong here stops the station: a candidate that cannot be loaded is a text on the status board.
"""

from __future__ import annotations

import select
import time

from cameras.ring import Ring, StaleLease
from inspection.board import ProcessState, ShadowCounter
from inspection.child import ChildContext
from inspection.detectors.base import Detector, View, ask
from inspection.inspector import build_detector, check_recipe
from inspection.link import Link
from inspection.messages import ShadowJudged, ShadowPart
from inspection.pins import bundle_path
from inspection.recipe import Recipe
from inspection.rules import ViewResult, judge
from inspection.slots import CameraSlots
from inspection.types import PartFault, StationFault, Verdict
from weights.history import read, stamp

_POLL_S = 0.1
_LOOK_S = 1.0
_ANSWER_S = 30.0


class Shadow:
    """Follows the registry's shadow bundle and judges what it is given."""

    def __init__(self, context: ChildContext, recipe: Recipe) -> None:
        config = context.config
        # one thread: it is to be late, not in the way
        self._config = config.model_copy(
            update={"engine": config.engine.model_copy(update={"threads": 1, "max_batch": 1})}
        )
        self._recipe = recipe
        self._context = context
        self._row = context.row
        self._feed: Link = context.links["inspector"]
        self._recorder: Link = context.links["recorder"]
        self._cameras = [
            CameraSlots(i, camera, Ring.attach(config.shadow_ring_path(camera.serial)))
            for i, camera in enumerate(config.camera)
        ]
        self._detector: Detector | None = None
        self._bundle = ""
        self._stamp: tuple[int, int] | None = None
        self._look_at_s = 0.0
        self._faults = 0

    def run(self) -> int:
        """Until SIGTERM."""
        while not self._context.stop.is_set():
            self._row.beat()
            if time.monotonic() >= self._look_at_s:
                self._look_at_s = time.monotonic() + _LOOK_S
                self._follow_registry()
            select.select([self._feed], [], [], _POLL_S)
            while (message := self._feed.receive()) is not None and not self._context.stop.is_set():
                self._row.beat()
                if isinstance(message, ShadowPart):
                    self._take(message)
        self._leave()
        for camera in self._cameras:
            camera.close()
        return 0

    def _follow_registry(self) -> None:
        seen = stamp(self._config.registry_dir)
        if seen == self._stamp:
            return
        self._stamp = seen
        try:
            wanted = read(self._config.registry_dir).shadow or ""
            if wanted == self._bundle:
                return
            self._leave()
            self._bundle = wanted
            self._row.report(
                ProcessState.READY, f"loading candidate {wanted[:12]}" if wanted else "no candidate"
            )
            if wanted:
                self._load(wanted)
        except (StationFault, PartFault) as e:
            self._leave()
            self._row.report(ProcessState.READY, f"the candidate is not judged by: {e}")

    def _load(self, sha256: str) -> None:
        detector = build_detector(self._config, bundle_path(self._config, sha256))
        self._detector = detector
        if self._config.engine.kind != "scripted" and detector.info.bundle_sha256 != sha256:
            raise StationFault(f"the registry's copy of {sha256[:12]} is {detector.info.bundle_sha256[:12]}.")
        check_recipe(self._config, self._recipe, detector.info)
        detector.warm_up()
        self._row.set(ShadowCounter.WANTS, 1)
        self._row.report(ProcessState.READY, f"candidate {sha256[:12]}")

    def _leave(self) -> None:
        """Judge no more, until another candidate comes."""
        self._row.set(ShadowCounter.WANTS, 0)
        if self._detector is not None:
            self._detector.close()
        self._detector = None
        self._bundle = ""

    def _take(self, part: ShadowPart) -> None:
        """Judge one part, give its slots back, tell the recorder."""
        verdict: Verdict | None = None
        try:
            if self._detector is not None:
                verdict = self._judge(self._detector, part)
        finally:
            for frame in part.frames:
                self._cameras[frame.camera].free(frame)
        if verdict is None:
            return
        self._row.add(ShadowCounter.JUDGED)
        self._row.add(ShadowCounter.DISAGREED, int(verdict.outcome is not part.verdict.outcome))
        said = ShadowJudged(
            epoch=part.epoch,
            ordinal=part.ordinal,
            seq=part.seq,
            bundle_sha256=part.bundle_sha256,
            outcome=int(part.verdict.outcome),
            score=_highest(part.verdict),
            shadow_sha256=self._detector.info.bundle_sha256 if self._detector else "",
            shadow_outcome=int(verdict.outcome),
            shadow_score=_highest(verdict),
            rejected_by=verdict.rejected_by,
            utc_ns=time.time_ns(),
        )
        if not self._recorder.send(said):
            self._row.add(ShadowCounter.DROPPED)

    def _judge(self, detector: Detector, part: ShadowPart) -> Verdict | None:
        results: list[ViewResult] = []
        try:
            for frame in part.frames:
                camera = self._cameras[frame.camera]
                view: View = camera.view(frame)
                answer = ask(detector, view, patience_s=_ANSWER_S)
                if answer.fault is not None or not camera.holds(frame):
                    self._row.add(ShadowCounter.FAULTS)
                    return None
                results.append(ViewResult(camera=frame.camera, findings=answer.findings[0]))
        except StaleLease:
            self._row.add(ShadowCounter.FAULTS)
            return None
        return judge(results, self._recipe)


def _highest(verdict: Verdict) -> float:
    return max((finding.score for finding in verdict.findings), default=0.0)
