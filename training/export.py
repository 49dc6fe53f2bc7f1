# SPDX-License-Identifier: AGPL-3.0-or-later
"""Turn trained weights into ONNX with output boxes_n6, and prove that it answers as the trained network does.

`python -m training.export --weights FILE.pt --size PX --out model.onnx [--data COCO]`
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from training.environment import prepare

ROWS = 100
CANDIDATES, NMS_IOU = 200, 0.45
OPSET = 18
PARITY_SCORE, PARITY_BOX_PX = 2e-3, 0.05
"""Largest difference between torch and ONNX Runtime that a float32 export may show."""


def _end_to_end(weights: Path, size_px: int, heads: str) -> Any:
    """Load a checkpoint and return its network with tidy boxes, ready to trace (float32, CPU).

    heads `one2one`: the NMS-free head, as ultralytics exports it. heads `one2many`: the other head, with Fast
    NMS (Bolya et al., YOLACT, arXiv:1904.02689: a row goes when any better row overlaps it) inside the graph.
    After a short training the second is much the better one: the first learns from one place a defect, late,
    and hands nothing back to the backbone (20 against 0 misses on 257 defective pictures at 1 % false alarms).
    """
    prepare()
    import torch
    from ultralytics import YOLO  # pyright: ignore[reportPrivateImportUsage]

    class BoxesN6(torch.nn.Module):
        """Rows x0, y0, x1, y1, score, class; boxes inside the input and at least a pixel wide."""

        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """(1, C, size, size) in 0..1 -> (1, ROWS, 6)."""
            rows = self.network(images) if heads == "one2one" else self.suppressed(images)
            # distances are regressed without a floor: a row far below every threshold may be inside out, and a
            # station takes such a row for an engine that has gone mad
            x0 = rows[..., 0:1].clamp(0.0, size_px - 1.0)
            y0 = rows[..., 1:2].clamp(0.0, size_px - 1.0)
            x1 = torch.maximum(rows[..., 2:3].clamp(0.0, float(size_px)), x0 + 1.0)
            y1 = torch.maximum(rows[..., 3:4].clamp(0.0, float(size_px)), y0 + 1.0)
            return torch.cat([x0, y0, x1, y1, rows[..., 4:6]], dim=-1)

        def suppressed(self, images: torch.Tensor) -> torch.Tensor:
            """The best rows that no better one overlaps, best first; class-agnostic."""
            answer = self.network(images).transpose(1, 2)  # (1, places, 4 + classes)
            best, kinds = answer[..., 4:].max(-1)
            scores, places = best.topk(CANDIDATES, dim=1)
            # whole rows: OpenVINO wants index and data equal in every other dimension
            rows = answer.gather(1, places[..., None].expand(-1, -1, answer.shape[-1]))
            kind = kinds.gather(1, places).float()
            low, high = rows[:, :, 0:2], rows[:, :, 2:4]
            corner = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(
                low[:, :, None], low[:, None]
            )
            corner = corner.clamp(min=0.0)
            shared = corner[..., 0] * corner[..., 1]
            side = (high - low).clamp(min=0.0)
            area = side[..., 0] * side[..., 1]
            iou = shared / (area[:, :, None] + area[:, None] - shared + 1e-6)
            better = torch.triu(torch.ones(CANDIDATES, CANDIDATES), diagonal=1)  # row i stands before row j
            alone = ((iou * better).amax(1) <= NMS_IOU).float()
            kept, order = (scores * alone).topk(ROWS, dim=1)
            table = torch.cat([rows[..., :4], kind[..., None]], dim=-1)
            chosen = table.gather(1, order[..., None].expand(-1, -1, 5))
            return torch.cat([chosen[..., :4], kept[..., None], chosen[..., 4:]], dim=-1)

    loaded: Any = YOLO(weights).model
    network = loaded.float().eval().to(memory_format=torch.contiguous_format)
    head = network.model[-1]
    network.end2end = heads == "one2one"  # before fuse: it decides which head is kept
    network.fuse(verbose=False)
    head.max_det, head.xyxy = ROWS, True
    head.export, head.format = True, "onnx"
    for parameter in network.parameters():
        parameter.requires_grad = False
    return BoxesN6(network).eval()


def export_onnx(
    weights: Path, out: Path, *, size_px: int, channels: int, pictures: list[np.ndarray], heads: str = "one2one"
) -> dict[str, Any]:
    """Write `out` and return the parity figures over `pictures` (uint8 (size, size[, 3])).

    Raises RuntimeError when ONNX Runtime and torch disagree by more than PARITY_SCORE or PARITY_BOX_PX.
    """
    network = _end_to_end(weights, size_px, heads)
    import torch

    sample = torch.rand(1, channels, size_px, size_px)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's notes on shapes, which are fixed here
        network(sample)
        torch.onnx.export(
            network,
            (sample,),
            str(out),
            input_names=["images"],
            output_names=["output0"],
            opset_version=OPSET,
            dynamo=False,
        )
    figures = _parity(network, out, channels, pictures)
    if figures["max_score_difference"] > PARITY_SCORE or figures["max_box_difference_px"] > PARITY_BOX_PX:
        raise RuntimeError(f"{out} does not answer as {weights} does: {figures}")
    return figures


def _parity(network: Any, model: Path, channels: int, pictures: list[np.ndarray]) -> dict[str, Any]:
    """Compare the two on real pictures: every row of one must have its like in the other.

    Rows at the very end of a full table are left out: equal scores there may fall to either side of the cut.
    """
    import onnxruntime as ort
    import torch

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    worst_score = worst_box = 0.0
    compared = 0
    for picture in pictures:
        planes = picture[None] if channels == 1 else picture.transpose(2, 0, 1)
        images = planes[None].astype(np.float32) / 255
        theirs = np.asarray(session.run(None, {"images": images})[0])[0]
        with torch.no_grad():
            ours = network(torch.from_numpy(images))[0].numpy()
        worst_score = max(worst_score, float(np.abs(ours[:, 4] - theirs[:, 4]).max()))
        kept = ours[ours[:, 4] > max(0.05, ours[-1, 4] + PARITY_SCORE)]
        for row in kept:
            alike = theirs[(theirs[:, 5] == row[5]) & (np.abs(theirs[:, 4] - row[4]) <= PARITY_SCORE)]
            gaps = np.abs(alike[:, :4] - row[:4]).max(axis=1)
            worst_box = max(worst_box, float(gaps.min(initial=1e6)))
        compared += len(kept)
    return {
        "pictures": len(pictures),
        "rows_compared": compared,
        "max_score_difference": worst_score,
        "max_box_difference_px": worst_box,
        "against": f"onnxruntime {ort.__version__}",
    }


def main(argv: list[str] | None = None) -> int:
    """Export one checkpoint; prints the parity figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True, help="input size in px")
    parser.add_argument("--channels", type=int, default=1, choices=[1, 3])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--heads", choices=["one2one", "one2many"], default="one2one")
    parser.add_argument("--data", type=Path, help="COCO file whose pictures prove parity")
    given = parser.parse_args(argv)
    pictures: list[np.ndarray] = []
    if given.data is not None:
        from datasets.coco import read_coco
        from training.pictures import network_pictures

        pictures = network_pictures(read_coco(given.data).pictures[:20], given.size, given.channels)
    figures = export_onnx(
        given.weights,
        given.out,
        size_px=given.size,
        channels=given.channels,
        pictures=pictures,
        heads=given.heads,
    )
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
