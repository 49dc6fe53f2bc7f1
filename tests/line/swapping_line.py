# SPDX-License-Identifier: AGPL-3.0-or-later
"""The virtual line with an inspector that changes its bundle again and again, and some that do it wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import msgspec

from inspection.journal_records import BundleInUse
from inspection.judging import Judged
from inspection.messages import BundleAgreed, BundleReady, LineReset, PartJudged
from inspection.scheduler import ServiceTimes
from inspection.types import FrameRef, Outcome, Reason
from tests.line.virtual_line import DEFECT, DEFECTIVE_EVERY, MS, RECIPE, VirtualLine

FIRST, SECOND = "b" * 64, "c" * 64


@dataclass
class SwappingLine(VirtualLine):
    """As the station does it: offered until the gate agrees, taken from the ordinal that the gate names."""

    every_ms: float = 400.0
    looked: dict[tuple[int, int], str] = field(
        default_factory=dict
    )  # (part number, camera) -> bundle that looked
    running: str = FIRST
    offered: str = ""
    swaps: int = 0
    _busy: set[int] = field(default_factory=set)
    _epoch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._when = random.Random(self.seed)  # its own: the line's chances stay as they are without swaps
        self._next_swap()

    def _next_swap(self) -> None:
        """At no fixed phase of belt and PLC."""
        self.at(self.now + int(self.every_ms * self._when.uniform(0.7, 1.3) * MS), self._swap)

    def _swap(self) -> None:
        self.offered = SECOND if self.running == FIRST else FIRST
        self._offer()
        self._next_swap()

    def _offer(self, bundle: str = "") -> None:
        self._tell_gate(
            BundleReady(bundle_sha256=bundle or self.offered, recipe_sha256=RECIPE.sha256, who="Ada")
        )

    def _start_inspector(self) -> None:
        super()._start_inspector()
        self._busy = set()
        self.offered = ""
        self.stamps = {0: self.running}
        self._offer(self.running)

    def inspector_hears(self, link: Any, message: Any) -> None:
        if link is self.link and isinstance(message, BundleAgreed):
            self._agreed(message)
        elif link is self.link and isinstance(message, LineReset) and message.epoch != self._epoch:
            super().inspector_hears(link, message)
            self._epoch = message.epoch
            self.judging.only_newest_lane()
            self._offer(self.running)
        else:
            super().inspector_hears(link, message)

    def _agreed(self, message: BundleAgreed) -> None:
        if message.bundle_sha256 == self.running:
            return
        if message.bundle_sha256 != self.offered:
            self._offer(self.running)
            return
        times = ServiceTimes(margin_ns=2 * MS)
        times.observe(1, 6 * MS)
        lane = self._begin(message.from_ordinal, times)
        self.running, self.offered = message.bundle_sha256, ""
        self.stamps[lane] = self.running
        self.swaps += 1
        self.at(self.now + 700 * MS, lambda judging=self.judging, lane=lane: self._retire(judging, lane - 1))

    def _begin(self, from_ordinal: int, times: ServiceTimes) -> int:
        return self.judging.begin_lane(from_ordinal, times=times, max_batch=4)

    def _retire(self, judging: Any, lane: int) -> None:
        if judging is self.judging and judging.is_over(lane):
            judging.end_lane(lane)

    # --- two engines, each with its own work

    def _feed_engine(self) -> None:
        for lane in sorted(self.stamps):
            while lane not in self._busy and self.judging.waits(lane):
                batch, effects = self.judging.next_batch(self.now, lane)
                if batch is not None:
                    self._busy.add(lane)
                    takes = int(self.chance.uniform(3, 8) * len(batch.frames) * MS)
                    judging = self.judging
                    self.at(
                        self.now + takes,
                        lambda b=batch, j=judging: self._looked_at(j, b.lane, b.number, b.frames),
                    )
                if effects:
                    self._carry_out(effects)

    def _looked_at(self, judging: Any, lane: int, number: int, frames: tuple[FrameRef, ...]) -> None:
        if judging is not self.judging:
            return
        self._busy.discard(lane)
        for frame in frames:
            self.looked[frame.frame_id, frame.camera] = self.stamps[lane]
        findings = [(DEFECT,) if f.frame_id % DEFECTIVE_EVERY == 0 else () for f in frames]
        self._carry_out(judging.answered(number, findings, now_ns=self.now))

    def _judged(self, effect: Judged) -> PartJudged:
        return msgspec.structs.replace(super()._judged(effect), bundle_sha256=self._stamp(effect.part.ordinal))

    def _stamp(self, ordinal: int) -> str:
        return self.stamps[self.judging.lane_of(ordinal)]

    # --- the oracle

    def bundle_faults(self) -> list[str]:
        """What an auditor finds: verdicts by another bundle than the one on record, or by two."""
        found: list[str] = []
        expected: dict[int, list[tuple[int, str]]] = {}
        for record in self.records:
            if isinstance(record, BundleInUse):
                expected.setdefault(record.epoch, []).append((record.from_ordinal, record.bundle_sha256))
        numbers = {(f["epoch"], f["seq"]): f["number"] for f in self.truth().parts}
        for key, record in self.verdicts().items():
            if Reason.BUNDLE_CHANGED in record.reasons:
                found.append(f"{key}: the gate distrusts its bundle")
            if record.outcome is Outcome.NOT_INSPECTED:
                continue
            due = [(0, FIRST), *expected.get(record.epoch, [])]
            if record.bundle_sha256 != [sha for first, sha in due if first <= record.ordinal][-1]:
                found.append(f"{key}: stamped with {record.bundle_sha256[:4]}")
            looked = (
                {self.looked.get((numbers[key], v.camera)) for v in record.views} if key in numbers else set()
            )
            if looked - {record.bundle_sha256}:
                found.append(f"{key}: looked at by {looked}")
        return found


class TakesPartsHalfway(SwappingLine):
    """From the swap on every view goes to the new engine, whichever part it is of; stamped as it should be."""

    def _begin(self, from_ordinal: int, times: ServiceTimes) -> int:
        self.lanes = {**getattr(self, "lanes", {}), len(self.stamps): from_ordinal}
        return super()._begin(0, times)

    def _stamp(self, ordinal: int) -> str:
        known = {first: sha for sha, first in self._firsts()}
        return known[max(first for first in known if first <= ordinal)]

    def _firsts(self) -> list[tuple[str, int]]:
        return [(self.stamps[0], 0), *((self.stamps[k], v) for k, v in getattr(self, "lanes", {}).items())]


class StampsTheOldHash(SwappingLine):
    """Judges by the new bundle and goes on signing with the first."""

    def _stamp(self, ordinal: int) -> str:
        return FIRST


class SwapsBeforeTheGateAgrees(SwappingLine):
    """Takes the new bundle when it is loaded, and tells the gate with the verdicts."""

    def _swap(self) -> None:
        super()._swap()
        self.running = self.offered
        times = ServiceTimes(margin_ns=2 * MS)
        lane = self.judging.begin_lane(0, times=times, max_batch=4)
        self.stamps[lane] = self.running


BROKEN_SWAPS = {kind.__name__: kind for kind in (TakesPartsHalfway, StampsTheOldHash, SwapsBeforeTheGateAgrees)}
