# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passwords, sessions and patience."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from inspection.types import StationFault
from station_app.accounts import AGE_LIMIT_NS, IDLE_LIMIT_NS, Accounts, Patience
from station_app.permissions import SESSION_COOKIE
from station_app.signin import safe_next
from station_app.store import open_store
from tests.console.conftest import ORIGIN, Room, csrf_of, post_login

HOUR_NS = 3600 * 10**9


class Clock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.now = 10**18

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(tmp_path: Path, clock: Clock):
    engine = open_store(tmp_path / "console.sqlite")
    yield Accounts(engine, clock)
    engine.dispose()


def test_first_password_is_made_once_and_is_not_guessable(accounts: Accounts) -> None:
    password = accounts.first_password()
    assert password is not None
    assert len(password.replace("-", "")) == 20
    assert accounts.first_password() is None
    assert accounts.check("admin", password) is not None
    assert accounts.check("admin", "admin") is None
    assert accounts.check("nobody", password) is None


def test_password_is_kept_as_argon2id_of_the_stated_cost(accounts: Accounts, tmp_path: Path) -> None:
    accounts.first_password()
    with sqlite3.connect(tmp_path / "console.sqlite") as connection:
        (kept,) = connection.execute("SELECT password_hash FROM users").fetchone()
    connection.close()
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_reset_ends_sessions_and_the_old_password(accounts: Accounts) -> None:
    old = accounts.first_password()
    assert old
    user_id = accounts.check("admin", old)
    assert user_id is not None
    token = accounts.sign_in(user_id, "here")
    new = accounts.reset_password()
    assert accounts.session(token) is None
    assert accounts.check("admin", old) is None
    assert accounts.check("admin", new) == user_id


def test_session_ends_when_idle_and_when_old(accounts: Accounts, clock: Clock) -> None:
    accounts.first_password()
    token = accounts.sign_in(1, "here")
    for _ in range(AGE_LIMIT_NS // (11 * HOUR_NS)):
        clock.now += 11 * HOUR_NS
        assert accounts.session(token) is not None  # used within twelve hours, again and again
    clock.now += 11 * HOUR_NS
    assert accounts.session(token) is None  # older than a week
    token = accounts.sign_in(1, "here")
    clock.now += IDLE_LIMIT_NS + 1
    assert accounts.session(token) is None


def test_token_itself_is_not_in_the_database(accounts: Accounts, tmp_path: Path) -> None:
    accounts.first_password()
    token = accounts.sign_in(1, "here")
    for file in tmp_path.iterdir():
        assert token.encode() not in file.read_bytes()


def test_database_is_for_its_owner_only(accounts: Accounts, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "console.sqlite").stat().st_mode) == 0o600


def test_database_of_a_newer_version_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "console.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StationFault, match="newer version"):
        open_store(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "console.sqlite"
    path.write_bytes(b"certainly not a database" * 100)
    with pytest.raises(StationFault, match="move it away"):
        open_store(path)


def test_login_sets_a_strict_cookie_and_leads_on(room: Room) -> None:
    answer = post_login(room.client, "admin", room.password, next="/parts")
    assert (answer.status_code, answer.headers["location"]) == (303, "/parts")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(SESSION_COOKIE)).lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert room.client.get("/", headers={"accept": "text/html"}).status_code == 200


def test_wrong_password_says_nothing_of_which_half_is_wrong(room: Room) -> None:
    answers = [post_login(room.client, user, "wrong") for user in ("admin", "nobody")]
    assert [a.status_code for a in answers] == [401, 401]
    assert all("Name or password is wrong." in a.text for a in answers)
    assert all(SESSION_COOKIE not in a.headers.get("set-cookie", "") for a in answers)


def test_login_form_works_only_with_its_own_cookie_and_origin(room: Room) -> None:
    data = {"user": "admin", "password": room.password, "csrf": "made-up"}
    assert room.client.post("/login", data=data, headers={"origin": ORIGIN}).status_code == 403
    foreign = {"origin": "http://evil.example"}
    assert room.client.post("/login", data=data, headers=foreign).status_code == 403


def test_repeated_wrong_logins_have_to_wait_and_the_right_one_too(room: Room) -> None:
    codes = [post_login(room.client, "admin", "wrong").status_code for _ in range(6)]
    assert codes[:5] == [401] * 5
    waiting = post_login(room.client, "admin", room.password)
    assert waiting.status_code == 429
    assert 1 <= int(waiting.headers["retry-after"]) <= 30


def test_logout_ends_the_session_on_the_server(room: Room) -> None:
    room.log_in()
    token = room.client.cookies[SESSION_COOKIE]
    answer = room.client.post(
        "/logout", data={"csrf": csrf_of(room.client)}, headers={"origin": ORIGIN}, follow_redirects=False
    )
    assert answer.status_code == 303
    assert room.console.accounts.session(token) is None


def test_new_password_needs_the_present_one_and_ends_other_sessions(room: Room) -> None:
    room.log_in()
    other = room.console.accounts.sign_in(1, "elsewhere")
    form = {"csrf": csrf_of(room.client), "new": "four unrelated words", "again": "four unrelated words"}
    page = {"origin": ORIGIN, "accept": "text/html"}
    wrong = room.client.post("/account/password", data={**form, "present": "wrong"}, headers=page)
    assert wrong.status_code == 422
    short = {**form, "present": room.password, "new": "short", "again": "short"}
    assert room.client.post("/account/password", data=short, headers=page).status_code == 422
    done = room.client.post("/account/password", data={**form, "present": room.password}, headers=page)
    assert done.status_code == 200
    assert room.console.accounts.check("admin", "four unrelated words") == 1
    assert room.console.accounts.session(other) is None
    assert room.client.get("/account", headers=page).status_code == 200


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/login",
        "",
        "/a\r\nb",
    ],
)
def test_login_never_leads_to_another_site(wanted: str) -> None:
    assert safe_next(wanted) == "/"


def test_patience_is_free_at_first_then_doubles_and_never_locks_out() -> None:
    patience = Patience(free=3, longest_s=30.0)
    waits = []
    for _ in range(12):
        patience.failed("a", 100.0)
        waits.append(patience.wait_s("a", 100.0))
    assert waits[:2] == [0.0, 0.0]
    assert waits[2:5] == [1.0, 2.0, 4.0]
    assert max(waits) == 30.0
    assert patience.wait_s("a", 131.0) == 0.0
    assert patience.wait_s("b", 100.0) == 0.0
    patience.succeeded("a")
    assert patience.wait_s("a", 100.0) == 0.0


def test_patience_remembers_a_bounded_number_of_addresses() -> None:
    patience = Patience(remembered=10)
    for i in range(1000):
        patience.failed(f"10.0.0.{i}", 0.0)
    assert len(patience._failures) == 10
