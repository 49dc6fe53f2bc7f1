# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ask a bundle about pictures the way the station does: the station's own OpenVINO detector, one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspection.detectors.base import View, ask
from inspection.detectors.decode import Decoder, Place, cells_of, decoder_for
from inspection.detectors.openvino import OpenVinoDetector
from inspection.types import Finding
from weights.bundle import Bundle
from weights.card import Card
from weights.onnx_check import check_onnx

ANSWER_S = 30.0


def unsigned_bundle(
    model: bytes, card: Card, source: Path, *, recipe: bytes | None = None, reference: bytes | None = None
) -> Bundle:
    """Wrap a model that is not yet a bundle, so that it can be evaluated before it is signed."""
    return Bundle(
        path=source,
        sha256=hashlib.sha256(model).hexdigest(),
        card=card,
        model=model,
        shape=check_onnx(model, card, str(source)),
        recipe=recipe,
        signed_by="nobody: a candidate under evaluation",
        key_fingerprint="",
        reference=reference,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One picture's findings, the raw output they were decoded from, and how the picture lay in the input."""

    findings: tuple[Finding, ...]
    table: np.ndarray
    place: Place
    kind: str

    def best(self, classes: Sequence[int]) -> float:
        """The highest raw score of these classes; no floor, no padding."""
        table = self.table
        if not table.size or not classes:
            return 0.0
        if self.kind == "boxes_n6":
            mine = table[np.isin(np.round(table[:, 5]), list(classes)), 4]
            return float(mine.max(initial=0.0))
        if self.kind == "scores_nc":
            return float(table[list(classes)].max())
        lines, columns = cells_of(self.place, table.shape[1:])
        return float(table[list(classes), lines, columns].max())


class _Kept:
    """The station's decoder, which keeps a copy of the table it was given last."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.table = np.zeros(0, np.float32)
        self.place: Place | None = None

    def decode(self, table: np.ndarray, place: Place, view: View) -> tuple[Finding, ...]:
        """As the station decodes."""
        self.table, self.place = np.array(table, copy=True), place
        return self._decoder.decode(table, place, view)


class Asked:
    """A detector that waits for its answer. Raises the detector's EngineFault, and TimeoutError after 30 s."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self._kind = bundle.card.output.kind
        self._kept = _Kept(decoder_for(bundle.card))
        self._detector = OpenVinoDetector(
            bundle, threads=threads, grey=bundle.card.picture_channels == 1, decoder=self._kept
        )
        self._detector.warm_up()

    def find(self, picture: np.ndarray, reference: np.ndarray | None = None) -> tuple[Finding, ...]:
        """Return the findings of one uint8 picture (h, w) or (h, w, 3), in its own pixels.

        reference: defect-free picture of the same place, for models that compare.
        """
        return self.look(picture, reference).findings

    def look(self, picture: np.ndarray, reference: np.ndarray | None = None) -> Look:
        """The same with the raw output behind the findings."""
        answer = ask(self._detector, View(camera=0, pixels=picture, reference=reference), patience_s=ANSWER_S)
        if answer.fault is not None:
            raise answer.fault
        assert self._kept.place is not None  # noqa: S101 - it has just decoded
        return Look(
            findings=answer.findings[0], table=self._kept.table, place=self._kept.place, kind=self._kind
        )

    def close(self) -> None:
        """Release the engine."""
        self._detector.close()
