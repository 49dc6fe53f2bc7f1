# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may do what: each route declares one permission, and a console with a route that does not will not start.

Forgotten permissions are how other consoles were broken. Routes are therefore registered on the application
itself, and anything whose permission cannot be seen (an included router, a sub-application) is refused as well.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from enum import Enum

from fastapi import Depends, HTTPException, WebSocketException
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute, Mount

from inspection.types import StationFault
from station_app.accounts import Accounts, Session
from station_app.cookies import Cookie, read_cookie

CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Permission(str, Enum):
    """What a person may be allowed to do."""

    PUBLIC = "public"  # nobody need be logged in: the log-in page, its style sheet, the health answer
    VIEW = "view"  # see the line, parts and pictures
    ACCOUNT = "account"  # one's own session and password


ROLES: dict[str, frozenset[Permission]] = {
    "viewer": frozenset({Permission.VIEW, Permission.ACCOUNT}),
    "admin": frozenset(Permission),
}

PUBLIC_MOUNTS = frozenset({"/static"})
"""Folders served as they are to everybody: the built front end, and nothing that anyone uploads."""


class NotSignedIn(Exception):
    """Nobody, or nobody any more: pages lead to the log-in, programs get 401."""


class Needs:
    """Dependency that lets a request through only with this permission, a matching origin and, to change
    anything, the session's CSRF token. It leaves the session at `request.state.session`.
    """

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, connection: HTTPConnection) -> Session | None:
        """Runs before the route does."""
        is_socket = connection.scope["type"] == "websocket"
        changes = not is_socket and connection.scope["method"] not in _SAFE_METHODS
        if (is_socket or changes) and not origin_is_ours(connection):
            if is_socket:
                raise WebSocketException(code=4403, reason="foreign origin")
            raise HTTPException(403, "This request comes from another site.")
        session = await _session(connection)
        connection.state.session = session
        if self.permission is Permission.PUBLIC:
            return session
        if session is None:
            if is_socket:
                raise WebSocketException(code=4401, reason="log in first")
            raise NotSignedIn
        if self.permission not in ROLES.get(session.role, frozenset()):
            raise HTTPException(403, "Your role does not allow this.")
        if changes and not await _carries_token(connection, session.csrf):
            raise HTTPException(403, "The form has expired: reload the page and try again.")
        return session


async def _session(connection: HTTPConnection) -> Session | None:
    token = read_cookie(connection, Cookie.SESSION)
    if not token:
        return None
    accounts: Accounts = connection.app.state.console.accounts
    return await run_in_threadpool(accounts.session, token)


async def _carries_token(connection: HTTPConnection, expected: str) -> bool:
    given = connection.headers.get(CSRF_HEADER)
    if given is None and isinstance(connection, Request):
        field = (await connection.form()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else None
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())


def origin_is_ours(connection: HTTPConnection) -> bool:
    """Whether the Origin header names exactly the host (and port) that was asked. Browsers always send one."""
    scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
    host = connection.headers.get("host", "")
    return bool(host) and connection.headers.get("origin") == f"{scheme}://{host}"


def needs(permission: Permission) -> object:
    """The declaration that every route carries: `dependencies=[needs(Permission.VIEW)]`."""
    return Depends(Needs(permission))


def declared(route: BaseRoute) -> Permission | None:
    """The permission a route declares, or None."""
    if isinstance(route, Mount):
        return Permission.PUBLIC if route.path in PUBLIC_MOUNTS else None
    if isinstance(route, APIRoute | APIWebSocketRoute):
        calls = [d.call for d in route.dependant.dependencies]
        found = [c.permission for c in calls if isinstance(c, Needs)]
        return found[0] if len(found) == 1 else None
    return None


def check_routes(routes: Iterable[BaseRoute]) -> None:
    """Raise StationFault naming every route, socket or mount without exactly one declared permission."""
    bare = [f"{getattr(r, 'path', type(r).__name__)}" for r in routes if declared(r) is None]
    if bare:
        raise StationFault(
            f"The console does not start: no permission is declared for {', '.join(sorted(bare))}; "
            "declare one with needs(Permission...) in station_app/routes.py."
        )
