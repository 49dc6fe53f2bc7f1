# SPDX-License-Identifier: AGPL-3.0-or-later
"""The backbone: a small residual network with features at strides 4, 8 and 16, and the heads of its
pre-training.

Input: float32 (N, 3, H, W), grey levels 0..255, any order of channels (the pre-training never relied on one);
H and W
multiples of 16. Outputs: three maps, float32, never negative. Scaling is inside, so callers hand over pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDES = (4, 8, 16)


def _conv(into: int, out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm; the norm folds into the convolution at export."""
    layer = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out))


class Block(nn.Module):
    """Two 3x3 convolutions through half the channels, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = _conv(channels, channels // 2)
        self.widen = _conv(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Refine a map; same shape."""
        return torch.relu(x + self.widen(torch.relu(self.squeeze(x))))


class Backbone(nn.Module):
    """Stem and three stages; `channels` and `blocks` name the stages at strides 4, 8 and 16."""

    def __init__(self, channels: tuple[int, int, int], blocks: tuple[int, int, int]) -> None:
        super().__init__()
        self.channels = channels
        self.stem = _conv(3, channels[0] // 2, stride=2)
        widths = (channels[0] // 2, *channels)
        self.down = nn.ModuleList(_conv(widths[i], widths[i + 1], stride=2) for i in range(3))
        self.stages = nn.ModuleList(
            nn.Sequential(*[Block(c) for _ in range(n)]) for c, n in zip(channels, blocks, strict=True)
        )

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps at strides 4, 8 and 16."""
        x = torch.relu(self.stem((picture - 127.5) * (1 / 64.0)))
        maps: list[Tensor] = []
        for down, stage in zip(self.down, self.stages, strict=True):
            x = stage(torch.relu(down(x)))
            maps.append(x)
        return maps[0], maps[1], maps[2]
