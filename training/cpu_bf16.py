# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train in bfloat16 on CPUs that compute in it (AMX): ultralytics offers bf16 on CUDA only.

Measured on two cores with AMX, 16 pictures of 320 px: forward and backward 1.17 s in float32, 0.45 s here with
channels last. Losses and weights stay float32; validation and export run in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel


def worthwhile() -> bool:
    """Say whether this machine trains on a CPU with bfloat16 matrix units."""
    return not torch.cuda.is_available() and bool(torch.cpu._is_amx_tile_supported())


def _as_float(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: _as_float(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_as_float(item) for item in value)
    return value


class Bf16DetectionModel(DetectionModel):
    """A detection model whose forward pass runs in bfloat16 while it is being trained."""

    def predict(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the network; outputs are float32 in either mode."""
        if not self.training or x.device.type != "cpu":
            return super().predict(x, *args, **kwargs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return _as_float(super().predict(x.to(memory_format=torch.channels_last), *args, **kwargs))


class Bf16Trainer(DetectionTrainer):
    """The ultralytics trainer with the model above."""

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> DetectionModel:
        """Build the network, and load `weights` when a run goes on."""
        model = Bf16DetectionModel(cfg, nc=self.data["nc"], ch=self.data["channels"], verbose=verbose)
        if weights:
            model.load(weights)
        return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
