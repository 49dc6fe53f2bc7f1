# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fixtures of the gate's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gate.rig import GateRig


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., GateRig]]:
    """Makes rigs, and ends what they started."""
    rigs: list[GateRig] = []

    def make(**settings: Any) -> GateRig:
        rigs.append(GateRig(tmp_path, **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., GateRig]) -> GateRig:
    """A running gate, Ready, with patient deadlines."""
    return make_rig().start()
