# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console as a process: what it prints, how it ends, and the one sentence for each thing that is wrong."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from station_app.accounts import Accounts
from station_app.assets import DIST
from station_app.store import open_store
from tests.console.filled import FilledStation

CHECKOUT = Path(__file__).resolve().parents[2]
NEEDS_BUILD = pytest.mark.skipif(
    not (DIST / ".vite" / "manifest.json").exists(), reason="the front end is not built (make setup builds it)"
)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[FilledStation]:
    filled = FilledStation(tmp_path)
    filled.start()
    filled.fill(2)
    yield filled
    filled.close()


def _command(station: FilledStation, *options: str) -> list[str]:
    return [sys.executable, "-m", "station_app.app", "--config", str(station.config_path), *options]


def _run(station: FilledStation, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(station, *options), cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False
    )


@contextmanager
def _started(station: FilledStation) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """The console on a free port; the process, its port, and what it had printed when it said where it is."""
    child = subprocess.Popen(
        _command(station, "--port", "0"), cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    with child:
        assert child.stdout is not None
        told = child.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", told)
        assert found, told
        try:
            yield child, int(found[1]), told
        finally:
            if child.poll() is None:
                child.kill()


@NEEDS_BUILD
def test_first_start_prints_a_password_that_works_once_and_the_second_none(station: FilledStation) -> None:
    with _started(station) as (child, _, _):
        assert child.stdout is not None
        line = child.stdout.readline()
        assert child.stdout.readline().startswith("It is shown this once")
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=60) == 0
    password = line.split()[-1]
    store = open_store(station.config.console_db)
    assert Accounts(store).check("admin", password) is not None
    store.dispose()
    with _started(station) as (child, _, _):
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        assert rest == ""


@NEEDS_BUILD
def test_sigterm_ends_it_although_somebody_is_watching(station: FilledStation) -> None:
    store = open_store(station.config.console_db)
    accounts = Accounts(store)
    accounts.first_password()
    token = accounts.sign_in(1, "a test")
    store.dispose()
    with (
        _started(station) as (child, port, _),
        connect(
            f"ws://127.0.0.1:{port}/live",
            origin=f"http://127.0.0.1:{port}",  # type: ignore[arg-type]
            additional_headers={"cookie": f"gatesight_{accounts.console_id}_session={token}"},
        ) as viewer,
    ):
        assert '"type": "station"' in str(viewer.recv(timeout=30))
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=60) == 0


@NEEDS_BUILD
def test_port_in_use_is_one_sentence(station: FilledStation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _run(station, "--port", str(port))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr


def test_reset_prints_a_new_password_and_stops(station: FilledStation) -> None:
    done = _run(station, "--reset-password")
    assert done.returncode == 0
    store = open_store(station.config.console_db)
    assert Accounts(store).check("admin", done.stdout.split()[-1]) is not None
    store.dispose()


def test_unknown_key_in_the_configuration_is_one_sentence(station: FilledStation) -> None:
    station.config_path.write_text(station.config_path.read_text() + "\n[console]\nprot = 8000\n")
    done = _run(station)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "prot" in done.stderr


def test_console_imports_nothing_that_decides() -> None:
    forbidden = (
        "torch",
        "cameras",
        "inspection.gates",
        "inspection.station",
        "inspection.inspector",
        "openvino",
        "cv2",
    )
    code = f"import station_app.app, sys; print([n for n in {forbidden!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
