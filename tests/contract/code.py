# SPDX-License-Identifier: AGPL-3.0-or-later
"""The code under test as one bundle of modules: as it stands, or with one seeded bug in its source.

A bug is a small edit of the real text. The edited module and everything above it are loaded afresh beside the
real ones, so a bug in the modular arithmetic reaches the tracker as it would in the field.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
# In order of dependence.
CORE = (
    "inspection.counting",
    "inspection.window",
    "inspection.gates.registers",
    "inspection.gates.plc_rings",
    "inspection.pairing",
    "inspection.tracker",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One seeded bug: where, and which text becomes which. The text must stand there exactly once."""

    name: str
    module: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Modules to test. Typed loosely on purpose: with a bug they are not the modules that one can import."""

    window: Any
    registers: Any
    rings: Any
    pairing: Any
    tracker: Any


def source_of(module: str) -> str:
    return (ROOT / (module.replace(".", "/") + ".py")).read_text()


def load(bug: Bug | None = None) -> Code:
    saved = {name: sys.modules.get(name) for name in CORE}
    try:
        for name in CORE:
            text = source_of(name)
            if bug is not None and bug.module == name:
                assert text.count(bug.old) == 1, f"seeded bug {bug.name!r} no longer fits {name}"
                text = text.replace(bug.old, bug.new)
            module = ModuleType(name)
            module.__file__ = f"<{name} with {bug.name if bug else 'no bug'}>"
            sys.modules[name] = module
            exec(compile(text, module.__file__, "exec"), module.__dict__)  # noqa: S102 - our own source
        found = [sys.modules[name] for name in CORE]
    finally:
        for name, before in saved.items():
            if before is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = before
    return Code(window=found[1], registers=found[2], rings=found[3], pairing=found[4], tracker=found[5])
