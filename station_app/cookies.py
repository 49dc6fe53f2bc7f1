# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's cookies: their names, their flags, and how they are read and taken back.

Browsers send a host's cookies to every port of it, so two consoles on one host would end each other's sessions:
each name carries the id that this console's database was given when it was made. Over TLS the name begins with
`__Host-`, which no other host and no plain-text answer can set (RFC 6265bis, 4.1.3).
"""

from __future__ import annotations

from enum import Enum

from starlette.requests import HTTPConnection
from starlette.responses import Response

from station_app.accounts import Accounts

_YEAR_S = 365 * 24 * 3600


class Cookie(str, Enum):
    """What each is for."""

    SESSION = "session"  # the token of a session
    LOGIN = "login"  # pairs the log-in form with the browser that asked for it
    BROWSER = "browser"  # this browser has logged in before: its wrong attempts are counted apart


def _is_tls(connection: HTTPConnection) -> bool:
    return connection.url.scheme in {"https", "wss"}


def cookie_name(connection: HTTPConnection, cookie: Cookie) -> str:
    """Name under which this console knows the cookie on this connection."""
    accounts: Accounts = connection.app.state.console.accounts
    prefix = "__Host-" if _is_tls(connection) else ""
    return f"{prefix}gatesight_{accounts.console_id}_{cookie.value}"


def read_cookie(connection: HTTPConnection, cookie: Cookie) -> str:
    """Its value, or an empty text."""
    return connection.cookies.get(cookie_name(connection, cookie), "")


def give_cookie(connection: HTTPConnection, response: Response, cookie: Cookie, value: str) -> None:
    """Send it with the response: never readable by scripts, never sent along by another site's page."""
    response.set_cookie(
        cookie_name(connection, cookie),
        value,
        max_age=_YEAR_S if cookie is Cookie.BROWSER else None,
        httponly=True,
        samesite="strict",
        secure=_is_tls(connection),
        path="/",
    )


def take_cookie_back(connection: HTTPConnection, response: Response, cookie: Cookie) -> None:
    """Tell the browser to forget it."""
    response.delete_cookie(
        cookie_name(connection, cookie),
        path="/",
        httponly=True,
        samesite="strict",
        secure=_is_tls(connection),
    )
