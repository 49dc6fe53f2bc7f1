# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where GenTL producers lie: the files that bring cameras into a process. Loads none of them."""

from __future__ import annotations

import contextlib
import importlib.util
import mmap
import os
from pathlib import Path

from cameras.base import CameraFault, FaultKind
from cameras.simulator.build import producer_path


def find_producer(name: str) -> Path:
    """Path of a producer: a .cti file, `linesim` (ours, built at install) or `viky` (in the genicam wheel)."""
    if name == "linesim":
        path = producer_path()
        if not path.exists():
            raise CameraFault(
                FaultKind.NO_PRODUCER,
                f"The simulated camera's producer {path} is not built; run: python -m cameras.simulator.build.",
            )
        return path
    path = _viky() if name == "viky" else Path(name)
    if not path.is_file():
        raise CameraFault(
            FaultKind.NO_PRODUCER,
            f"There is no GenTL producer {path}; install the camera maker's driver or correct [[camera]] "
            "producer.",
        )
    if not _exports_gentl(path):
        raise CameraFault(
            FaultKind.BAD_PRODUCER, f"{path} is not a GenTL producer; correct [[camera]] producer."
        )
    return path


def installed_producers() -> list[Path]:
    """The .cti files that GENICAM_GENTL64_PATH names (GenTL 1.6, 3.2), then our simulated ones."""
    folders = [Path(f) for f in os.environ.get("GENICAM_GENTL64_PATH", "").split(os.pathsep) if f]
    paths = [p for folder in folders if folder.is_dir() for p in sorted(folder.glob("*.cti"))]
    for name in ("linesim", "viky"):
        with contextlib.suppress(CameraFault):
            paths.append(find_producer(name))
    return paths


def _exports_gentl(path: Path) -> bool:
    """Whether the file is a library that speaks GenTL: the binding crashes the process on one that does not."""
    with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        return memory[:4] in {b"\x7fELF", b"MZ\x90\x00"} and memory.find(b"\0GCInitLib\0") >= 0


def _viky() -> Path:
    spec = importlib.util.find_spec("genicam")  # found, not imported: this file stays light
    return Path(spec.origin if spec and spec.origin else "genicam").with_name("viky.cti")
