# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stored pictures are served by their content's name only, and headers stand on everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from station_app.headers import CONTENT_POLICY, MAX_BODY_BYTES
from tests.console.conftest import ORIGIN, Room

PAGE = {"accept": "text/html"}
TEMPLATES = Path(__file__).resolve().parents[2] / "station_app" / "templates"
FRONTEND = TEMPLATES.parent / "frontend" / "src"


@pytest.fixture
def inside(room: Room) -> Room:
    room.log_in()
    return room


def _kept(room: Room) -> dict:
    return next(p for p in room.client.get("/api/v1/parts?outcome=reject").json()["parts"] if p["image"])


def test_picture_is_the_stored_bytes_and_may_be_kept_for_ever(inside: Room) -> None:
    digest = _kept(inside)["image"]
    answer = inside.client.get(f"/images/{digest}")
    assert answer.content == inside.station.images.get(digest, "jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    again = inside.client.get(f"/images/{digest}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name",
    [
        "../../station.toml",
        "..%2f..%2fstation.toml",
        "%2e%2e/%2e%2e/etc/passwd",
        "0" * 63,
        "0" * 65,
        "G" * 64,
        "A" * 64,
        "0" * 64 + "%00.jpg",
        "0" * 64 + ".jpg",
        "0" * 64 + "%0a",
        "console.sqlite",
    ],
)
def test_no_other_name_leads_to_a_file(inside: Room, name: str) -> None:
    assert inside.client.get(f"/images/{name}").status_code in {404, 422}


def test_a_file_in_the_store_that_belongs_to_no_part_is_not_served(inside: Room) -> None:
    digest = inside.station.images.put(b"not of any part", "jpg")
    assert inside.client.get(f"/images/{digest}").status_code == 404


def test_a_picture_that_retention_removed_is_404(inside: Room) -> None:
    part_id = inside.station.part()
    while not (digest := inside.client.get(f"/api/v1/parts/{part_id}").json()["image"]):
        part_id = inside.station.part()
    inside.station.images.remove(digest, "jpg")
    assert inside.client.get(f"/images/{digest}").status_code == 404


def test_a_picture_that_was_altered_on_disk_is_not_shown_as_evidence(inside: Room) -> None:
    part_id = inside.station.part()
    while not (digest := inside.client.get(f"/api/v1/parts/{part_id}").json()["image"]):
        part_id = inside.station.part()
    path = inside.station.images.path(digest, "jpg")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    answer = inside.client.get(f"/images/{digest}")
    assert answer.status_code == 410
    assert "altered on disk" in answer.json()["detail"]


def test_download_has_a_telling_name(inside: Room) -> None:
    part = _kept(inside)
    answer = inside.client.get(f"/parts/{part['id']}/images/1")
    expected = f'attachment; filename="part-{part["epoch"]}-{part["seq"]}-camera1.jpg"'
    assert answer.headers["content-disposition"] == expected
    assert inside.client.get(f"/parts/{part['id']}/images/9").status_code == 404
    assert inside.client.get("/parts/999999/images/0").status_code == 404


def test_every_answer_carries_the_policy(inside: Room) -> None:
    digest = _kept(inside)["image"]
    paths = ("/", "/parts", "/help", "/login", "/healthz", "/nosuch", "/parts.csv", f"/images/{digest}")
    for path in (*paths, "/api/v1/station", "/static/assets/main-1.js", "/static/nosuch", "/parts/abc"):
        answer = inside.client.get(path, headers=PAGE)
        assert answer.headers["content-security-policy"] == CONTENT_POLICY, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"


def test_policy_allows_nothing_inline_and_no_eval() -> None:
    assert "unsafe" not in CONTENT_POLICY
    assert CONTENT_POLICY.startswith("default-src 'none'")


def test_pages_are_never_stored_and_hashed_files_for_ever(inside: Room) -> None:
    assert inside.client.get("/parts", headers=PAGE).headers["cache-control"] == "no-store"
    assert "immutable" in inside.client.get("/static/assets/main-1.js").headers["cache-control"]


def test_long_and_unmeasured_bodies_are_refused_before_they_are_read(room: Room) -> None:
    headers = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    assert room.client.post("/login", content=b"a" * (MAX_BODY_BYTES + 1), headers=headers).status_code == 413
    assert room.client.post("/login", content=iter([b"a=b"]), headers=headers).status_code == 411


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda p: p.name)
def test_templates_hold_nothing_that_the_policy_forbids(template: Path) -> None:
    source = template.read_text()
    assert not re.search(r"\sstyle\s*=", source), "style attributes break under the policy"
    assert not re.search(r"\son[a-z]+\s*=", source), "event attributes break under the policy"
    assert not re.search(r"hx-on|hx-vals\s*=\s*.js:|javascript:", source), "htmx would need eval"
    assert "|safe" not in source, "everything is escaped"
    for trigger in re.findall(r'hx-trigger="([^"]*)"', source):
        assert "[" not in trigger, "trigger filters fail open without eval"
    for script in re.findall(r"<script[^>]*>", source):
        assert 'type="application/json"' in script or " src=" in script


def test_front_end_never_writes_markup() -> None:
    for file in FRONTEND.rglob("*.ts"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", file.read_text()
        ), file
