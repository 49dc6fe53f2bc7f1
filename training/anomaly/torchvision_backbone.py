# SPDX-License-Identifier: AGPL-3.0-or-later
"""torchvision's networks as backbones: a file of weights that a person brings, and the name of the network.

Nothing is fetched: a station has no network, and torchvision's weights were learnt from natural pictures under
terms of their own, which the person who brings them knows. Files of tensors are read (.safetensors, and .pth
whose code is never run); anything else is refused.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspection.types import StationFault
from training.anomaly.writing import OPSET
from training.environment import prepare

TRACED_PX = 256
COUNTERS = ".num_batches_tracked"  # older files of weights lack these; they say nothing about features


def export_torchvision(network: str, weights: Path, target: Path) -> None:
    """Write torchvision's `network` with `weights` to `target` as ONNX, one picture (1, 3, h, w) in.

    StationFault with one sentence where torch is not installed, torchvision has no such network, or the weights
    are not its weights.
    """
    try:
        prepare()
        import torch
        from torchvision.models import get_model, list_models
    except ImportError as e:
        raise StationFault(
            f"--network needs torch and torchvision ({e.name} is missing): install gatesight[train], or bring"
            " the backbone as ONNX."
        ) from None
    import torchvision.models

    if network not in list_models(module=torchvision.models):
        raise StationFault(
            f"torchvision has no classifier {network!r}: give one of its names, such as resnet18,"
            " mobilenet_v3_large or wide_resnet50_2."
        )
    model = get_model(network, weights=None)
    _fill(model, read_weights(weights), network, weights)
    model.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's notes on shapes, which are fixed here
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, TRACED_PX, TRACED_PX),),
            str(target),
            input_names=["images"],
            output_names=["classes"],
            opset_version=OPSET,
            dynamo=False,
        )


def read_weights(weights: Path) -> Mapping[str, Any]:
    """The tensors of a file, no code of its run. StationFault where it holds anything else."""
    if weights.suffix == ".safetensors":
        from training.checkpoint import read_tensors

        return read_tensors(weights)[0]
    from training.unpickle import plain_weights

    return plain_weights(weights, runs_code=False)


def _fill(model: Any, tensors: Mapping[str, Any], network: str, weights: Path) -> None:
    """Load, with every tensor of the trunk there and of the right shape; the classifier's are of no interest.

    A network half filled would keep random kernels, and see with them.
    """
    wanted = model.state_dict()
    head = _head_of(model)
    for name, tensor in wanted.items():
        given = tensors.get(name)
        if given is None and (name.endswith(COUNTERS) or name.startswith(head)):
            continue
        if given is None:
            raise StationFault(f"{weights} holds no tensor {name!r}: these are not the weights of {network}.")
        if given.shape != tensor.shape and not name.startswith(head):
            raise StationFault(
                f"{weights}: {name!r} is of shape {tuple(given.shape)}, {network} has {tuple(tensor.shape)}:"
                " these are not its weights."
            )
    model.load_state_dict(
        {name: t for name, t in tensors.items() if name in wanted and t.shape == wanted[name].shape},
        strict=False,
    )


def _head_of(model: Any) -> str:
    """The prefix of the classifier's tensors: the last child's name."""
    names = [name for name, _ in model.named_children()]
    return f"{names[-1]}."
