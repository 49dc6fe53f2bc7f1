# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pre-training's questions: which texture, what is wrong here, which way the structure runs, is it the
same spot.

Every head is one 1x1 convolution, so that what a question needs must lie in the features themselves, linearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own short name
from torch import Tensor, nn

from training.backbone.batches import Batch
from training.backbone.network import STRIDES, Backbone
from training.backbone.spoil import KINDS
from training.backbone.textures import FAMILIES

ORIENTATIONS = 8
_STRUCTURE = 2 * ORIENTATIONS + 4
_TEMPERATURE = 0.07
_TEXTURE_SPOTS, _CONTRAST_SPOTS = 120, 32  # positions a picture; a quarter as many with a defect besides


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each question counts; 0 leaves it out."""

    texture: float
    defect: float
    structure: float
    contrast: float


class Pretext(nn.Module):
    """Backbone and heads; returns the loss of one batch and its terms."""

    def __init__(self, backbone: Backbone, weights: Weights, embedding: int = 64) -> None:
        super().__init__()
        self.backbone, self.weights = backbone, weights
        self.texture = nn.ModuleList(nn.Linear(c, len(FAMILIES)) for c in backbone.channels)
        self.defect = nn.ModuleList(nn.Conv2d(c, 1 + KINDS, 1) for c in backbone.channels)
        self.structure = nn.ModuleList(nn.Conv2d(c, _STRUCTURE, 1) for c in backbone.channels[:2])
        self.contrast = nn.ModuleList(nn.Linear(c, embedding) for c in backbone.channels)

    def forward(self, batch: BatchTensors, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Answer every question on both exposures of each scene."""
        count = len(batch.first)
        maps = self.backbone(torch.cat([batch.first, batch.second]))
        terms: dict[str, Tensor] = {}
        for level, (stride, features) in enumerate(zip(STRIDES, maps, strict=True)):
            share = F.avg_pool2d((batch.defect > 0).float()[:, None], stride)[:, 0]
            first, second = features[:count], features[count:]
            if self.weights.texture and level > 0:
                value = self._texture(
                    level, features, batch.label, stride=stride, share=share, generator=generator
                )
                terms["texture"] = terms.get("texture", 0) + value / 2
            if self.weights.defect:
                value = self._defect(level, features, batch.defect, share, stride)
                terms["defect"] = terms.get("defect", 0) + value / 3
            if self.weights.structure and level < 2:
                target = structure_of(batch.clean, stride)
                value = F.smooth_l1_loss(self.structure[level](first).float(), target, beta=0.5)
                terms["structure"] = terms.get("structure", 0) + value / 2
            if self.weights.contrast and level > 0:
                value = self._contrast(
                    level, first, second, share=share, shift=batch.shift // stride, generator=generator
                )
                terms["contrast"] = terms.get("contrast", 0) + value / 2
        total = torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()
        return total, {name: float(value.detach()) for name, value in terms.items()}

    def _texture(
        self,
        level: int,
        features: Tensor,
        label: Tensor,
        *,
        stride: int,
        share: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Cross entropy over families of textures, at positions that hold one texture and no defect."""
        pure, classes = pool_label(label.flatten(0, 1), stride)
        kept = pure & (torch.cat([torch.zeros_like(share), share]) < 0.02)
        spots = _choose(kept, _TEXTURE_SPOTS * len(kept), generator)
        answer = self.texture[level](_at(features, spots)).float()
        wanted = classes.flatten()[spots] % len(FAMILIES)
        summed = F.cross_entropy(answer, wanted, reduction="sum")
        return summed / max(1, len(spots))  # a batch may hold no such position

    def _defect(self, level: int, features: Tensor, defect: Tensor, share: Tensor, stride: int) -> Tensor:
        """Is there a defect here (soft by area), and of which kind."""
        answer = self.defect[level](features).float()
        wanted = torch.cat([torch.zeros_like(share), (share * 2.5).clamp(max=1)])
        found = F.binary_cross_entropy_with_logits(answer[:, 0], wanted, pos_weight=answer.new_tensor(3.0))
        kind = F.max_pool2d(defect[:, None].float(), stride)[:, 0].long() - 1
        kind = torch.where(share > 0.2, kind, -1)
        named = F.cross_entropy(
            answer[len(defect) :, 1:].permute(0, 2, 3, 1).reshape(-1, KINDS),
            kind.flatten(),
            ignore_index=-1,
            reduction="sum",
        )
        return found + 0.2 * named / (kind >= 0).sum().clamp(min=1)

    def _contrast(
        self,
        level: int,
        first: Tensor,
        second: Tensor,
        *,
        share: Tensor,
        shift: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """A good spot of the first exposure is found among all spots of the second, good and with defects."""
        head, (height, width) = self.contrast[level], share.shape[1:]
        seen = share < 0.02
        rows = torch.arange(height, device=share.device)[None, :, None] + shift[:, 1, None, None]
        columns = torch.arange(width, device=share.device)[None, None] + shift[:, 0, None, None]
        both = seen & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        good = _choose(both, _CONTRAST_SPOTS * len(share), generator)
        bad = _choose(share > 0.3, _CONTRAST_SPOTS // 2 * len(share), generator)
        moved = (shift[:, 1] * width + shift[:, 0])[torch.div(good, height * width, rounding_mode="floor")]
        a = F.normalize(head(_at(first, good + moved)).float(), dim=1)
        b = F.normalize(head(_at(second, torch.cat([good, bad]))).float(), dim=1)
        own = torch.arange(len(good), device=share.device)
        return F.cross_entropy(a @ b.T / _TEMPERATURE, own, reduction="sum") / max(1, len(good))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTensors:
    """A batch on its device: pictures float32, labels long."""

    first: Tensor
    second: Tensor
    clean: Tensor
    label: Tensor
    defect: Tensor
    shift: Tensor


def to_tensors(batch: Batch, device: torch.device) -> BatchTensors:
    """Move a batch to a device; bytes travel, floats do not."""

    def picture(values: object) -> Tensor:
        return torch.as_tensor(values).to(device).float().contiguous(memory_format=torch.channels_last)

    return BatchTensors(
        first=picture(batch.first),
        second=picture(batch.second),
        clean=torch.as_tensor(batch.clean).to(device).float(),
        label=torch.as_tensor(batch.label).to(device).long(),
        defect=torch.as_tensor(batch.defect).to(device).long(),
        shift=torch.as_tensor(batch.shift).to(device).long(),
    )


def pool_label(label: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Which cells of a stride hold one texture class only (bool), and which class (long)."""
    values = label[:, None].float()
    high, low = F.max_pool2d(values, stride)[:, 0], -F.max_pool2d(-values, stride)[:, 0]
    return (high == low) & (high >= 0), high.long()


def structure_of(clean: Tensor, stride: int) -> Tensor:
    """Local structure (n, channels, h, w): gradient energy by direction at two scales, mean, deviation and
    edge sum.
    """
    x = clean[:, None] / 64.0
    found: list[Tensor] = []
    for scale in (1, 2):
        small = F.avg_pool2d(x, scale) if scale > 1 else x
        gx = F.pad(small, (1, 1, 0, 0), mode="replicate")
        gy = F.pad(small, (0, 0, 1, 1), mode="replicate")
        gx, gy = gx[..., 2:] - gx[..., :-2], gy[..., 2:, :] - gy[..., :-2, :]
        power, angle = torch.sqrt(gx * gx + gy * gy + 1e-6), torch.atan2(gy, gx)
        bins = (angle / torch.pi + 1) * (ORIENTATIONS / 2)  # 0..8, signed direction
        for k in range(ORIENTATIONS):
            gap = (bins - k + ORIENTATIONS / 2) % ORIENTATIONS - ORIENTATIONS / 2
            found.append(F.avg_pool2d(power * (1 - gap.abs()).clamp(min=0), stride // scale))
    mean = F.avg_pool2d(x, stride)
    deviation = (F.avg_pool2d(x * x, stride) - mean * mean).clamp(min=0).sqrt()
    wide = F.avg_pool2d(F.pad(mean, (1, 1, 1, 1), mode="replicate"), 3, 1)
    energy = [torch.log1p(8 * value) for value in found]
    return torch.cat(
        [*energy, mean - 2, torch.log1p(8 * deviation), mean - wide, F.avg_pool2d(x.abs(), stride).log1p()], 1
    )


def _choose(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Pick at most `count` positions where the mask holds, as flat indices."""
    where = mask.flatten().nonzero()[:, 0]
    order = torch.randperm(len(where), generator=generator)[:count]
    return where[order.to(where.device)]


def _at(features: Tensor, spots: Tensor) -> Tensor:
    """Feature vectors (spots, channels) at flat positions."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])[spots]
