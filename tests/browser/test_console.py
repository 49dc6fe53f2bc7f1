# SPDX-License-Identifier: AGPL-3.0-or-later
"""A person's day at the console: logging in, watching the line, finding a part, at night, without a mouse."""

from __future__ import annotations

import re
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Plant, log_in

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
ANY_NUMBER = re.compile(r"\d")
EVERY_PAGE = ("/", "/parts", "/parts?epoch=7", "/parts/1", "/help", "/account", "/nosuch")


def _number(page: Page, name: str) -> int:
    return int(re.sub(r"\D", "", page.locator(f"[data-text={name}]").inner_text()))


def test_a_wrong_password_is_told_and_a_right_one_leads_on(plant: Plant, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{plant.url}/parts?outcome=reject")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("Password").fill(plant.password)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{plant.url}/parts?outcome=reject")


def test_line_page_follows_the_line(page: Page) -> None:
    expect(page.locator("[data-live]")).to_have_attribute("data-level", "running")
    expect(page.locator("[data-text=pass]")).to_have_text(ANY_NUMBER)
    expect(page.locator("[data-hero]")).to_have_attribute(
        "data-outcome", re.compile("pass|reject|not_inspected")
    )
    before = _number(page, "triggers")
    expect(page.locator("[data-text=triggers]")).not_to_have_text(
        page.locator("[data-text=triggers]").inner_text()
    )
    assert _number(page, "triggers") > before
    total = sum(_number(page, name) for name in ("pass", "reject", "not_inspected"))
    assert abs(total - _number(page, "triggers")) <= 5  # the figures go on while they are read
    expect(page.locator("[data-ticker] li").nth(40)).to_be_visible()
    expect(page.locator("[data-rejects] .picture").first).to_be_visible()
    expect(page.locator(".process")).to_have_count(7)
    for link in ("plc", "armed", "console"):
        expect(page.locator(f"[data-link={link}]")).to_have_attribute("data-good", "true")


def test_each_camera_shows_a_picture(page: Page) -> None:
    for serial in ("LINESIM-0", "LINESIM-1"):
        tile = page.locator(f"[data-camera={serial}]")
        expect(tile.locator("[data-caption]")).to_have_text(re.compile(r"part \d+"))
        levels = tile.locator("canvas").evaluate(
            "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
        )
        assert levels > 50  # a flange has many greys, an empty canvas has one


def test_chart_is_drawn_with_deadline_and_points(page: Page) -> None:
    chart = page.locator("[data-chart] canvas")
    expect(chart).to_be_visible()
    expect(page.locator("[data-chart]")).to_have_attribute("aria-label", re.compile("deadline 250 ms"))
    colours = chart.evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0,0,c.width,c.height).data.buffer)).size"
    )
    assert colours > 4


def test_search_narrows_while_one_clicks_and_the_address_follows(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.url}/parts")
    page.get_by_text("Reject", exact=True).first.click()
    expect(page).to_have_url(re.compile("outcome=reject"))
    outcomes = page.locator("table.parts tbody .outcome")
    expect(outcomes.first).to_have_text("Reject")
    assert set(outcomes.all_inner_texts()) == {"Reject"}
    expect(page.locator("#csv-link")).to_have_attribute("href", "/parts.csv?outcome=reject")
    page.reload()
    assert set(outcomes.all_inner_texts()) == {"Reject"}


def test_older_parts_come_by_scrolling(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.url}/parts")
    rows = page.locator("table.parts tbody tr:not(.more)")
    expect(rows).to_have_count(50)
    page.locator("#more").scroll_into_view_if_needed()
    expect(rows.nth(60)).to_be_attached()
    ids = page.locator("table.parts tbody td:first-child a").evaluate_all(
        "a => a.map(x => x.getAttribute('href'))"
    )
    assert len(ids) == len(set(ids))


def test_part_page_shows_pictures_findings_and_neighbours(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.url}/parts?outcome=reject")
    page.locator("table.parts tbody a").first.click()
    expect(page.get_by_role("heading", name="Reject")).to_be_visible()
    expect(page.locator(".part-views .picture")).to_have_count(2)
    assert page.locator(".finding-box").count() == page.locator("table.compact tbody tr").count()
    shown = page.url
    page.keyboard.press("ArrowLeft")
    expect(page).not_to_have_url(shown)
    with page.expect_download() as download:
        page.goto(shown)
        page.get_by_role("link", name="Picture").first.click()
    assert re.fullmatch(r"part-\d+-\d+-camera0\.jpg", download.value.suggested_filename)


def test_dark_is_chosen_once_and_stays(page: Page, plant: Plant) -> None:
    def ground() -> list[int]:
        colour = page.locator("body").evaluate("b => getComputedStyle(b).backgroundColor")
        return [int(n) for n in re.findall(r"\d+", colour)[:3]]

    assert min(ground()) > 200
    page.get_by_role("button", name="Switch between light and dark").click()
    assert max(ground()) < 60
    page.goto(f"{plant.url}/parts")
    assert max(ground()) < 60
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_everything_can_be_reached_with_the_keyboard(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.url}/parts")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("() => document.activeElement.name || document.activeElement.textContent.trim()")
        )
    assert {
        "Line",
        "Parts",
        "Help",
        "outcome",
        "reason",
        "defect",
        "since",
        "until",
        "seq",
        "epoch",
        "Search",
    } <= reached
    page.get_by_label("Account of admin").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()


def test_logging_out_closes_the_console(page: Page, plant: Plant) -> None:
    page.get_by_label("Account of admin").click()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login"))
    page.goto(f"{plant.url}/parts")
    expect(page).to_have_url(re.compile("/login"))


def test_nothing_breaks_the_content_policy(plant: Plant, context: BrowserContext) -> None:
    said: list[str] = []
    context.add_init_script(
        "document.addEventListener('securitypolicyviolation', e => console.error(e.violatedDirective))"
    )
    page = context.new_page()
    page.on("console", lambda m: said.append(m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda e: said.append(str(e)))
    log_in(page, plant)
    expect(page.locator("[data-chart] canvas")).to_be_visible()
    page.locator("[data-chart]").hover()
    for path in EVERY_PAGE[:-1]:
        page.goto(plant.url + path)
    page.goto(f"{plant.url}/parts")
    page.get_by_text("Not inspected", exact=True).first.click()
    expect(page).to_have_url(re.compile("not_inspected"))
    page.get_by_role("button", name="Switch between light and dark").click()
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_barrier(plant: Plant, context: BrowserContext, scheme: str) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    page.goto(f"{plant.url}/login")
    found = _barriers(page, "/login")
    log_in(page, plant)
    expect(page.locator("[data-live]")).to_have_attribute("data-level", "running")
    for path in EVERY_PAGE:
        page.goto(plant.url + path)
        if path == "/":
            expect(page.locator("[data-rejects] .picture").first).to_be_visible()
        found += _barriers(page, path)
    assert found == []


def _barriers(page: Page, path: str) -> list[str]:
    page.evaluate(AXE)
    result = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{path}: {v['id']} ({v['impact']}) at {v['nodes'][0]['target']}: {v['nodes'][0]['failureSummary']}"
        for v in result["violations"]
        if v["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("width", [360, 390, 1280, 1920])
def test_no_page_is_wider_than_its_window(plant: Plant, context: BrowserContext, width: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    log_in(page, plant)
    expect(page.locator("[data-text=pass]")).to_have_text(ANY_NUMBER)
    expect(page.locator(".process")).to_have_count(7)
    wide = {}
    for path in ("", "/parts", "/parts?outcome=reject", "/parts/1", "/help", "/account", "/nosuch"):
        if path:
            page.goto(plant.url + path)
        over = page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        if over > 0:
            wide[path] = over
    assert wide == {}


def test_counts_are_read_from_two_metres_and_fit_their_bins(page: Page) -> None:
    """On a 24-inch panel 44 px are 12 mm; a rule of thumb asks for 10 mm at two metres (distance / 200)."""
    page.set_viewport_size({"width": 1280, "height": 800})
    count = page.locator("[data-text=pass]")
    expect(count).to_have_text(ANY_NUMBER)
    for shown, digits in (("999", 3), ("9\u202f999", 5), ("999\u202f999", 7), ("9\u202f999\u202f999", 8)):
        fits, size = count.evaluate(
            """(e, [shown, digits]) => {
              const copy = e.cloneNode();
              copy.removeAttribute("data-text");
              copy.textContent = shown;
              copy.dataset.digits = digits;
              e.parentElement.append(copy);
              const fits = copy.scrollWidth <= e.parentElement.clientWidth;
              const size = parseFloat(getComputedStyle(copy).fontSize);
              copy.remove();
              return [fits, size];
            }""",
            [shown, digits],
        )
        assert fits, shown
        assert size >= (44 if digits == 3 else 18)
