# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proof that the exported graph says what was taught: numpy against ONNX Runtime and the station's OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from inspection.detectors.openvino import compile_for_cpu, in_flight
from inspection.types import StationFault
from training.anomaly.features import INPUT_NAME, Shown
from training.anomaly.taught import scores_of
from training.engine import unsigned_bundle
from weights.card import Card

PARITY_SCORE = 2e-3
LIMIT_SCORE = 0.5


def prove_parity(
    model: bytes,
    card: Card,
    *,
    shown: Sequence[Shown],
    distances: Sequence[np.ndarray],
    limit: float,
    source: Path,
) -> dict[str, Any]:
    """Compare scores and verdicts of some pictures. StationFault when one verdict flips or a score is off."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    compiled = compile_for_cpu(
        unsigned_bundle(model, card, source), threads=1, planar=False, requests=in_flight(1)
    )
    request = compiled.create_infer_request()
    worst, flips = 0.0, 0
    for item, distance in zip(shown, distances, strict=True):
        expected = scores_of(distance, limit)
        planes = item.pixels.transpose(2, 0, 1)[None].astype(np.float32) * np.float32(card.input.scale)
        runtime = np.asarray(session.run(None, {INPUT_NAME: planes})[0])[0, 0]
        request.infer({0: np.ascontiguousarray(item.pixels[None])})
        station = np.array(request.get_output_tensor(0).data)[0, 0]
        for answer in (runtime, station):
            worst = max(worst, float(np.abs(answer - expected).max()))
            verdicts = {bool(a[item.inside].max() >= LIMIT_SCORE) for a in (answer, expected)}
            flips += len(verdicts) - 1
    figures = {
        "pictures": len(shown),
        "max_score_difference": round(worst, 7),
        "verdict_flips": flips,
        "against": f"onnxruntime {ort.__version__} and the station's OpenVINO",
    }
    if flips or worst > PARITY_SCORE:
        raise StationFault(
            f"the exported model does not answer as it was taught ({figures}): no bundle is made."
        )
    return figures
