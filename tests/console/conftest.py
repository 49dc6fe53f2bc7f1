# SPDX-License-Identifier: AGPL-3.0-or-later
"""A filled station and a console over it, in process; and one over a station that has recorded nothing yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from station_app.app import make_console
from station_app.assets import Assets
from station_app.console import Console
from station_app.routes import create_app
from tests.console.filled import FilledStation

ORIGIN = "http://testserver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A console, a browser that is not logged in, and what lies behind it."""

    station: FilledStation
    console: Console
    client: TestClient
    password: str

    def log_in(self) -> None:
        """Log the client in as admin."""
        answer = post_login(self.client, "admin", self.password)
        assert answer.status_code == 303, answer.text


def post_login(client: TestClient, user: str, password: str, **fields: str):
    """Send the log-in form the way a browser does."""
    form = client.get("/login").text
    pair = form.split('name="csrf" value="')[1].split('"')[0]
    data = {"user": user, "password": password, "csrf": pair, **fields}
    return client.post("/login", data=data, headers={"origin": ORIGIN}, follow_redirects=False)


def session_cookie(room: Room) -> str:
    """Name of the session's cookie at this console."""
    return f"gatesight_{room.console.accounts.console_id}_session"


def csrf_of(client: TestClient) -> str:
    """The token that the pages of this session carry."""
    page = client.get("/help", headers={"accept": "text/html"}).text
    return page.split('<meta name="csrf" content="')[1].split('"')[0]


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    """A front end that is not built by Vite: the server's tests need none."""
    folder = tmp_path_factory.mktemp("dist")
    (folder / ".vite").mkdir()
    (folder / "assets").mkdir()
    manifest = {
        f"src/{n}.ts": {"file": f"assets/{n}-1.js", "css": [f"assets/{n}-1.css"]} for n in ("main", "live")
    }
    (folder / ".vite" / "manifest.json").write_text(json.dumps(manifest))
    for name in ("main", "live"):
        (folder / "assets" / f"{name}-1.js").write_text("export {};")
        (folder / "assets" / f"{name}-1.css").write_text("")
    return Assets(folder)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledStation]:
    """A running station with 130 parts on record; tests only add to it."""
    filled = FilledStation(tmp_path_factory.mktemp("station"))
    filled.start()
    filled.fill(130)
    yield filled
    filled.close()


@pytest.fixture
def room(station: FilledStation, assets: Assets) -> Iterator[Room]:
    """A fresh console (new users and sessions) over the filled station."""
    yield from _room(station, assets)


@pytest.fixture
def empty_room(tmp_path: Path, assets: Assets) -> Iterator[Room]:
    """A console over a station that has never run."""
    station = FilledStation(tmp_path)
    station.engine.dispose()
    for file in station.config.records_db.parent.glob("records.sqlite*"):
        file.unlink()
    yield from _room(station, assets)
    station.close()


def _room(station: FilledStation, assets: Assets) -> Iterator[Room]:
    for file in station.config.console_db.parent.glob("console.sqlite*"):
        file.unlink()
    console = make_console(station.config, assets)
    password = console.accounts.first_password()
    assert password
    with TestClient(create_app(console, assets), base_url=ORIGIN) as client:
        yield Room(station=station, console=console, client=client, password=password)
