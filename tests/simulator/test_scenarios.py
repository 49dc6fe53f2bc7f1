# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every promise of the simulated camera, on a real harvesters session in a child process (see scenarios.py)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def _names() -> list[str]:
    """Names of the promises, read from the source: importing them imports harvesters, which takes SIGINT."""
    names: list[str] = []
    for path in sorted(HERE.glob("promises_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SCENARIOS":
                names += ast.unparse(node.value).strip("()").split(", ")
    assert len(names) > 20, names
    return names


@pytest.mark.parametrize("name", [*_names(), "done"])
def test_simulated_camera(name: str, scenario_results: dict[str, str]) -> None:
    failure = scenario_results.get(name, f"not run: {scenario_results.get('done')}")
    assert not failure, failure
