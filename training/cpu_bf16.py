# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train in bfloat16 on CPUs that compute in it (AMX, AVX-512 BF16): ultralytics offers bf16 on CUDA only.

Measured with channels last: two cores with AMX, 16 pictures of 320 px, forward and backward 1.17 s in float32,
0.45 s here; one core with AVX-512 BF16 (EPYC of family 26), 8 pictures of 416 px, 0.60 s and 0.37 s. Losses and
weights stay float32; validation and export run in float32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch


def cpu_multiplies_bf16() -> bool:
    """Say whether this CPU has instructions for bfloat16 products."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def worthwhile() -> bool:
    """Say whether this machine trains on such a CPU."""
    return not torch.cuda.is_available() and cpu_multiplies_bf16()


def _as_float(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: _as_float(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_as_float(item) for item in value)
    return value


class _Bf16:
    """Mixed into a network of ultralytics: while it is being trained, its forward pass runs in bfloat16."""

    def predict(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the network; outputs are float32 in either mode."""
        network: Any = super()
        if not self.training or x.device.type != "cpu":  # type: ignore[attr-defined]
            return network.predict(x, *args, **kwargs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return _as_float(network.predict(x.to(memory_format=torch.channels_last), *args, **kwargs))


@functools.cache
def _class_of(network: type) -> type:
    return type(f"Bf16{network.__name__}", (_Bf16, network), {})


def in_bf16(network: Any) -> Any:
    """Make a network (of ultralytics) train in bfloat16, in place; return it, laid out channels last."""
    network.__class__ = _class_of(type(network))
    return network.to(memory_format=torch.channels_last)
