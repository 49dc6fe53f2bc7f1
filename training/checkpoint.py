# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights and the whole state of a fit on disk, as safetensors: no pickle is ever written or read.

A state is written beside the one before it: temp, fsync, rename. A reader takes the newest that is whole, so
that a kill at any moment costs an epoch at most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from inspection.storage.files import sync_folder, write_durably
from inspection.types import StationFault

STATE_NAME, PREVIOUS_NAME = "state.safetensors", "state_before.safetensors"
_FACTS = "facts"
Tensors = dict[str, torch.Tensor]


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON facts; the file appears whole or not at all."""
    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_durably(path, save(ready, {_FACTS: json.dumps(facts)}))


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what `write_tensors` wrote. Raises StationFault when the file is torn or is something else."""
    try:
        with safe_open(path, framework="pt") as opened:
            facts = json.loads((opened.metadata() or {}).get(_FACTS, "{}"))
            return {name: opened.get_tensor(name) for name in opened.keys()}, facts  # noqa: SIM118 - no mapping
    except (SafetensorError, ValueError, OSError) as error:
        raise StationFault(
            f"{path} cannot be read as safetensors ({error}): it is torn or something else"
        ) from None


def write_state(folder: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write the newest state and keep the one before it."""
    newest = folder / STATE_NAME
    if newest.is_file():
        newest.replace(folder / PREVIOUS_NAME)
        sync_folder(folder)
    write_tensors(newest, tensors, facts)


def read_state(folder: Path) -> tuple[Tensors, dict[str, Any]] | None:
    """The newest state that is whole, or None when there is none to go on from."""
    for name in (STATE_NAME, PREVIOUS_NAME):
        if (folder / name).is_file():
            try:
                return read_tensors(folder / name)
            except StationFault:
                continue
    return None


def load_matching(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> int:
    """Load the tensors whose name and shape the network has; return how many.

    Raises StationFault when fewer than half match: these are another network's.
    """
    own = network.state_dict()
    fitting = {
        name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape
    }
    if 2 * len(fitting) < len(own):
        raise StationFault(
            f"{source} holds {len(fitting)} of the {len(own)} tensors that the recipe's network needs: "
            "it belongs to another network; choose the recipe that made it, or leave --start out"
        )
    network.load_state_dict(fitting, strict=False)
    return len(fitting)
