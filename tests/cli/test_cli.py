# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: what it starts, that signals and exit codes pass through, that it imports nothing.

Each test runs the real command in a child process whose `sys.path` begins with a folder of stand-in modules.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from station_app.cli import HANDED_ON

CHECKOUT = Path(__file__).resolve().parents[2]
ECHO = "import json, sys\nprint(json.dumps(sys.argv[1:]))\nsys.exit({code})\n"
FORBIDDEN = (
    "inspection",
    "cameras",
    "training",
    "weights",
    "datasets",
    "fastapi",
    "sqlalchemy",
    "numpy",
    "torch",
)


def gatesight(
    arguments: Sequence[str], *, cwd: Path = CHECKOUT, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `gatesight ...`; modules in `path` stand before the real ones, in the child it becomes as well."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(path or CHECKOUT), str(CHECKOUT)]))
    env.pop("GATESIGHT_CONFIG", None)
    return subprocess.run(
        [sys.executable, "-m", "station_app.cli", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stand_in(folder: Path, module: str, source: str) -> None:
    """Write a module that is found before the real one; its packages are namespace-free copies."""
    *packages, name = module.split(".")
    for package in packages:
        folder = folder / package
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    (folder / f"{name}.py").write_text(source)


def test_help_names_every_command() -> None:
    done = gatesight(["--help"])
    assert done.returncode == 0
    own = ("demo", "run", "console", "doctor", "bundle", "journal")
    for command in (*own, *HANDED_ON):
        assert f"\n  {command} " in done.stdout
    for command in HANDED_ON.values():
        assert command.help in " ".join(done.stdout.split())
    assert "not a safety component" in " ".join(done.stdout.split())


def test_command_line_imports_nothing_of_the_station() -> None:
    code = f"import station_app.cli, sys; print([n for n in {FORBIDDEN!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_demo_hands_on_every_option_of_the_issue(tmp_path: Path) -> None:
    stand_in(tmp_path, "inspection.twin.demo", ECHO.format(code=0))
    coco = tmp_path / "coco.json"
    coco.write_text("{}")
    options = [
        *(
            "--parts",
            "20",
            "--rate",
            "10.0",
            "--cameras",
            "2",
            "--source",
            str(coco),
            "--bundle",
            str(tmp_path),
        ),
        *("--seed", "7", "--drop-frames", "0.01", "--skip-triggers", "0.02"),
        *("--headless", "--json", "r.json"),
        *("--data-dir", str(tmp_path), "--port", "8123", "--modbus-port", "1503", "--trusted", "k"),
    ]
    done = gatesight(["demo", *options], cwd=tmp_path, path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == options


def test_demo_without_options_hands_on_none(tmp_path: Path) -> None:
    stand_in(tmp_path, "inspection.twin.demo", ECHO.format(code=0))
    assert json.loads(gatesight(["demo"], cwd=tmp_path, path=tmp_path).stdout) == []


@pytest.mark.parametrize(
    ("arguments", "module", "expected"),
    [
        (["run", "--config", "s.toml"], "inspection.station", ["--config", "s.toml"]),
        (["doctor", "--json"], "inspection.doctor", ["--json"]),
        (["doctor", "-c", "s.toml"], "inspection.doctor", ["--config", "s.toml"]),
        (["bundle", "trust", "b", "--json"], "weights.bundle", ["trust", "b", "--json"]),
        *(
            ([name, "x", "--help", "--json"], command.module, [*command.first, "x", "--help", "--json"])
            for name, command in HANDED_ON.items()
        ),
        (["evaluate", "--bundle", "b", "--help"], "training.evaluate", ["--bundle", "b", "--help"]),
        (["data", "import", "s", "--into", "d"], "datasets.cli", ["import", "s", "--into", "d"]),
        (["bundle", "show", "b", "--json"], "weights.bundle", ["show", "b", "--json"]),
        (["bundle", "verify", "b", "--trusted", "k"], "weights.bundle", ["verify", "b", "--trusted", "k"]),
        (["journal", "verify", "j"], "inspection.journal", ["verify", "j"]),
    ],
)
def test_command_becomes_its_module(
    tmp_path: Path, arguments: list[str], module: str, expected: list[str]
) -> None:
    (tmp_path / "s.toml").write_text("")
    stand_in(tmp_path, module, ECHO.format(code=5))
    done = gatesight(arguments, cwd=tmp_path, path=tmp_path)
    assert json.loads(done.stdout) == expected
    assert done.returncode == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_reaches_the_started_module(tmp_path: Path, number: signal.Signals) -> None:
    source = (
        "import signal, sys\n"
        "for s in (signal.SIGTERM, signal.SIGINT):\n"
        "    signal.signal(s, lambda got, _: sys.exit(40 + got))\n"
        "print('up', flush=True)\n"
        "signal.pause()\n"
    )
    stand_in(tmp_path, "inspection.doctor", source)
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), str(CHECKOUT)]))
    with subprocess.Popen(
        [sys.executable, "-m", "station_app.cli", "doctor"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "up"
        child.send_signal(number)
        assert child.wait(timeout=30) == 40 + number


def test_missing_configuration_is_one_sentence(tmp_path: Path) -> None:
    done = gatesight(["run"], cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "station.toml" in done.stderr


def test_train_without_extras_says_what_installs_them(tmp_path: Path) -> None:
    blind = (
        "import importlib.util as u, sys\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'ultralytics' else find(name, *a)\n"
        "sys.argv = ['gatesight', 'train']\n"
        "import station_app.cli as c; c.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", blind], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "pip install -e '.[train]'" in done.stderr
    assert "ultralytics" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--parts", "0"],
        ["demo", "--drop-frames", "2"],
        ["demo", "--source", "no-such.json"],
        ["demo", "--rate", "500"],
        ["demo", "--rate", "nan"],
        ["demo", "--cameras", "9"],
        ["demo", "--bundle", "no-such-folder"],
        ["bundle", "show"],
        ["journal", "verify"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert gatesight(arguments).returncode == 2


def test_journal_verify_speaks_to_programs_too(tmp_path: Path) -> None:
    done = gatesight(["journal", "verify", str(tmp_path / "none"), "--json"])
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert told["error"] == done.stderr.strip()


def test_version_is_told() -> None:
    done = gatesight(["--version"])
    assert (done.returncode, done.stdout.split()[0]) == (0, "gatesight")


@pytest.mark.parametrize(
    "command",
    [
        *(["demo"], ["run"], ["console"], ["doctor"], ["train"], ["evaluate"]),
        *(["bundle", "show"], ["bundle", "verify"], ["bundle", "trust"], ["journal", "verify"]),
    ],
    ids=" ".join,
)
def test_every_command_helps(command: list[str]) -> None:
    done = gatesight([*command, "--help"])
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    assert len(done.stdout.splitlines()) > 5


def test_a_demo_whose_console_port_is_taken_says_so_before_it_starts() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "station_app.cli", "demo", "--parts", "3", "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert f"port {port}" in done.stderr.strip().splitlines()[-1]
    assert "--port" in done.stderr.strip().splitlines()[-1]
