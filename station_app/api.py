# SPDX-License-Identifier: AGPL-3.0-or-later
"""The JSON API under /api/v1: the same facts as the pages, for programs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request

from station_app.console import console_of, session_of
from station_app.facts import PartDetail, PartsPage, StationFact
from station_app.pages import PartId, SearchForm

Before = Annotated[int | None, Query(ge=1, le=2**62, description="Only parts with a smaller id.")]
Limit = Annotated[int, Query(ge=1, le=500)]


async def station(request: Request) -> StationFact:
    """The station at this instant."""
    return (await console_of(request).live.look()).station


def parts(
    request: Request, form: Annotated[SearchForm, Depends()], before: Before = None, limit: Limit = 50
) -> PartsPage:
    """Parts newest first; `next_before` of the answer is the `before` of the next page."""
    if form.errors:
        raise HTTPException(422, [{"loc": ["query", k], "msg": v} for k, v in form.errors.items()])
    return console_of(request).history.page(form.search, before=before, size=limit)


def part(request: Request, part_id: PartId) -> PartDetail:
    """One part with timing, views and findings. Pictures: /images/{sha256}."""
    found = console_of(request).history.part(part_id)
    if found is None:
        raise HTTPException(404, f"There is no part {part_id} in the records.")
    return found


def whoami(request: Request) -> dict[str, str]:
    """Whose session this is."""
    session = session_of(request)
    return {"user": session.user, "role": session.role} if session else {}


def openapi(request: Request) -> dict[str, object]:
    """The description of this API, OpenAPI 3.1."""
    return request.app.openapi()


def health() -> dict[str, bool]:
    """The console answers. Says nothing of the station: see /api/v1/station."""
    return {"ok": True}
