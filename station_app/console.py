# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everything a request may use; made by hand in app.py, found at `request.app.state.console`."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.requests import HTTPConnection
from starlette.templating import Jinja2Templates

from inspection.config import StationConfig
from inspection.storage.images import ImageStore
from station_app.accounts import Accounts, Patience, Session
from station_app.history import History
from station_app.live import Live


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The console's parts. `close` gives every file back."""

    config: StationConfig
    store: Engine
    accounts: Accounts
    patience: Patience
    history: History
    images: ImageStore
    live: Live
    templates: Jinja2Templates

    def close(self) -> None:
        """Close databases and the board."""
        self.live.close()
        self.history.close()
        self.store.dispose()


def console_of(connection: HTTPConnection | FastAPI) -> Console:
    """The console behind a request."""
    app = connection if isinstance(connection, FastAPI) else connection.app
    return app.state.console


def session_of(connection: HTTPConnection) -> Session | None:
    """Who is asking; set by the route's permission check."""
    return getattr(connection.state, "session", None)
