# SPDX-License-Identifier: AGPL-3.0-or-later
"""Turn somebody's checkpoint into plain weights: `python -m training.unpickle FILE.pt OUT.safetensors`.

A .pt file is a pickle: loading it runs whatever code its maker put in, with the rights of whoever loads it.
Nothing else in Gatesight ever does that. Do it where nothing can be lost, with a file from somebody you trust,
and give `gatesight train --start` the result. Files that hold tensors only are read without running anything.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from pathlib import Path
from typing import Any

from inspection.types import StationFault
from training.environment import prepare


def plain_weights(path: Path, *, runs_code: bool) -> dict[str, Any]:
    """The tensors of a checkpoint. StationFault where it holds more than tensors and code may not run."""
    prepare()
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not runs_code:
            raise StationFault(
                f"{path} holds more than tensors: reading it runs its maker's code; if you trust them, and "
                "this machine may be lost, add --runs-code"
            ) from None
        held = torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError) as error:
        raise StationFault(f"{path} cannot be read as a checkpoint ({error})") from None
    network = held
    if isinstance(held, dict):
        network = held.get("ema") or held.get("model") or held.get("state_dict") or held
    tensors = network.float().state_dict() if isinstance(network, torch.nn.Module) else network
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise StationFault(f"{path} holds no network and no table of tensors")
    return tensors


def main(argv: list[str] | None = None) -> int:
    """Convert one file; 0, or 3 for one that is refused."""
    parser = argparse.ArgumentParser(prog="python -m training.unpickle", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs-code", action="store_true", help="I know that this runs the maker's code")
    given = parser.parse_args(argv)
    try:
        tensors = plain_weights(given.checkpoint, runs_code=given.runs_code)
    except StationFault as fault:
        sys.stderr.write(f"{fault}\n")
        return 3
    from training.checkpoint import write_tensors

    write_tensors(given.out, tensors, {"from": given.checkpoint.name})
    sys.stdout.write(f"{given.out}: {len(tensors)} tensors\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
