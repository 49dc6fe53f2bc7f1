# SPDX-License-Identifier: AGPL-3.0-or-later
"""A labelled set to a new folder in an interchange format: whole and durable under its name, or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from datasets.formats.table import format_named
from datasets.labels import LabelledSet
from inspection.storage.files import sync_folder
from inspection.types import StationFault

_STAGING = ".gatesight-export-"


def export(sets: Mapping[str, LabelledSet], folder: Path, format_name: str) -> dict[str, Path]:
    """Write each set below `folder` (`""`: into it) and return the file or folder to read each from.

    `folder` must be new or empty. Raises StationFault, with nothing left behind, when a set cannot be written.
    """
    form = format_named(format_name)
    target = folder.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StationFault(f"{folder} holds something already; name a new or an empty folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=target.parent))
        staging.chmod(0o755)
        try:
            written = {key: form.write(labelled, staging / key) for key, labelled in sets.items()}
            _sync(staging)
            staging.rename(target)  # an empty folder of that name gives way
            sync_folder(target.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise StationFault(f"{folder} cannot be written ({error.strerror}); nothing was exported") from error
    return {key: folder / path.relative_to(staging) for key, path in written.items()}


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
