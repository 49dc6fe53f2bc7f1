# SPDX-License-Identifier: AGPL-3.0-or-later
"""Builds the simulated camera's producer into the wheel; everything else is in pyproject.toml."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
# Files that a source distribution must carry.
DEPENDS = [str(path.relative_to(HERE)) for path in sorted((HERE / "cameras/simulator/producer").glob("*.[ch]"))]


class BuildProducer(build_ext):
    """Puts linesim.cti where setuptools expects an extension module; it is loaded by GenTL, never imported."""

    def get_ext_filename(self, fullname: str) -> str:
        """`cameras.simulator.linesim` becomes cameras/simulator/linesim.cti, with no interpreter tag."""
        return str(Path(*fullname.split("."))) + ".cti"

    def build_extension(self, ext: Extension) -> None:
        """Build with our own build script, so that a wheel and a checkout get the same file."""
        sys.path.insert(0, str(HERE))
        from cameras.simulator.build import build  # noqa: PLC0415 - the package is importable only from here on

        made = build(Path(self.build_temp).resolve() / "linesim")
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(made, target)

    def get_outputs(self) -> list[str]:
        """The one file."""
        return [self.get_ext_fullpath("cameras.simulator.linesim")]


setup(
    ext_modules=[Extension("cameras.simulator.linesim", sources=[], depends=DEPENDS)],
    cmdclass={"build_ext": BuildProducer},
)
