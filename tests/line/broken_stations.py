# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stations with one bug each, on the virtual line: what the checks must catch, or they prove nothing."""

from __future__ import annotations

from dataclasses import replace

from inspection.gates.registers import RegisterImage
from inspection.judging import Judged
from inspection.messages import PartJudged
from inspection.types import Outcome, Verdict
from tests.line.virtual_line import DEADLINE, MS, VirtualLine


class VerdictOfTheNeighbour(VirtualLine):
    """Each outcome is published under the number before its own."""

    def _start_gate(self) -> None:
        super()._start_gate()
        publish = self.image.publish
        self.image.publish = lambda seq, outcome: publish(seq - 1 or 65535, outcome)  # type: ignore[method-assign]


class PicturesOfTheNeighbour(VirtualLine):
    """The inspector lays the pictures of one part beside the place of the next, each fiftieth time."""

    def _judged(self, effect: Judged) -> PartJudged:
        said = super()._judged(effect)
        if effect.part.ordinal % 50 or said.verdict.outcome is Outcome.NOT_INSPECTED:
            return said
        fields = {name: getattr(said, name) for name in said.__struct_fields__}
        views = []
        for view in said.views:
            known = {name: getattr(view, name) for name in view.__struct_fields__}
            views.append(type(view)(**(known | {"frame_id": view.frame_id - 1})))
        return PartJudged(**(fields | {"views": tuple(views)}))


class EmptyMeansGood(VirtualLine):
    """A part whose pictures never came is called good, past a gate that would not believe it."""

    def _judged(self, effect: Judged) -> PartJudged:
        if effect.verdict.outcome is Outcome.NOT_INSPECTED:
            effect = replace(effect, verdict=Verdict(outcome=Outcome.PASS, reasons=()))
            image, seq = self.image, effect.part.seq
            self.at(self.now + MS, lambda: image.publish(seq, Outcome.PASS))
        return super()._judged(effect)


class ForgetsTheDeadline(VirtualLine):
    """Publishes a PASS whenever it comes, however late."""

    def _start_gate(self) -> None:
        super()._start_gate()
        publish, image = self.image.publish, self.image

        def late(seq: int, outcome: Outcome) -> None:
            if seq % 40 == 0 and outcome is Outcome.PASS:
                self.at(self.now + DEADLINE + 20 * MS, lambda: publish(seq, outcome))
            else:
                publish(seq, outcome)

        image.publish = late  # type: ignore[method-assign]


class ChangesItsMind(VirtualLine):
    """An outcome that was published becomes another one 30 ms later."""

    def _start_gate(self) -> None:
        super()._start_gate()
        publish = self.image.publish

        def twice(seq: int, outcome: Outcome) -> None:
            publish(seq, outcome)
            if outcome is Outcome.REJECT:
                self.at(self.now + 30 * MS, lambda: publish(seq, Outcome.PASS))

        self.image.publish = twice  # type: ignore[method-assign]


class AnswersForSkippedTriggers(VirtualLine):
    """A number whose trigger never came is passed all the same."""

    def _start_gate(self) -> None:
        super()._start_gate()
        publish = self.image.publish

        def generous(seq: int, outcome: Outcome) -> None:
            publish(seq, Outcome.PASS if outcome is Outcome.NOT_INSPECTED else outcome)

        self.image.publish = generous  # type: ignore[method-assign]


class TearsItsSlots(VirtualLine):
    """Writes a verdict without its check word."""

    def _start_gate(self) -> None:
        super()._start_gate()
        image: RegisterImage = self.image
        publish = image.publish

        def torn(seq: int, outcome: Outcome) -> None:
            publish(seq, outcome)
            if seq % 40 == 0:
                image.store(16 + 4 * (seq % 16) + 3, 0)

        image.publish = torn  # type: ignore[method-assign]


BROKEN: dict[str, type[VirtualLine]] = {
    kind.__name__: kind
    for kind in (
        VerdictOfTheNeighbour,
        PicturesOfTheNeighbour,
        EmptyMeansGood,
        ForgetsTheDeadline,
        ChangesItsMind,
        AnswersForSkippedTriggers,
        TearsItsSlots,
    )
}
