# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passwords, sessions and patience."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from inspection.types import StationFault
from station_app.accounts import AGE_LIMIT_NS, IDLE_LIMIT_NS, Accounts, Patience, source_of
from station_app.signin import safe_next
from station_app.store import open_store
from tests.console.conftest import ORIGIN, Room, csrf_of, post_login, session_cookie

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
    cookie = next(
        c for c in answer.headers.get_list("set-cookie") if c.startswith(session_cookie(room))
    ).lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert room.client.get("/", headers={"accept": "text/html"}).status_code == 200


def test_wrong_password_says_nothing_of_which_half_is_wrong(room: Room) -> None:
    answers = [post_login(room.client, user, "wrong") for user in ("admin", "nobody")]
    assert [a.status_code for a in answers] == [401, 401]
    assert all("Name or password is wrong." in a.text for a in answers)
    assert all(session_cookie(room) not in a.headers.get("set-cookie", "") for a in answers)


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
    token = room.client.cookies[session_cookie(room)]
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


def test_a_persistent_stranger_at_the_same_address_cannot_keep_the_operator_out(room: Room) -> None:
    """Behind one proxy or terminal everybody has one address: the operator's browser is known by its cookie."""
    room.log_in()
    operator = dict(room.client.cookies)
    room.client.cookies.clear()
    for _ in range(8):
        post_login(room.client, "admin", "wrong")
    assert post_login(room.client, "admin", room.password).status_code == 429
    room.client.cookies.clear()
    room.client.cookies.update({k: v for k, v in operator.items() if k.endswith("_browser")})
    assert post_login(room.client, "admin", room.password).status_code == 303


def test_a_known_browser_has_to_wait_for_its_own_wrong_attempts(room: Room) -> None:
    room.log_in()
    room.client.cookies.delete(session_cookie(room))  # logged out: the log-in page is shown again
    codes = [post_login(room.client, "admin", "wrong").status_code for _ in range(7)]
    assert codes[-1] == 429


def test_a_made_up_browser_cookie_is_an_unknown_browser(accounts: Accounts) -> None:
    proof = accounts.browser_proof("admin")
    assert accounts.known_browser(proof, "admin") == proof.split(".")[0]
    for wrong in ("", ".", "a.b", proof[:-1] + ("0" if proof[-1] != "0" else "1"), "x" + proof, "\u00e9." * 3):
        assert accounts.known_browser(wrong, "admin") is None
    assert accounts.known_browser(proof, "somebody") is None


def test_a_session_made_up_before_the_login_is_never_taken_over(room: Room) -> None:
    """Session fixation: what the browser brought along is worth nothing, before and after."""
    room.client.cookies.set(session_cookie(room), "planted-by-somebody-else")
    answer = post_login(room.client, "admin", room.password)
    assert answer.status_code == 303
    given = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(session_cookie(room)))
    assert "planted" not in given
    assert room.console.accounts.session("planted-by-somebody-else") is None


def test_logging_in_again_ends_the_session_that_stood_in_this_browser(room: Room) -> None:
    room.log_in()
    before = room.client.cookies[session_cookie(room)]
    pair_cookie = session_cookie(room).replace("_session", "_login")
    room.client.cookies.set(pair_cookie, "pair")
    data = {"user": "admin", "password": room.password, "csrf": "pair"}
    answer = room.client.post("/login", data=data, headers={"origin": ORIGIN}, follow_redirects=False)
    assert answer.status_code == 303
    assert room.console.accounts.session(before) is None


def test_two_consoles_on_one_host_have_cookies_of_their_own(tmp_path: Path) -> None:
    """Browsers send cookies to every port of a host: with one name, each log-in would end the other's."""
    ids = set()
    for name in ("a", "b", "a"):
        engine = open_store(tmp_path / f"{name}.sqlite")
        ids.add(Accounts(engine).console_id)
        engine.dispose()
    assert len(ids) == 2


def test_over_tls_cookies_are_secure_and_bound_to_the_host(room: Room) -> None:
    secure = TestClient(room.client.app, base_url="https://testserver")
    form = secure.get("/login")
    pair = form.text.split('name="csrf" value="')[1].split('"')[0]
    answer = secure.post(
        "/login",
        data={"user": "admin", "password": room.password, "csrf": pair},
        headers={"origin": "https://testserver"},
        follow_redirects=False,
    )
    assert answer.status_code == 303
    given = form.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie")
    assert len(given) == 4  # the form's, the session, the browser, and the form's again, taken back
    for cookie in given:
        assert cookie.startswith("__Host-gatesight_")
        assert {"httponly", "secure", "samesite=strict", "path=/"} <= {
            w.strip().lower() for w in cookie.split(";")
        }


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_one_ipv6_host_counts_as_one_however_it_roams(address: str, source: str) -> None:
    assert source_of(address) == source
