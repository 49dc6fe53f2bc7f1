# SPDX-License-Identifier: AGPL-3.0-or-later
"""A filled station that goes on, the real console process over it, and a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from station_app.assets import DIST
from tests.console.filled import FilledStation

CHECKOUT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("GATESIGHT_CHROMIUM") or shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@dataclass(kw_only=True)
class Plant:
    """A station that makes a part every 150 ms, and its console."""

    station: FilledStation
    url: str
    password: str
    console: subprocess.Popen[str]
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def go(self) -> None:
        """Parts come."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.15):
            self.station.part()

    def halt(self) -> None:
        """Everything falls silent, as after a kill -9 of the supervisor."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def start_plant(folder: Path) -> Plant:
    """Fill a station and start its console."""
    station = FilledStation(folder)
    station.start()
    station.fill(70)
    console = subprocess.Popen(
        [sys.executable, "-m", "station_app.app", "--config", str(station.config_path), "--port", "0"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert console.stdout is not None
    url = re.search(r"http://\S+", console.stdout.readline())
    password = console.stdout.readline().split()[-1]
    assert url
    return Plant(station=station, url=url[0], password=password, console=console)


def stop_plant(plant: Plant) -> None:
    """End the console and remove what the station left in shared memory."""
    plant.halt()
    plant.console.terminate()
    plant.console.communicate(timeout=60)
    plant.station.close()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant for the tests of one file."""
    if not (DIST / ".vite" / "manifest.json").exists():
        pytest.skip("the front end is not built (make setup builds it)")
    made = start_plant(tmp_path_factory.mktemp("plant"))
    made.go()
    yield made
    stop_plant(made)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; GATESIGHT_CHROMIUM names another one."""
    expect.set_options(timeout=20_000)  # shared machines are slow; what never comes still fails
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser window of its own, as large as a panel PC's."""
    made = browser.new_context(viewport={"width": 1920, "height": 1080}, color_scheme="light")
    made.set_default_timeout(30_000)
    yield made
    made.close()


@pytest.fixture
def page(plant: Plant, context: BrowserContext) -> Page:
    """The Line page, logged in."""
    made = context.new_page()
    log_in(made, plant)
    return made


def log_in(page: Page, plant: Plant) -> None:
    """Through the form, as a person does."""
    page.goto(f"{plant.url}/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(plant.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{plant.url}/")
