# SPDX-License-Identifier: AGPL-3.0-or-later
"""Builds linesim.cti, the simulated camera's GenTL producer, with the system's C compiler.

    python -m cameras.simulator.build [--sanitize address,undefined] [--out DIR]

A build takes a few seconds and is repeated only when a source, the feature table or a flag has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cameras.simulator import device_xml
from inspection.types import StationFault

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "producer"
DEFAULT_OUT = HERE / "_build"
PRODUCER_NAME = "linesim.cti"
FLAGS = (
    *("-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"),
    *("-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Wstrict-prototypes"),
    *("-fPIC", "-fvisibility=hidden", "-shared", "-pthread"),
)


def _generated() -> dict[str, str]:
    return {
        "device_registers.h": device_xml.registers_header(),
        "device_registers.inc": device_xml.registers_table(),
        "device_xml.c": device_xml.byte_array("device_xml", device_xml.device_xml()),
        "module_xml.c": device_xml.byte_array("module_xml", device_xml.module_xml()),
    }


def _flags(sanitize: str | None) -> list[str]:
    flags = list(FLAGS)
    if sanitize:
        flags += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-O1"]
        if "undefined" in sanitize:
            flags.append("-fno-sanitize-recover=undefined")
    return flags


def _fingerprint(compiler: str, flags: list[str], generated: dict[str, str]) -> str:
    digest = hashlib.sha256(repr((compiler, flags)).encode())
    for path in sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name, text in sorted(generated.items()):
        digest.update(name.encode() + b"\0" + text.encode())
    return digest.hexdigest()


def _compile(compiler: str, flags: list[str], generated: dict[str, str], target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="linesim-", dir=target.parent) as folder:
        work = Path(folder)
        for name, text in generated.items():
            (work / name).write_text(text)
        made = work / PRODUCER_NAME
        sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
        sources += [str(work / name) for name in generated if name.endswith(".c")]
        command = [compiler, *flags, f"-I{work}", f"-I{SOURCES}", "-o", str(made), *sources, "-ldl"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise StationFault(
                f"no C compiler '{compiler}': the simulated camera cannot be built; "
                "install one (apt-get install gcc libc6-dev) or name it in the variable CC"
            ) from None
        if done.returncode != 0:
            first = next(
                (line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:300]
            )
            raise StationFault(f"{compiler} could not build the simulated camera from {SOURCES}: {first}")
        # A process that has the old file loaded keeps it; nobody ever sees half a file.
        made.replace(target)


def build(out_dir: Path | str | None = None, sanitize: str | None = None) -> Path:
    """Build `linesim.cti` when something changed, and return its path.

    `sanitize` is a list for the compiler, such as "address,undefined"; its output goes to a folder of its own
    unless `out_dir` says otherwise. Raises StationFault when there is no compiler or it fails.
    """
    if not SOURCES.is_dir():
        return producer_path()  # an installed wheel brings the producer and not its sources
    compiler = os.environ.get("CC") or "cc"
    folder = Path(out_dir) if out_dir is not None else DEFAULT_OUT
    if out_dir is None and sanitize:
        folder = DEFAULT_OUT / sanitize.replace(",", "-")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StationFault(
            f"{folder}: cannot hold the simulated camera ({error.strerror}); choose another --out"
        ) from None
    flags = _flags(sanitize)
    generated = _generated()
    target = folder / PRODUCER_NAME
    stamp = folder / "linesim.sha256"
    fingerprint = _fingerprint(compiler, flags, generated)
    if target.exists() and stamp.exists() and stamp.read_text().strip() == fingerprint:
        return target
    _compile(compiler, flags, generated, target)
    stamp.write_text(fingerprint + "\n")
    return target


def producer_path() -> Path:
    """Path of the built producer: beside this file in an installed wheel, in `_build` in a checkout."""
    for candidate in (DEFAULT_OUT / PRODUCER_NAME, HERE / PRODUCER_NAME):
        if candidate.is_file():
            return candidate
    raise StationFault(
        f"{DEFAULT_OUT / PRODUCER_NAME}: the simulated camera is not built; "
        "run: python -m cameras.simulator.build"
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line of the build; prints the path of the producer."""
    parser = argparse.ArgumentParser(description="Build linesim.cti, the simulated camera's GenTL producer.")
    parser.add_argument("--out", type=Path, default=None, help="folder for the result")
    parser.add_argument("--sanitize", default=None, help="for instance address,undefined or thread")
    chosen = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{build(chosen.out, chosen.sanitize)}\n")
    except StationFault as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
