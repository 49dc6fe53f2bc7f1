# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of routes, each with its permission, and the application made from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, NamedTuple, get_type_hints
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from station_app import api, pages, signin
from station_app.assets import Assets
from station_app.console import Console, console_of
from station_app.cookies import Cookie, read_cookie
from station_app.headers import HEADERS, Guard
from station_app.history import RecordsUnavailable
from station_app.live import Viewer
from station_app.permissions import NotSignedIn, Permission, check_routes, needs


class Route(NamedTuple):
    """One line of the table."""

    method: str
    path: str
    endpoint: Callable[..., object]
    permission: Permission
    in_schema: bool = False


_P = Permission


def parts_page(
    request: Request, form: Annotated[pages.SearchForm, Depends()], before: api.Before = None
) -> HTMLResponse:
    """The history page."""
    return pages.parts_page(request, form, before)


def parts_csv(request: Request, form: Annotated[pages.SearchForm, Depends()]) -> Response:
    """The history as CSV."""
    return pages.parts_csv(request, form)


ROUTES = (
    Route("GET", "/", pages.live_page, _P.VIEW),
    Route("GET", "/parts", parts_page, _P.VIEW),
    Route("GET", "/parts.csv", parts_csv, _P.VIEW),
    Route("GET", "/parts/{part_id}", pages.part_page, _P.VIEW),
    Route("GET", "/parts/{part_id}/images/{camera}", pages.download, _P.VIEW),
    Route("GET", "/images/{digest}", pages.image, _P.VIEW),
    Route("GET", "/help", pages.help_page, _P.VIEW),
    Route("GET", "/account", signin.account_page, _P.ACCOUNT),
    Route("POST", "/account/password", signin.change_password, _P.ACCOUNT),
    Route("POST", "/logout", signin.log_out, _P.ACCOUNT),
    Route("GET", "/login", signin.login_page, _P.PUBLIC),
    Route("POST", "/login", signin.log_in, _P.PUBLIC),
    Route("GET", "/healthz", api.health, _P.PUBLIC),
    Route("GET", "/api/v1/station", api.station, _P.VIEW, in_schema=True),
    Route("GET", "/api/v1/parts", api.parts, _P.VIEW, in_schema=True),
    Route("GET", "/api/v1/parts/{part_id}", api.part, _P.VIEW, in_schema=True),
    Route("GET", "/api/v1/session", api.whoami, _P.VIEW, in_schema=True),
    Route("GET", "/api/v1/openapi.json", api.openapi, _P.VIEW),
)


class BuiltFiles(StaticFiles):
    """The built front end. Hashed names never change their content."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """As usual, and cached for ever when the name carries a hash."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        scope: Scope = args[2] if len(args) > 2 else kwargs["scope"]  # type: ignore[assignment]
        hashed = "/assets/" in scope["path"]
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
        return response


def create_app(console: Console, assets: Assets) -> FastAPI:
    """The application. StationFault when a route declares no permission."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        console.close()

    app = FastAPI(
        title="Gatesight", version="1", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.console = console
    for route in ROUTES:
        app.add_api_route(
            route.path,
            route.endpoint,
            methods=[route.method],
            dependencies=[needs(route.permission)],  # type: ignore[list-item]
            include_in_schema=route.in_schema,
            response_model=None if not route.in_schema else _answer_of(route.endpoint),
        )
    app.add_api_websocket_route("/live", live_socket, dependencies=[needs(_P.VIEW)])  # type: ignore[list-item]
    app.mount("/static", BuiltFiles(directory=assets.folder), name="static")
    app.add_exception_handler(NotSignedIn, _not_signed_in)
    app.add_exception_handler(RecordsUnavailable, _records_unavailable)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(Guard)
    check_routes(app.routes)
    return app


def _answer_of(endpoint: Callable[..., object]) -> object:
    return get_type_hints(endpoint)["return"]


async def live_socket(socket: WebSocket) -> None:
    """The live socket of the Line page."""
    console = console_of(socket)
    token = read_cookie(socket, Cookie.SESSION)
    viewer = Viewer(socket, console.live, lambda: console.accounts.session(token) is not None)
    try:
        await viewer.run()
    except asyncio.CancelledError:  # the console stops
        return


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith(("/api/", "/images/")) and "text/html" in request.headers.get(
        "accept", ""
    )


async def _not_signed_in(request: Request, _: Exception) -> Response:
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"hx-redirect": "/login"})
    if _wants_page(request) and request.method == "GET":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(target, safe='')}", 303)
    return JSONResponse({"detail": "Log in first."}, 401)


async def _records_unavailable(request: Request, error: Exception) -> Response:
    if _wants_page(request):
        return pages.render(request, "error.html", 503, code=503, title="No records", told=str(error))
    return JSONResponse({"detail": str(error)}, 503)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException | StarletteHTTPException)  # noqa: S101 - registered for it
    if not _wants_page(request):
        return await http_exception_handler(request, error)
    titles = {403: "Not allowed", 404: "Not found", 405: "Not possible"}
    told = str(error.detail) if error.status_code != 404 or error.detail != "Not Found" else ""
    title = titles.get(error.status_code, "That did not work")
    return pages.render(
        request, "error.html", error.status_code, code=error.status_code, title=title, told=told
    )


async def _broken(request: Request, _: Exception) -> Response:
    """A mistake of ours. Starlette answers it outside the Guard, so the headers are put on here."""
    told = "The console made a mistake; its log says which. The line goes on without it."
    if _wants_page(request):
        answer = pages.render(request, "error.html", 500, code=500, title="That did not work", told=told)
    else:
        answer = JSONResponse({"detail": told}, 500)
    answer.headers.update({**HEADERS, "cache-control": "no-store"})
    return answer


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    if not _wants_page(request):
        return await request_validation_exception_handler(request, error)
    return pages.render(request, "error.html", 404, code=404, title="Not found", told="")
