# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trained networks as the station wants them: one output of a kind that a card knows, standard operators only.

`ready_to_trace` builds a recipe's network around plain weights. The modules below end it: rows of boxes
(boxes_n6), one map a class (maps_nchw), or one score a class (scores_nc).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional
from ultralytics.nn.tasks import ClassificationModel, DetectionModel, SegmentationModel

from training.pixel_networks import OnBackbone, PixelNetwork
from training.recipe import Method, TrainingRecipe

ROWS = 100
CANDIDATES, NMS_IOU = 200, 0.45
INSTANCES = 64
_NETWORKS: dict[Method, type[Any]] = {
    "boxes": DetectionModel,
    "instances": SegmentationModel,
    "pixels": PixelNetwork,
    "whole": ClassificationModel,
}
_MORE_CLASSES = {"pixels": 1, "whole": 1}  # the background, and good


class BoxesN6(torch.nn.Module):
    """Rows x0, y0, x1, y1, score, class; boxes inside the input and at least a pixel wide.

    heads `one2one`: the NMS-free head, as ultralytics exports it. heads `one2many`: the other head, with Fast
    NMS (Bolya et al., YOLACT, arXiv:1904.02689: a row goes when any better row overlaps it) inside the graph.
    After a short training the second is much the better one: the first learns from one place a defect, late,
    and hands nothing back to the backbone (20 against 0 misses on 257 defective pictures at 1 % false alarms).
    """

    def __init__(self, network: torch.nn.Module, size_px: int, heads: str) -> None:
        super().__init__()
        self.network, self.size_px, self.heads = network, size_px, heads

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(1, C, size, size) in 0..1 -> (1, ROWS, 6)."""
        rows = self.network(images) if self.heads == "one2one" else self.suppressed(images)
        # distances are regressed without a floor: a row far below every threshold may be inside out, and a
        # station takes such a row for an engine that has gone mad
        x0 = rows[..., 0:1].clamp(0.0, self.size_px - 1.0)
        y0 = rows[..., 1:2].clamp(0.0, self.size_px - 1.0)
        x1 = torch.maximum(rows[..., 2:3].clamp(0.0, float(self.size_px)), x0 + 1.0)
        y1 = torch.maximum(rows[..., 3:4].clamp(0.0, float(self.size_px)), y0 + 1.0)
        return torch.cat([x0, y0, x1, y1, rows[..., 4:6]], dim=-1)

    def suppressed(self, images: torch.Tensor) -> torch.Tensor:
        """The best rows that no better one overlaps, best first; class-agnostic."""
        answer = self.network(images).transpose(1, 2)  # (1, places, 4 + classes)
        best, kinds = answer[..., 4:].max(-1)
        candidates = min(CANDIDATES, int(answer.shape[1]))  # a tiny input has fewer places
        scores, places = best.topk(candidates, dim=1)
        # whole rows: OpenVINO wants index and data equal in every other dimension
        rows = answer.gather(1, places[..., None].expand(-1, -1, answer.shape[-1]))
        kind = kinds.gather(1, places).float()
        low, high = rows[:, :, 0:2], rows[:, :, 2:4]
        corner = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
        corner = corner.clamp(min=0.0)
        shared = corner[..., 0] * corner[..., 1]
        side = (high - low).clamp(min=0.0)
        area = side[..., 0] * side[..., 1]
        iou = shared / (area[:, :, None] + area[:, None] - shared + 1e-6)
        better = torch.triu(torch.ones(candidates, candidates), diagonal=1)  # row i stands before row j
        alone = ((iou * better).amax(1) <= NMS_IOU).float()
        kept, order = (scores * alone).topk(min(ROWS, candidates), dim=1)
        table = torch.cat([rows[..., :4], kind[..., None]], dim=-1)
        chosen = table.gather(1, order[..., None].expand(-1, -1, 5))
        return torch.cat([chosen[..., :4], kept[..., None], chosen[..., 4:]], dim=-1)


class InstanceMaps(torch.nn.Module):
    """One map a class at stride 4: the best of instance mask x score over the most likely instances.

    Overlapping answers for one defect need no suppression: the highest value of a pixel is the same.
    """

    def __init__(self, network: torch.nn.Module, size_px: int, classes: int) -> None:
        super().__init__()
        self.network, self.size_px, self.classes = network, size_px, classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(1, C, size, size) in 0..1 -> (1, classes, size / 4, size / 4)."""
        answer, prototypes = self.network(images)
        answer = answer.transpose(1, 2)  # (1, places, 4 + classes + coefficients)
        best = answer[..., 4 : 4 + self.classes].amax(-1)
        scores, places = best.topk(min(INSTANCES + 1, int(answer.shape[1])), dim=1)
        # scores count from the best one that is left out, so that it matters little which of two equal ones
        # that is: after any real training it is near 0
        cut = scores[0, -1]
        places = places[:, :-1]
        rows = answer.gather(1, places[..., None].expand(-1, -1, answer.shape[-1]))[0]
        height, width = int(prototypes.shape[2]), int(prototypes.shape[3])
        coefficients = rows[:, 4 + self.classes :]
        masks = (coefficients @ prototypes[0].flatten(1)).sigmoid().reshape(-1, height, width)
        across = ((torch.arange(width) + 0.5) * (self.size_px / width))[None, None, :]
        down = ((torch.arange(height) + 0.5) * (self.size_px / height))[None, :, None]
        x0, y0, x1, y1 = (rows[:, number, None, None] for number in range(4))
        inside = ((across >= x0) & (across < x1) & (down >= y0) & (down < y1)).float()
        masks = masks * inside
        above = ((rows[:, 4 : 4 + self.classes] - cut) / (1.0 - cut)).clamp(min=0.0)
        maps = [(masks * above[:, kind, None, None]).amax(0) for kind in range(self.classes)]
        return torch.stack(maps)[None].clamp(0.0, 1.0)


class PixelMaps(torch.nn.Module):
    """One map a class at half the stride of the network's own: the probability of each pixel."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(1, C, size, size) in 0..1 -> (1, classes, h, w); the background, which comes first, is left out."""
        logits = self.network(images)
        logits = functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
        return logits.softmax(1)[:, 1:]


class WholeScores(torch.nn.Module):
    """One score a class for the whole picture; good, which comes last, is left out."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(1, C, size, size) in 0..1 -> (1, classes)."""
        return self.network(images)[:, :-1]


def ready_to_trace(
    recipe: TrainingRecipe, classes: int, tensors: Mapping[str, torch.Tensor], *, fused: bool = True
) -> torch.nn.Module:
    """The recipe's network with these weights and its ending; float32, CPU, no gradients.

    fused: convolutions and normalisations made one, as for export; else the network as it was trained.
    """
    count = classes + _MORE_CLASSES.get(recipe.method, 0)
    network: Any
    if recipe.on_backbone:
        network = OnBackbone.again(tensors, count)
    else:
        network = _NETWORKS[recipe.method](recipe.network_path, ch=recipe.channels, nc=count, verbose=False)
    network.load_state_dict(dict(tensors))
    network = network.float().eval()
    head = network.model[-1]
    if recipe.method in ("boxes", "instances"):
        one2one = recipe.heads == "one2one" and recipe.method == "boxes"
        if hasattr(head, "one2one_cv2"):
            network.end2end = one2one  # before fuse: it decides which head is kept
        head.max_det, head.xyxy = ROWS, True
    if fused:
        if recipe.on_backbone:
            network.model[0].settle()
        network.fuse(verbose=False)
    if recipe.method != "pixels":  # that head would export class numbers instead of scores
        head.export, head.format = True, "onnx"
    for parameter in network.parameters():
        parameter.requires_grad = False
    if recipe.method == "boxes":
        return BoxesN6(network, recipe.input_px, recipe.heads).eval()
    if recipe.method == "instances":
        return InstanceMaps(network, recipe.input_px, classes).eval()
    return (PixelMaps(network) if recipe.method == "pixels" else WholeScores(network)).eval()
