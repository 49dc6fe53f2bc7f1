# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logging in and out, and one's own password."""

from __future__ import annotations

import hmac
import math
import secrets
import time

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from station_app.accounts import MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS, source_of
from station_app.console import console_of, session_of
from station_app.cookies import Cookie, give_cookie, read_cookie, take_cookie_back
from station_app.pages import render
from station_app.permissions import CSRF_FIELD


def safe_next(wanted: str) -> str:
    """Where to go after the log-in: a path of this console, never another site."""
    plain = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/login", "/logout"))
    return wanted if plain and wanted.isprintable() and "\\" not in wanted else "/"


def login_page(request: Request) -> Response:
    """The form; somebody who is logged in goes on."""
    wanted = safe_next(request.query_params.get("next", "/"))
    if session_of(request) is not None:
        return RedirectResponse(wanted, 303)
    return _form(request, wanted)


def _form(request: Request, wanted: str, trouble: str = "", user: str = "", status: int = 200) -> HTMLResponse:
    pair = secrets.token_urlsafe(18)
    page = render(
        request, "login.html", status, wanted=wanted, trouble=trouble, user=user, pair=pair, bare=True
    )
    give_cookie(request, page, Cookie.LOGIN, pair)
    return page


async def log_in(request: Request) -> Response:
    """Check name and password; slows down whoever keeps being wrong."""
    console = console_of(request)
    fields = {k: v for k, v in (await request.form()).items() if isinstance(v, str)}
    wanted, user = safe_next(fields.get("next", "/")), fields.get("user", "").strip()[:64]
    pair = read_cookie(request, Cookie.LOGIN)
    if not pair or not hmac.compare_digest(pair.encode(), fields.get(CSRF_FIELD, "").encode()):
        return _form(request, wanted, "The page was open for too long. Please try again.", user, 403)
    address = request.client.host if request.client else ""
    # a browser that has logged in before is counted apart: nobody else's attempts can keep its owner out
    browser = console.accounts.known_browser(read_cookie(request, Cookie.BROWSER), user)
    place = source_of(address) if browser is None else f"browser {browser}"
    wait_s = console.patience.wait_s(place, time.monotonic())
    if wait_s > 0:
        seconds = math.ceil(wait_s)
        page = _form(request, wanted, f"Too many wrong attempts. Try again in {seconds} s.", user, 429)
        page.headers["retry-after"] = str(seconds)
        return page
    user_id = await run_in_threadpool(console.accounts.check, user, fields.get("password", ""))
    if user_id is None:
        console.patience.failed(place, time.monotonic())
        await run_in_threadpool(console.accounts.write_down, user, "sign_in_failed", f"from {address}")
        return _form(request, wanted, "Name or password is wrong.", user, 401)
    console.patience.succeeded(place)
    if (before := session_of(request)) is not None:
        await run_in_threadpool(console.accounts.sign_out, before)
    token = await run_in_threadpool(console.accounts.sign_in, user_id, address)
    answer = RedirectResponse(wanted, 303)
    give_cookie(request, answer, Cookie.SESSION, token)
    give_cookie(request, answer, Cookie.BROWSER, console.accounts.browser_proof(user))
    take_cookie_back(request, answer, Cookie.LOGIN)
    return answer


async def log_out(request: Request) -> Response:
    """End the session."""
    if (session := session_of(request)) is not None:
        await run_in_threadpool(console_of(request).accounts.sign_out, session)
    answer = RedirectResponse("/login", 303)
    take_cookie_back(request, answer, Cookie.SESSION)
    return answer


def account_page(request: Request) -> HTMLResponse:
    """One's own account."""
    return render(request, "account.html", done=False, trouble="", shortest=MIN_PASSWORD_CHARACTERS)


async def change_password(request: Request) -> HTMLResponse:
    """Set one's own password, after giving the present one."""
    console, session = console_of(request), session_of(request)
    assert session is not None  # noqa: S101 - the permission check ran before
    fields = {k: v for k, v in (await request.form()).items() if isinstance(v, str)}
    new = fields.get("new", "")
    trouble = ""
    if not MIN_PASSWORD_CHARACTERS <= len(new) <= MAX_PASSWORD_CHARACTERS:
        trouble = f"The new password needs {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters."
    elif new != fields.get("again", ""):
        trouble = "The two new passwords differ."
    elif await run_in_threadpool(console.accounts.check, session.user, fields.get("present", "")) is None:
        trouble = "The present password is wrong."
    if not trouble:
        await run_in_threadpool(console.accounts.change_password, session, new)
    return render(
        request,
        "account.html",
        422 if trouble else 200,
        done=not trouble,
        trouble=trouble,
        shortest=MIN_PASSWORD_CHARACTERS,
    )
