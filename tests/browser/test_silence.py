# SPDX-License-Identifier: AGPL-3.0-or-later
"""When something stops, the page says so: old figures must never look live."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from inspection.board import GateCounter
from tests.browser.conftest import Plant


def test_page_tells_waiting_then_down_then_lost(page: Page, plant: Plant) -> None:
    live = page.locator("[data-live]")
    expect(live).to_have_attribute("data-level", "running")
    assert plant.station.board is not None
    plant.station.board.row("gate").set(GateCounter.PLC_ALIVE, 0)
    expect(live).to_have_attribute("data-level", "waiting")
    expect(page.locator("[data-banner]")).to_contain_text("No PLC is connected")
    expect(page.locator("[data-link=plc]")).to_have_attribute("data-good", "false")

    plant.halt()
    expect(live).to_have_attribute("data-level", "down")
    expect(page.locator("[data-banner]")).to_contain_text("every part is diverted")
    expect(page.locator("[data-text=hero-outcome]")).to_have_text("No data")
    expect(page.locator("[data-camera=LINESIM-0]")).to_have_attribute("data-stale", "true")
    expect(page.locator("[data-text=rate]")).to_have_text("0.0")

    plant.console.kill()
    expect(live).to_have_attribute("data-level", "lost")
    expect(page.locator("[data-banner]")).to_contain_text(
        re.compile(r"No connection to the console; last data \d+ s ago")
    )
    expect(page.locator("[data-link=console]")).to_have_attribute("data-good", "false")
