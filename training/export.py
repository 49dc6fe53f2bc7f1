# SPDX-License-Identifier: AGPL-3.0-or-later
"""Turn trained weights into ONNX, and prove that it answers as the trained network does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inspection.types import StationFault
from training.environment import prepare
from training.recipe import TrainingRecipe

OPSET = 18
PARITY_SCORE, PARITY_BOX_PX = 2e-3, 0.05
"""Largest difference between torch and ONNX Runtime that a float32 export may show."""


def export_onnx(
    recipe: TrainingRecipe, classes: int, weights: Path, out: Path, pictures: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Write `out` and return the parity figures over `pictures` (uint8 (size, size[, 3])).

    Raises StationFault when ONNX Runtime and torch disagree by more than PARITY_SCORE or PARITY_BOX_PX.
    """
    prepare()
    import torch

    from training.checkpoint import read_tensors
    from training.heads import ready_to_trace

    tensors, _ = read_tensors(weights)
    network = ready_to_trace(recipe, classes, tensors)
    size_px = recipe.input_px
    sample = torch.rand(1, recipe.channels, size_px, size_px, generator=torch.Generator().manual_seed(0))
    partial = out.with_suffix(".partial")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's notes on shapes, which are fixed here
        network(sample)
        torch.onnx.export(
            network,
            (sample,),
            str(partial),
            input_names=["images"],
            output_names=["output0"],
            opset_version=OPSET,
            dynamo=False,
        )
    figures = parity(network, partial, pictures, boxes=recipe.method == "boxes")
    if figures["max_score_difference"] > PARITY_SCORE or figures["max_box_difference_px"] > PARITY_BOX_PX:
        raise StationFault(
            f"the export does not answer as the trained network does (scores differ by "
            f"{figures['max_score_difference']:.4g}, boxes by {figures['max_box_difference_px']:.4g} px): "
            "there is no candidate"
        )
    partial.replace(out)
    return figures


def as_trained(recipe: TrainingRecipe, classes: int, weights: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network as it was trained, nothing fused: float32 (1, C, size, size) in 0..1 to what it answers."""
    prepare()
    import torch

    from training.checkpoint import read_tensors
    from training.heads import ready_to_trace

    network = ready_to_trace(recipe, classes, read_tensors(weights)[0], fused=False)

    def ask(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return ask


def parity(network: Any, model: Path, pictures: Sequence[np.ndarray], *, boxes: bool) -> dict[str, Any]:
    """Compare the two on real pictures: every number of one must have its like in the other."""
    import onnxruntime as ort
    import torch

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    worst_score = worst_box = 0.0
    compared = 0
    for picture in pictures:
        planes = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
        images = planes[None].astype(np.float32) / 255
        theirs = np.asarray(session.run(None, {"images": images})[0])[0]
        with torch.no_grad():
            ours = network(torch.from_numpy(images))[0].numpy()
        if boxes:
            scores, corners, rows = _rows_apart(ours, theirs)
            worst_box = max(worst_box, corners)
        else:
            scores, rows = float(np.abs(ours - theirs).max()), ours.size
        worst_score = max(worst_score, scores)
        compared += rows
    return {
        "pictures": len(pictures),
        "rows_compared" if boxes else "values_compared": compared,
        # rounded up: the last digits are not the model's pedigree
        "max_score_difference": _coarse(worst_score),
        "max_box_difference_px": _coarse(worst_box),
        "against": f"onnxruntime {ort.__version__}",
    }


def _coarse(value: float) -> float:
    return float(np.ceil(value * 1e5) / 1e5)


def _rows_apart(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, int]:
    """How far scores and boxes lie apart, and how many rows were compared.

    Rows at the very end of a full table are left out: equal scores there may fall to either side of the cut.
    """
    worst = 0.0
    kept = ours[ours[:, 4] > max(0.05, ours[-1, 4] + PARITY_SCORE)]
    for row in kept:
        alike = theirs[(theirs[:, 5] == row[5]) & (np.abs(theirs[:, 4] - row[4]) <= PARITY_SCORE)]
        gaps = np.abs(alike[:, :4] - row[:4]).max(axis=1)
        worst = max(worst, float(gaps.min(initial=1e6)))
    return float(np.abs(ours[:, 4] - theirs[:, 4]).max()), worst, len(kept)
