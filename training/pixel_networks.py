# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks that give each pixel a class, and what they are told of their mistakes.

`PixelNetwork` is ultralytics' own description; `OnBackbone` a light head on the feature maps of a backbone that
somebody trained before. Both learn by `PixelLoss`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import BaseModel, SemanticSegmentationModel

from training.trunk import Trunk

WIDTH = 48
_IGNORED = 255


class PixelLoss(nn.Module):
    """Cross-entropy, Dice of the classes that a batch shows, and Dice of any defect, at the stride of the map.

    ultralytics' own counts the Dice of absent classes as well: each batch then pushes every rare class to
    nothing, and a set of which most pictures are good taught a network to answer "background" everywhere
    (AUROC 0.50 on magnetic tiles). A pixel of the map is held against the shares of classes in its cell, so a
    line thinner than a cell still counts.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.classes = int(network.model[-1].nc)
        weights = getattr(network, "class_weights", None)  # by how rare their pixels are: `cls_pw`
        self.weights = torch.ones(self.classes) if weights is None else weights.float()

    def forward(self, preds: Tensor | tuple[Tensor, Tensor], batch: Mapping[str, Tensor]) -> Any:
        """(loss x pictures, its parts); preds: logits (N, classes, h, w), or these and auxiliary ones."""
        logits, more = preds if isinstance(preds, tuple) else (preds, None)
        masks = batch["semantic_mask"].to(logits.device).long()
        known = masks != _IGNORED
        truth = functional.one_hot(masks * known, self.classes) * known[..., None]
        shares = _cells(truth.permute(0, 3, 1, 2).float(), logits)
        weights = self.weights.to(logits.device)[None, :, None, None]
        log_odds = logits.float().log_softmax(1)
        entropy = _entropy(log_odds, shares * weights)
        overlap = _dice(log_odds.exp(), shares)
        aside = logits.new_zeros((), dtype=torch.float32)
        if more is not None:
            aside = 0.4 * _entropy(more.float().log_softmax(1), _cells(shares, more) * weights)
        parts = {"ce_loss": entropy, "dice_loss": overlap, "aux_loss": aside}
        return sum(parts.values()) * len(logits), {key: value.detach() for key, value in parts.items()}


def _cells(maps: Tensor, like: Tensor) -> Tensor:
    """Means over the cells of a coarser map."""
    return functional.adaptive_avg_pool2d(maps, (like.shape[2], like.shape[3]))


def _entropy(log_odds: Tensor, weighed: Tensor) -> Tensor:
    return -(weighed * log_odds).sum() / weighed.sum().clamp_min(1e-6)


def _dice(odds: Tensor, shares: Tensor) -> Tensor:
    """Half of it for the classes, half for any defect: which one it is counts less than that there is one."""

    def missing(found: Tensor, true: Tensor) -> Tensor:
        both, all_ = (found * true).sum((0, 2, 3)), (found + true).sum((0, 2, 3))
        return 1 - (2 * both + 1) / (all_ + 1)

    seen = (shares.sum(1, keepdim=True) > 0).float()  # elsewhere nobody knows what is there
    shown = shares.sum((0, 2, 3)) > 0
    marked = shares[:, 1:].sum(1, keepdim=True)
    classes = missing(odds * seen, shares)[shown].sum() / shown.sum().clamp_min(1)
    return 0.5 * classes + 0.5 * missing((1 - odds[:, :1]) * seen, marked).mean()


class PixelNetwork(SemanticSegmentationModel):
    """A network of ultralytics' description."""

    def init_criterion(self) -> Any:
        """What it is told."""
        return PixelLoss(self)


class _Head(nn.Module):
    """The maps brought to one width, added from coarse to fine, and a class for each place of the finest."""

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.nc = classes
        self.narrow = nn.ModuleList(Conv(count, WIDTH, 1) for count in channels)
        self.mix = nn.ModuleList(Conv(WIDTH, WIDTH, 3) for _ in channels)
        self.drop = nn.Dropout2d(0.1)
        self.answer = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (N, classes, h, w)."""
        met: Tensor | None = None
        for one, narrow, mix in reversed(list(zip(maps, self.narrow, self.mix, strict=True))):
            here = narrow(one)
            if met is not None:
                here = here + functional.interpolate(met, size=here.shape[2:], mode="nearest")
            met = mix(here)
        assert met is not None  # noqa: S101 - a trunk has maps
        return self.answer(self.drop(met))


class OnBackbone(PixelNetwork):
    """A backbone and a head; layer 0 is the backbone, so that `freeze = [0]` keeps it as it was."""

    def __init__(self, trunk: Trunk, classes: int) -> None:
        BaseModel.__init__(self)
        self.model = nn.Sequential(trunk, _Head(trunk.channels, classes))
        self.yaml = {"nc": classes, "channels": 3}
        self.nc = classes
        self.names = {number: f"{number}" for number in range(classes)}
        self.inplace = True
        self.stride = torch.tensor([float(max(trunk.strides))])
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):  # as ultralytics sets all of its own
                module.eps, module.momentum = 1e-3, 0.03

    def predict(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Logits (N, classes, h, w) at the finest stride of the backbone."""
        return self.model(x)

    @classmethod
    def again(cls, tensors: Mapping[str, Tensor], classes: int) -> OnBackbone:
        """An empty network of the structure that weights were saved with."""
        return cls(Trunk.again(tensors, "model.0."), classes)
