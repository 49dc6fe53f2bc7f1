# SPDX-License-Identifier: AGPL-3.0-or-later
"""People and their sessions: argon2id passwords, server-side sessions, and a log-in that slows guessing down.

There is no default password. The first start makes the user `admin` with a random one and prints it once.
A session's token is known to the browser only; the database holds its sha256.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.dialects import sqlite

from station_app.store import audit, console_identity, sessions, users

ADMIN = "admin"
MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 256
_NS_PER_S = 1_000_000_000
IDLE_LIMIT_NS = 12 * 3600 * _NS_PER_S
AGE_LIMIT_NS = 7 * 24 * 3600 * _NS_PER_S
_TOUCH_NS = 60 * _NS_PER_S  # how stale "last used" may be; saves a write a request
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that reads like something else on a terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who is asking, and the token that their forms must carry."""

    user_id: int
    user: str
    role: str
    csrf: str
    token_sha256: str


class Accounts:
    """Users and sessions in the console's database. Safe for several threads."""

    def __init__(self, engine: Engine, now_utc_ns: Callable[[], int] = time.time_ns) -> None:
        self._engine = engine
        self._now_utc_ns = now_utc_ns
        # OWASP's second choice for argon2id: 61 ms here, against 521 ms with the library's default.
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
        self._decoy = self._hasher.hash(secrets.token_urlsafe(16))
        self._hashing = threading.Semaphore(2)  # 19 MiB each: log-in attempts cannot eat the station's memory
        self.console_id, self._browser_key = self._identity()

    def _identity(self) -> tuple[str, bytes]:
        """What makes this console's cookies its own; drawn when its database is new."""
        drawn = {"console_id": secrets.token_hex(4), "browser_key": secrets.token_hex(32)}
        with self._engine.begin() as connection:
            connection.execute(sqlite.insert(console_identity).values(id=1, **drawn).on_conflict_do_nothing())
            row = connection.execute(select(console_identity)).one()
        return row.console_id, bytes.fromhex(row.browser_key)

    def first_password(self) -> str | None:
        """Make the user `admin` if there is no user yet; its password, told this once, else None."""
        with self._engine.begin() as connection:
            if connection.execute(select(users.c.id).limit(1)).first() is not None:
                return None
            return self._new_admin_password(connection, "first start")

    def reset_password(self) -> str:
        """A new password for `admin`; every session of it ends."""
        with self._engine.begin() as connection:
            return self._new_admin_password(connection, "reset on the command line")

    def _new_admin_password(self, connection: Connection, why: str) -> str:
        password = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))
        values = {"password_hash": self._hasher.hash(password)}
        found = connection.execute(select(users.c.id).where(users.c.name == ADMIN)).scalar()
        if found is None:
            row = {"name": ADMIN, "role": "admin", "created_utc_ns": self._now_utc_ns()}
            connection.execute(insert(users).values(**row, **values))
        else:
            connection.execute(update(users).where(users.c.id == found).values(**values))
            connection.execute(delete(sessions).where(sessions.c.user_id == found))
        self._write_down(connection, ADMIN, "password", why)
        return password

    def check(self, name: str, password: str) -> int | None:
        """Id of the user whose password this is, else None; takes as long for an unknown name."""
        with self._engine.connect() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).first()
        matches = self._matches(row.password_hash if row else self._decoy, password)
        return int(row.id) if row and matches else None

    def _matches(self, password_hash: str, password: str) -> bool:
        if len(password) > MAX_PASSWORD_CHARACTERS:
            return False
        with self._hashing:
            try:
                return self._hasher.verify(password_hash, password)
            except (VerificationError, InvalidHashError):
                return False

    def change_password(self, session: Session, password: str) -> None:
        """Set one's own password; one's other sessions end."""
        with self._hashing:
            hashed = self._hasher.hash(password)
        with self._engine.begin() as connection:
            connection.execute(update(users).where(users.c.id == session.user_id).values(password_hash=hashed))
            connection.execute(
                delete(sessions).where(
                    sessions.c.user_id == session.user_id, sessions.c.token_sha256 != session.token_sha256
                )
            )
            self._write_down(connection, session.user, "password", "changed in the console")

    def sign_in(self, user_id: int, where: str) -> str:
        """Open a session; its token, for the cookie."""
        token = secrets.token_urlsafe(32)
        now = self._now_utc_ns()
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.used_utc_ns < now - IDLE_LIMIT_NS))
            connection.execute(
                insert(sessions).values(
                    token_sha256=_digest(token),
                    user_id=user_id,
                    csrf=secrets.token_urlsafe(24),
                    created_utc_ns=now,
                    used_utc_ns=now,
                )
            )
            name = connection.execute(select(users.c.name).where(users.c.id == user_id)).scalar_one()
            self._write_down(connection, name, "sign_in", f"from {where}")
        return token

    def session(self, token: str) -> Session | None:
        """The live session of a token, else None; using it keeps it alive."""
        digest = _digest(token)
        now = self._now_utc_ns()
        columns = (
            users.c.id,
            users.c.name,
            users.c.role,
            sessions.c.csrf,
            sessions.c.used_utc_ns,
            sessions.c.created_utc_ns,
        )
        with self._engine.connect() as connection:
            row = connection.execute(
                select(*columns).join_from(sessions, users).where(sessions.c.token_sha256 == digest)
            ).first()
        if row is None or now - row.used_utc_ns > IDLE_LIMIT_NS or now - row.created_utc_ns > AGE_LIMIT_NS:
            return None
        if now - row.used_utc_ns > _TOUCH_NS:
            with self._engine.begin() as connection:
                connection.execute(
                    update(sessions).where(sessions.c.token_sha256 == digest).values(used_utc_ns=now)
                )
        return Session(user_id=row.id, user=row.name, role=row.role, csrf=row.csrf, token_sha256=digest)

    def browser_proof(self, user: str) -> str:
        """For the cookie of a browser that has just logged in as `user`."""
        name = secrets.token_urlsafe(12)
        return f"{name}.{self._browser_mac(name, user)}"

    def known_browser(self, proof: str, user: str) -> str | None:
        """The name of a browser that has logged in as `user` before, else None."""
        name, _, mac = proof.partition(".")
        is_known = hmac.compare_digest(mac.encode(), self._browser_mac(name, user).encode())
        return name if is_known else None

    def _browser_mac(self, name: str, user: str) -> str:
        return hmac.new(self._browser_key, f"{name} {user}".encode(), hashlib.sha256).hexdigest()

    def sign_out(self, session: Session) -> None:
        """End one session."""
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.token_sha256 == session.token_sha256))
            self._write_down(connection, session.user, "sign_out", "")

    def write_down(self, who: str, action: str, detail: str) -> None:
        """One line of the audit trail."""
        with self._engine.begin() as connection:
            self._write_down(connection, who, action, detail)

    def _write_down(self, connection: Connection, who: str, action: str, detail: str) -> None:
        connection.execute(
            insert(audit).values(utc_ns=self._now_utc_ns(), who=who[:64], action=action, detail=detail[:500])
        )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def source_of(address: str) -> str:
    """Who counts as one in front of the log-in: an IPv4 address, or the /64 that one IPv6 host may roam in."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))


class Patience:
    """Slows down repeated wrong log-ins from one place: free at first, then doubling up to `longest_s`.

    A place is a browser that has logged in before, or else an address. Nobody is locked out for longer than
    that, and nobody by what another place does. Pure but for its bounded memory; `now_s` is monotonic.
    """

    def __init__(self, *, free: int = 5, longest_s: float = 30.0, remembered: int = 4096) -> None:
        self._free = free
        self._longest_s = longest_s
        self._remembered = remembered
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, place: str, now_s: float) -> float:
        """How long this place has to wait before its next attempt counts; 0 when it may try now."""
        count, until_s = self._failures.get(place, (0, 0.0))
        return max(0.0, until_s - now_s) if count else 0.0

    def failed(self, place: str, now_s: float) -> None:
        """A wrong password from there."""
        count = self._failures.pop(place, (0, 0.0))[0] + 1
        over = count - self._free
        delay_s = 0.0 if over < 0 else min(self._longest_s, 2.0 ** min(over, 10))
        self._failures[place] = (count, now_s + delay_s)
        while len(self._failures) > self._remembered:
            self._failures.popitem(last=False)

    def succeeded(self, place: str) -> None:
        """A right one: forgotten."""
        self._failures.pop(place, None)
