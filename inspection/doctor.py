# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this machine has and lacks for a station, each lack with its remedy.

Every check is one small function that returns one `Fact`; nothing is changed on the machine.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from inspection.config import load_config
from inspection.realtime import GATE_PRIORITY
from inspection.types import StationFault

_SQLITE_FIXED = (3, 51, 3)  # the WAL-reset corruption race ends here
_STA_UNSYNC = 0x40  # <sys/timex.h>


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of the report. status: ok | warn (works, with a drawback) | missing (will not run)."""

    name: str
    status: str
    found: str
    remedy: str = ""


def _engines() -> Iterator[Fact]:
    for package, remedy in (("openvino", "pip install openvino"), ("onnxruntime", "pip install onnxruntime")):
        try:
            yield Fact(name=package, status="ok", found=importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Fact(name=package, status="missing", found="not installed", remedy=remedy)
    try:
        version = importlib.metadata.version("torch")
        yield Fact(name="training", status="ok", found=f"torch {version}")
    except importlib.metadata.PackageNotFoundError:
        remedy = 'to train here: pip install "gatesight[train]"; the running station does not need it'
        yield Fact(name="training", status="warn", found="not installed", remedy=remedy)


def _gpu() -> Fact:
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return Fact(name="gpu", status="ok", found=done.stdout.strip().replace("\n", "; "))
    return Fact(
        name="gpu",
        status="warn",
        found="no NVIDIA GPU answers",
        remedy="none needed for the CPU engines; otherwise install the driver and onnxruntime-gpu",
    )


def _cameras(producers: list[str]) -> Iterator[Fact]:
    """In a child process: harvesters takes SIGINT over and cannot open a producer twice in one process."""
    for producer in producers:
        command = [sys.executable, "-m", "cameras.worker", "--list", "--producer", producer]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        name = f"producer {producer}"
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["it does not answer"]
            remedy = "make setup" if producer == "linesim" else "correct [[camera]] producer"
            yield Fact(name=name, status="missing", found=lines[-1], remedy=remedy)
            continue
        producers_found = json.loads(done.stdout)["producers"]
        found = [c["serial_number"] for p in producers_found for c in p["cameras"]]
        status = "ok" if found else "warn"
        text = f"{len(found)} cameras: {', '.join(found)}" if found else "no camera"
        yield Fact(
            name=name, status=status, found=text, remedy="" if found else "check power, cable and address"
        )


def _sqlite() -> Fact:
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info >= _SQLITE_FIXED:
        return Fact(name="sqlite", status="ok", found=found)
    return Fact(
        name="sqlite",
        status="warn",
        found=f"{found}: has a WAL-reset race, fixed in 3.51.3",
        remedy="Gatesight lets one process write and checkpoint, so it cannot occur; open the file read-only",
    )


_REALTIME = (
    # fact, a word of its refusal, its line in limits.conf, and the same for a unit of systemd
    ("real-time priority", "priority", f"rtprio {GATE_PRIORITY}", f"LimitRTPRIO={GATE_PRIORITY}"),
    ("locked memory", "memory", "memlock unlimited", "LimitMEMLOCK=infinity"),
)


def _real_time() -> Iterator[Fact]:
    """Asked for in a child process exactly as the gate will ask: being root says little in a container."""
    code = "import inspection.realtime as r; print(*r.ask_for_realtime(r.GATE_PRIORITY), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    refusals = done.stdout.strip().splitlines()
    if done.returncode != 0:
        refusals = ["priority and memory: the kernel killed the process that asked"]
    user = os.environ.get("USER") or "gatesight"
    for name, word, line, unit in _REALTIME:
        refused = next((text for text in refusals if word in text), "")
        remedy = (
            f"add '{user} - {line}' to /etc/security/limits.conf and log in again ({unit} in a systemd unit); "
            "the station runs without it, less evenly"
        )
        yield Fact(
            name=name,
            status="warn" if refused else "ok",
            found=refused or "allowed",
            remedy=remedy if refused else "",
        )
    cores = len(os.sched_getaffinity(0))
    yield Fact(
        name="cores",
        status="ok" if cores >= 2 else "warn",
        found=str(cores),
        remedy="" if cores >= 2 else "two cores at least, or the engine delays the gate",
    )


def _clock() -> Fact:
    """adjtimex(2) says whether somebody disciplines the wall clock; deadlines never depend on it."""
    buffer = ctypes.create_string_buffer(512)  # struct timex with modes = 0: read only
    state = ctypes.CDLL(None).adjtimex(buffer)
    status = int.from_bytes(buffer.raw[40:44], sys.byteorder)
    if state >= 0 and not status & _STA_UNSYNC:
        return Fact(name="clock", status="ok", found="synchronised")
    return Fact(
        name="clock",
        status="warn",
        found="the wall clock is not synchronised",
        remedy="install chrony; verdicts are not affected, the times on records are",
    )


def _disk(name: str, folder: Path, need_mb: int) -> Fact:
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // 2**20
    enough = free_mb >= need_mb
    return Fact(
        name=name,
        status="ok" if enough else "missing",
        found=f"{free_mb} MB free in {folder}",
        remedy="" if enough else f"free {need_mb - free_mb} MB",
    )


def _bundle(path: Path, trusted: list[Path]) -> Fact:
    command = [sys.executable, "-m", "weights.bundle", "verify", str(path)]
    for folder in trusted:
        command += ["--trusted", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines() or ["no answer"]
    if done.returncode == 0:
        return Fact(name="bundle", status="ok", found=lines[0])
    remedy = "restore it from where it came: gatesight bundle verify says more"
    return Fact(name="bundle", status="missing", found=lines[-1], remedy=remedy)


def examine(config_path: Path | None) -> list[Fact]:
    """All facts; with a station.toml its own producers, bundle and folders are looked at too."""
    producers, data_dir, min_free_mb = ["linesim"], Path.cwd(), 1000
    facts: list[Fact] = []
    if config_path is not None:
        config = load_config(config_path)
        producers = sorted({c.producer for c in config.camera})
        data_dir, min_free_mb = config.station.data_dir, config.records.min_free_mb
        facts.append(_bundle(config.station.bundle, [*config.station.trusted, config.key_dir]))
    checks: list[Callable[[], Fact]] = [_gpu, _sqlite, _clock]
    facts += _engines()
    facts += [check() for check in checks]
    facts += _cameras(producers)
    facts += _real_time()
    facts.append(_disk("disk", data_dir, min_free_mb))
    facts.append(_disk("shared memory", Path("/dev/shm"), 256))  # noqa: S108 - that is what is measured
    return facts


def main(argv: list[str] | None = None) -> int:
    """Print the report; 0 when the station can run here, 1 when something it needs is missing."""
    parser = argparse.ArgumentParser(prog="gatesight doctor", description=__doc__)
    parser.add_argument("--config", type=Path, help="a station.toml to examine as well")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args(argv)
    try:
        facts = examine(arguments.config)
    except StationFault as e:
        sys.stderr.write(f"{e}\n")
        return 3
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(f) for f in facts], indent=2) + "\n")
    else:
        signs = {"ok": "ok     ", "warn": "note   ", "missing": "MISSING"}
        for f in facts:
            remedy = f"  -> {f.remedy}" if f.remedy else ""
            sys.stdout.write(f"{signs[f.status]}  {f.name:<22} {f.found}{remedy}\n")
    return int(any(f.status == "missing" for f in facts))


if __name__ == "__main__":
    sys.exit(main())
