# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deny by default: what declares no permission does not start, and nobody sees anything without logging in."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from inspection.types import StationFault
from station_app.accounts import Session
from station_app.headers import HEADERS
from station_app.permissions import ROLES, Permission, check_routes, needs
from station_app.routes import ROUTES
from tests.console.conftest import ORIGIN, Room, csrf_of

PAGE = {"accept": "text/html"}


def _path(path: str) -> str:
    return path.replace("{part_id}", "1").replace("{camera}", "0").replace("{digest}", "0" * 64)


def test_route_without_permission_stops_the_start() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_api_route("/good", lambda: "x", dependencies=[needs(Permission.VIEW)])  # type: ignore[list-item]
    check_routes(app.routes)
    app.add_api_route("/forgotten", lambda: "x")
    with pytest.raises(StationFault, match="/forgotten"):
        check_routes(app.routes)


def test_socket_mount_and_router_without_permission_stop_the_start(tmp_path) -> None:
    async def socket() -> None: ...

    for spoil in (
        lambda a: a.add_api_websocket_route("/ws", socket),
        lambda a: a.mount("/uploads", StaticFiles(directory=tmp_path)),
        lambda a: a.include_router(_router()),
        lambda a: a.add_route("/plain", socket),
    ):
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        spoil(app)
        with pytest.raises(StationFault, match="no permission is declared"):
            check_routes(app.routes)


def _router() -> APIRouter:
    router = APIRouter(dependencies=[needs(Permission.VIEW)])  # type: ignore[list-item]
    router.add_api_route("/hidden", lambda: "x")
    return router


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.permission is not Permission.PUBLIC], ids=lambda r: r.path
)
def test_nobody_gets_nothing(room: Room, route) -> None:
    answer = room.client.request(
        route.method, _path(route.path), headers={"origin": ORIGIN}, follow_redirects=False
    )
    assert answer.status_code == 401
    assert answer.json() == {"detail": "Log in first."}


def test_a_page_leads_to_the_login_and_back(room: Room) -> None:
    answer = room.client.get("/parts?outcome=reject", headers=PAGE, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fparts%3Foutcome%3Dreject"


def test_htmx_is_told_to_go_to_the_login(room: Room) -> None:
    answer = room.client.get("/parts", headers={**PAGE, "hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


def test_public_routes_are_few_and_known() -> None:
    public = {(r.method, r.path) for r in ROUTES if r.permission is Permission.PUBLIC}
    assert public == {("GET", "/login"), ("POST", "/login"), ("GET", "/healthz")}


def test_live_socket_needs_a_session(room: Room) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        room.client.websocket_connect("/live", headers={"origin": ORIGIN}),
    ):
        pass
    assert refused.value.code == 4401


@pytest.mark.parametrize(
    "origin", ["http://testserver.evil.example", "http://testserver:81", "https://testserver", "null", None]
)
def test_live_socket_takes_only_our_own_origin(room: Room, origin: str | None) -> None:
    room.log_in()
    headers = {} if origin is None else {"origin": origin}
    with pytest.raises(WebSocketDisconnect) as refused, room.client.websocket_connect("/live", headers=headers):
        pass
    assert refused.value.code == 4403


POSTS = [r.path for r in ROUTES if r.method == "POST" and r.permission is not Permission.PUBLIC]


@pytest.mark.parametrize("path", POSTS)
def test_every_post_needs_the_token_and_our_origin(room: Room, path: str) -> None:
    room.log_in()
    good = {"origin": ORIGIN}
    token = csrf_of(room.client)
    assert room.client.post(path, headers=good).status_code == 403
    assert room.client.post(path, headers=good, data={"csrf": "wrong"}).status_code == 403
    assert (
        room.client.post(path, headers={"origin": "http://evil.example"}, data={"csrf": token}).status_code
        == 403
    )
    assert room.client.post(path, data={"csrf": token}).status_code == 403
    passed = room.client.post(path, headers=good, data={"csrf": token}, follow_redirects=False)
    assert passed.status_code in {303, 422}


def test_a_role_without_the_permission_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.log_in()
    monkeypatch.setitem(ROLES, "admin", frozenset({Permission.ACCOUNT}))
    assert room.client.get("/parts", headers=PAGE).status_code == 403
    assert room.client.get("/account", headers=PAGE).status_code == 200


def test_an_unknown_role_may_do_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.log_in()
    stranger = Session(user_id=1, user="x", role="nobody", csrf="c", token_sha256="t")
    monkeypatch.setattr(type(room.console.accounts), "session", lambda *_: stranger)
    assert room.client.get("/api/v1/station").status_code == 403


def test_schema_lists_the_api_and_only_to_viewers(room: Room) -> None:
    assert room.client.get("/api/v1/openapi.json").status_code == 401
    room.log_in()
    paths = room.client.get("/api/v1/openapi.json").json()["paths"]
    assert set(paths) == {r.path for r in ROUTES if r.in_schema}


def test_there_is_no_other_description_of_the_api(room: Room) -> None:
    room.log_in()
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert room.client.get(path).status_code == 404


def test_static_files_are_public_and_stay_inside(room: Room) -> None:
    client: TestClient = room.client
    assert client.get("/static/assets/main-1.js").status_code == 200
    for path in ("/static/../station.toml", "/static/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fetc/passwd"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "origin", ["http://[", "http://testserver@evil.example", "http://testserver/", "http:", ""]
)
def test_an_origin_that_is_no_origin_is_foreign(room: Room, origin: str) -> None:
    client = TestClient(room.client.app, base_url=ORIGIN, raise_server_exceptions=False)
    answer = client.post("/login", data={"csrf": "x"}, headers={"origin": origin})
    assert (answer.status_code, answer.json()["detail"]) == (403, "This request comes from another site.")


def test_a_mistake_of_ours_is_answered_with_every_header(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    room.log_in()
    monkeypatch.setattr(type(room.console.history), "part", broken)
    client = TestClient(
        room.client.app, base_url=ORIGIN, cookies=room.client.cookies, raise_server_exceptions=False
    )
    for path, headers in (("/parts/1", PAGE), ("/api/v1/parts/1", {})):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 500
        assert "The line goes on" in answer.text
        assert "secret" not in answer.text
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
