# SPDX-License-Identifier: AGPL-3.0-or-later
"""tools/setup.sh on machines that lack something: one sentence with its remedy, nothing half-made left behind.

The script itself runs, in a folder of its own; the commands it calls are stand-ins, so nothing is installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
LIBRARIES = "libGL.so.1 libgthread-2.0.so.0 libxcb.so.1"
TOOLS = ("bash", "cat", "cut", "dirname", "env", "grep", "ls", "mkdir", "rm", "sha256sum", "touch", "chmod")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A bare machine that has all of the system's packages: a folder with `bin` and the script."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(CHECKOUT / "tools" / "setup.sh", tmp_path / "tools")
    for name in TOOLS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    command(tmp_path, "id", "echo 1000")
    command(tmp_path, "ldconfig", f"printf '%s\\n' {LIBRARIES}")
    for name in ("cc", "npm", "node"):
        command(tmp_path, name, "exit 0")
    command(tmp_path, "python3", 'if [ "$1" = --version ]; then echo "Python 3.11.2"; fi; exit 0')
    return tmp_path


def command(machine: Path, name: str, body: str) -> None:
    path = machine / "bin" / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def setup(machine: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(machine / "tools" / "setup.sh"), "run"],
        env={"PATH": str(machine / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_venv_the_package_is_named_and_no_half_made_one_is_left(machine: Path) -> None:
    """Debian without python3-venv makes .venv/bin/python, then fails: the next try must not believe in it."""
    command(
        machine,
        "python3",
        'if [ "$1" = -m ]; then mkdir -p .venv/bin\n'
        "printf '#!/bin/bash\\nexit 1\\n' > .venv/bin/python; chmod 755 .venv/bin/python\n"
        "echo 'ensurepip is not available' >&2; exit 1; fi; exit 0",
    )
    for _ in range(2):
        done = setup(machine)
        assert done.returncode == 1
        assert "sudo apt-get install -y python3-venv" in done.stderr
        assert not (machine / ".venv").exists()


def test_an_ordinary_user_is_told_the_apt_command_in_one_line(machine: Path) -> None:
    (machine / "bin" / "cc").unlink()
    done = setup(machine)
    assert done.returncode == 1
    assert done.stderr == (
        "setup: missing system packages; install them with:  sudo apt-get install -y gcc libc6-dev\n"
    )
    assert not (machine / ".venv").exists()


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("npm", None, "npm is missing; install Node.js"),
        ("node", "if [ $1 = --version ]; then echo v18.19.0; fi; exit 1", "node v18.19.0 is too old"),
        ("python3", "exit 1", "no Python 3.11 to 3.14"),
    ],
)
def test_what_is_too_old_or_missing_is_named(machine: Path, name: str, body: str | None, sentence: str) -> None:
    if body is None:
        (machine / "bin" / name).unlink()
    else:
        command(machine, name, body)
    done = setup(machine)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_environment_without_pip_is_made_anew(machine: Path) -> None:
    """What an interrupted or refused `venv` left behind is not built upon."""
    (machine / ".venv" / "bin").mkdir(parents=True)
    left = machine / ".venv" / "bin" / "python"
    left.write_text("#!/bin/bash\nexit 1\n")
    left.chmod(0o755)
    command(machine, "python3", 'if [ "$1" = -m ]; then exit 1; fi; exit 0')
    done = setup(machine)
    assert "creating .venv" in done.stdout
    assert "python3-venv" in done.stderr
    assert not left.exists()
