# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which code a model was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path


def code_commit() -> str:
    """Return the commit of this checkout with `+changes` when it differs, or `unknown` outside one."""
    here = Path(__file__).parent
    ours = (".", "../inspection/twin", "../inspection/pixels.py", "../inspection/prepare.py", "../datasets")
    try:
        head = _git(here, "rev-parse", "HEAD")
        changes = _git(here, "status", "--porcelain", "--", *ours)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+changes" if changes else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.strip()
