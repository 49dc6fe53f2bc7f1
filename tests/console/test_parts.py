# SPDX-License-Identifier: AGPL-3.0-or-later
"""The history: searching, paging, one part, the CSV file, and texts that try to be more than text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import insert

from inspection.records import schema as t
from station_app.export import safe_cell
from station_app.facts import PartFact, TimingFact
from station_app.history import Search
from station_app.shown import parse_local_time, thousands, timing_spans
from tests.console.conftest import Room
from tests.console.filled import EPOCH

PAGE = {"accept": "text/html"}


def _all(room: Room, query: str = "") -> list[dict]:
    """Every matching part, through the API, page by page."""
    found: list[dict] = []
    before = ""
    while True:
        page = room.client.get(f"/api/v1/parts?limit=17{query}{before}").json()
        found += page["parts"]
        if page["next_before"] is None:
            return found
        before = f"&before={page['next_before']}"


@pytest.fixture
def inside(room: Room) -> Room:
    room.log_in()
    return room


def test_paging_by_key_gives_each_part_once_newest_first(inside: Room) -> None:
    ids = [p["id"] for p in _all(inside)]
    assert len(ids) >= 130
    assert ids == sorted(set(ids), reverse=True)


def test_parts_that_arrive_while_paging_shift_nothing(inside: Room) -> None:
    first = inside.client.get("/api/v1/parts?limit=10").json()
    inside.station.part()
    second = inside.client.get(f"/api/v1/parts?limit=10&before={first['next_before']}").json()
    ids = [p["id"] for p in first["parts"] + second["parts"]]
    assert ids == list(range(ids[0], ids[0] - 20, -1))


@pytest.mark.parametrize(
    ("query", "keeps"),
    [
        ("&outcome=reject", lambda p: p["outcome"] == "reject"),
        ("&outcome=reject&outcome=pass", lambda p: p["outcome"] in {"reject", "pass"}),
        ("&reason=defect", lambda p: p["reason"] == "defect"),
        ("&seq=17", lambda p: p["seq"] == 17),
        (f"&epoch={EPOCH}", lambda p: p["epoch"] == EPOCH),
        ("&epoch=1", lambda p: p["epoch"] == 1),
        ("&outcome=reject&epoch=1", lambda _: False),
    ],
)
def test_each_filter_keeps_exactly_what_it_says(
    inside: Room, query: str, keeps: Callable[[dict], bool]
) -> None:
    everything = _all(inside)
    assert [p["id"] for p in _all(inside, query)] == [p["id"] for p in everything if keeps(p)]


def test_search_by_defect_looks_at_findings_not_at_verdicts(inside: Room) -> None:
    everything = [inside.client.get(f"/api/v1/parts/{p['id']}").json() for p in _all(inside)]
    name = next(f["defect_class"] for p in everything for f in p["findings"])
    expected = [p["id"] for p in everything if name in {f["defect_class"] for f in p["findings"]}]
    assert [p["id"] for p in _all(inside, f"&defect={name}")] == expected
    assert expected


def test_search_by_time_is_half_open(inside: Room) -> None:
    everything = _all(inside)
    low, high = everything[80]["triggered_utc_ns"], everything[20]["triggered_utc_ns"]
    found = inside.console.history.page(Search(since_utc_ns=low, until_utc_ns=high), size=500).parts
    assert [p.id for p in found] == [p["id"] for p in everything if low <= p["triggered_utc_ns"] < high]


def test_time_field_means_local_time() -> None:
    at = datetime(2026, 7, 1, 12, 30, 15)
    assert parse_local_time("2026-07-01T12:30:15") == int(at.astimezone().timestamp()) * 10**9
    assert parse_local_time("yesterday") is None
    parse_local_time("0001-01-01T00:00")  # the calendar's ends raise in three different ways
    parse_local_time("9999-12-31T23:59:59")


@pytest.mark.parametrize(
    "query", ["seq=0", "seq=65536", "seq=-1", "seq=١٢", "epoch=x", "since=soon", "until=9999999"]
)
def test_a_search_that_cannot_be_read_says_so(inside: Room, query: str) -> None:
    assert inside.client.get(f"/api/v1/parts?{query}").status_code == 422
    page = inside.client.get(f"/parts?{query}", headers=PAGE)
    assert "This search cannot be read" in page.text
    assert "<tbody>" not in page.text
    assert inside.client.get(f"/parts.csv?{query}").status_code == 422


def test_history_page_and_its_fragments(inside: Room) -> None:
    page = inside.client.get("/parts?outcome=reject", headers=PAGE).text
    assert "<html" in page
    assert 'href="/parts.csv?outcome=reject"' in page
    results = inside.client.get("/parts?outcome=reject", headers={**PAGE, "hx-target": "results"}).text
    assert results.lstrip().startswith('<section id="results"')
    rows = inside.client.get("/parts?before=60", headers={**PAGE, "hx-target": "more"}).text
    assert "<html" not in rows
    assert rows.count("<tr>") == 50


def test_a_search_without_a_match_is_not_an_empty_station(inside: Room, empty_room: Room) -> None:
    assert "No part matches" in inside.client.get("/parts?epoch=7", headers=PAGE).text
    empty_room.log_in()
    assert "No part has been recorded yet" in empty_room.client.get("/parts", headers=PAGE).text


def test_without_records_programs_get_503_and_pages_still_stand(empty_room: Room) -> None:
    empty_room.log_in()
    for path in ("/api/v1/parts", "/api/v1/parts/1", "/parts.csv"):
        answer = empty_room.client.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (503, "No part has been recorded yet.")
    assert empty_room.client.get("/parts/1", headers=PAGE).status_code == 503
    assert empty_room.client.get("/", headers=PAGE).status_code == 200
    station = empty_room.client.get("/api/v1/station").json()
    assert station["level"] == "down"


def test_records_that_are_no_database_are_told_not_thrown(empty_room: Room) -> None:
    empty_room.log_in()
    empty_room.station.config.records_db.write_bytes(b"not a database at all" * 500)
    answer = empty_room.client.get("/api/v1/parts")
    assert answer.status_code == 503
    assert "the line goes on" in answer.json()["detail"]


def test_page_of_a_part_tells_what_its_verdict_rests_on(inside: Room) -> None:
    part = next(p for p in _all(inside, "&outcome=reject") if p["image"])
    detail = inside.client.get(f"/api/v1/parts/{part['id']}").json()
    page = inside.client.get(f"/parts/{part['id']}", headers=PAGE).text
    for text in ("Reject", str(part["epoch"]), detail["bundle_sha256"], detail["recipe_sha256"], part["image"]):
        assert text in page
    for finding in detail["findings"]:
        assert finding["defect_class"] in page
    assert page.count('class="finding-box"') == len(detail["findings"])
    assert f'href="/parts/{part["id"] - 1}" rel="prev"' in page


def test_unknown_part_is_404_for_people_and_programs(inside: Room) -> None:
    assert inside.client.get("/api/v1/parts/999999").status_code == 404
    assert "no part 999999" in inside.client.get("/parts/999999", headers=PAGE).text
    for bad in ("0", "-1", "abc", "9" * 40, "1%00"):
        assert inside.client.get(f"/parts/{bad}", headers=PAGE).status_code == 404


EVIL = '"><script>alert(1)</script>'


def test_texts_of_the_records_stay_texts(inside: Room) -> None:
    station = inside.station
    part_id = station.part()
    station.disturb(
        part_id, outcome="reject", reason=EVIL[:32], rejected_by=json.dumps([EVIL]), part_id=EVIL[:16]
    )
    with station.engine.begin() as connection:
        finding = {"part_id": part_id, "camera": 0, "defect_class": EVIL, "score": 0.9}
        connection.execute(insert(t.findings).values(**finding, x0=1, y0=1, x1=9, y1=9))
    for path in ("/parts", f"/parts/{part_id}", f"/parts?defect={EVIL}", f"/parts?reason={EVIL}"):
        page = inside.client.get(path, headers=PAGE).text
        assert "<script>alert" not in page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\u00a0="])
def test_no_cell_can_become_a_formula(start: str) -> None:
    cell = safe_cell(f"{start}cmd|' /C calc'!A0")
    assert cell.startswith("'")


def test_plain_cells_stay_as_they_are() -> None:
    assert [safe_cell(v) for v in ("pass", 3, -1.5, None, "")] == ["pass", "3", "-1.5", "", ""]


def test_csv_holds_what_was_searched_and_no_formula(inside: Room) -> None:
    part_id = inside.station.part()
    inside.station.disturb(part_id, part_id="=HYPERLINK(1)", rejected_by=json.dumps(["+evil", "b"]))
    answer = inside.client.get("/parts.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="parts.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(r["id"]) for r in rows] == [p["id"] for p in _all(inside)]
    evil = next(r for r in rows if int(r["id"]) == part_id)
    assert (evil["part_id"], evil["rejected_by"]) == ("'=HYPERLINK(1)", "'+evil b")
    rejects = list(csv.DictReader(io.StringIO(inside.client.get("/parts.csv?outcome=reject").text)))
    assert {r["outcome"] for r in rejects} == {"reject"}


def test_timing_bar_shows_each_step_once_and_none_that_did_not_happen() -> None:
    whole = TimingFact(ready_ms=20.0, judged_ms=50.0, closed_ms=52.0, published_ms=53.0, deadline_ms=100.0)
    assert [s.name for s in timing_spans(whole)] == ["expose", "infer", "publish"]
    assert sum(s.end_ms - s.start_ms for s in timing_spans(whole)) == pytest.approx(53.0)
    late = TimingFact(ready_ms=20.0, closed_ms=99.0, published_ms=99.5, deadline_ms=100.0)
    assert [s.name for s in timing_spans(late)] == ["expose", "waited"]
    lost = TimingFact(closed_ms=99.0, deadline_ms=100.0)
    assert [s.name for s in timing_spans(lost)] == ["waited"]
    assert all(s.x + s.width <= 1000 for s in timing_spans(late))


def test_figures_are_grouped_by_thin_spaces() -> None:
    assert thousands(1234567) == "1\u202f234\u202f567"


def test_facts_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PartFact.model_construct(id=1).id = 2
