# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a person's own signing key lies, and whose bundles that person's commands trust."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from inspection.types import StationFault
from weights.bundle import MANIFEST_NAME, TRUSTED_HERE

KEYS_VARIABLE = "GATESIGHT_KEYS"


def default_key_dir() -> Path:
    """Folder of the key that signs what this person trains: $GATESIGHT_KEYS, or one in the home folder.

    A station has a key of its own below its data folder; this one belongs to a workbench.
    """
    named = os.environ.get(KEYS_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "gatesight" / "keys"


def trusted_by_default(given: Sequence[Path] | None) -> list[Path]:
    """Folders of trusted keys for a command: those given, else the repository's and the person's own."""
    return list(given) if given else [TRUSTED_HERE, default_key_dir()]


def find_bundle(path: Path) -> Path:
    """The bundle folder that a person means: `path` itself, or the `bundle` in the folder of a finished job.

    StationFault for a job's folder that holds none: it has not finished.
    """
    if not path.is_dir() or (path / MANIFEST_NAME).exists():
        return path
    inner = path / "bundle"
    if inner.is_dir():
        return inner
    if (path / "job.json").exists():
        raise StationFault(f"{path} is a training that has made no bundle: let it finish, or see its job.json.")
    return path
