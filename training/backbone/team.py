# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several processes that learn one network together: each has batches of its own, and their gradients are
averaged.

The recipe's `ranks` says how many; it belongs to the settings, because it decides the weights. On a crowded
CPU four
processes of one thread each get further than one process of four threads, whose threads wait for each other
at every
layer (measured: 8 times slower with two threads on two busy cores).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from inspection.types import StationFault
from training.low_priority import die_with_parent

RANK, STORE = "GATESIGHT_BACKBONE_RANK", "GATESIGHT_BACKBONE_STORE"
_PATIENCE = datetime.timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Place of this process: rank 0 keeps the state and the log."""

    rank: int
    size: int

    def agree(self, model: nn.Module) -> None:
        """Average the gradients over the team, in place; every rank ends with the same numbers."""
        if self.size == 1:
            return
        parts = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        flat /= self.size
        at = 0
        for part in parts:
            part.copy_(flat[at : at + part.numel()].view_as(part))
            at += part.numel()

    def told(self, decay_from: int, steps: int) -> tuple[int, int]:
        """Rank 0's plan, for all: only its clock decides when the rate begins to fall."""
        if self.size == 1:
            return decay_from, steps
        plan = torch.tensor([decay_from, steps])
        dist.broadcast(plan, 0)
        return int(plan[0]), int(plan[1])


@contextmanager
def assembled(size: int, command: list[str]) -> Iterator[Team]:
    """Join the team; rank 0 starts the others with `command` (arguments after `python`) and ends them with
    itself.

    Raises StationFault when another rank ends early: the state on disk is whole, and `--resume` goes on.
    """
    if size == 1:
        yield Team(rank=0, size=1)
        return
    rank = int(os.environ.get(RANK, "0"))
    others: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="gatesight-team-") as folder:
        store = os.environ.get(STORE) or str(Path(folder) / "store")
        if rank:
            die_with_parent(os.getppid())
        try:
            if rank == 0:
                for other in range(1, size):
                    environment = {**os.environ, RANK: str(other), STORE: store}
                    # a session of its own: kernels with autogroups share the CPU out by session, not by process
                    others.append(
                        subprocess.Popen([sys.executable, *command], env=environment, start_new_session=True)
                    )
            dist.init_process_group(
                "gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=_PATIENCE
            )
            yield Team(rank=rank, size=size)
        except RuntimeError as e:
            raise StationFault(f"the team of {size} processes broke up ({e}): go on with --resume") from e
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
            for other in others:
                _end(other, patient=sys.exc_info()[0] is None)


def _end(other: subprocess.Popen[bytes], *, patient: bool) -> None:
    """Wait for a rank that finishes by itself; one that waits inside an exchange hears no other signal."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        other.wait(timeout=30 if patient else 0.1)
    if other.poll() is None:
        other.kill()
        other.wait()
