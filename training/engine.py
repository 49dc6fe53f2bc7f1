# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ask a bundle about pictures the way the station does: the station's own OpenVINO detector, one at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from inspection.detectors.base import View, ask
from inspection.detectors.openvino import OpenVinoDetector
from inspection.types import Finding
from weights.bundle import Bundle
from weights.card import Card
from weights.onnx_check import check_onnx

ANSWER_S = 30.0


def unsigned_bundle(model: bytes, card: Card, source: Path) -> Bundle:
    """Wrap a model that is not yet a bundle, so that it can be evaluated before it is signed."""
    return Bundle(
        path=source,
        sha256=hashlib.sha256(model).hexdigest(),
        card=card,
        model=model,
        shape=check_onnx(model, card, str(source)),
        recipe=None,
        signed_by="nobody: a candidate under evaluation",
        key_fingerprint="",
    )


class Asked:
    """A detector that waits for its answer. Raises the detector's EngineFault, and TimeoutError after 30 s."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self._detector = OpenVinoDetector(bundle, threads=threads, grey=bundle.card.picture_channels == 1)
        self._detector.warm_up()

    def find(self, picture: np.ndarray, reference: np.ndarray | None = None) -> tuple[Finding, ...]:
        """Return the findings of one uint8 picture (h, w) or (h, w, 3), in its own pixels.

        reference: defect-free picture of the same place, for models that compare.
        """
        view = View(camera=0, pixels=picture, reference=reference)
        answer = ask(self._detector, view, patience_s=ANSWER_S)
        if answer.fault is not None:
            raise answer.fault
        return answer.findings[0]

    def close(self) -> None:
        """Release the engine."""
        self._detector.close()
