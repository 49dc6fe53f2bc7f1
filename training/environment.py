# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prepare a process for ultralytics: offline, nothing fetched, nothing phoned, torchvision usable on CPU
builds.

Call `prepare` before the first import of ultralytics; it reads these variables at import time.
"""

from __future__ import annotations

import os
from pathlib import Path

from training import torchvision_cpu


def prepare(*, threads: int = 2, config_dir: Path | None = None) -> None:
    """Set what ultralytics and torch read from the environment. Keeps values that the caller has set."""
    folder = (
        config_dir
        or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gatesight" / "ultralytics"
    )
    folder.mkdir(parents=True, exist_ok=True)
    defaults = {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "False",
        "YOLO_CONFIG_DIR": str(folder),
        "YOLO_VERBOSE": "True",
        "OMP_NUM_THREADS": str(threads),  # ultralytics sets 1 when it is unset
        "TORCHDYNAMO_DISABLE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    torchvision_cpu.install()
