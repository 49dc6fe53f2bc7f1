# SPDX-License-Identifier: AGPL-3.0-or-later
"""The history of a station's bundles: one append-only file, and what follows from it.

    candidate -> shadow -> active -> retired            (and back, by an act that is itself on record)

One line is one act: JSON, chained by SHA-256 to the line before, synced before anybody acts upon it. An act
moves everything that it moves in that one line (a promotion makes one bundle active *and* the one before it
retired), so there is no instant at which two bundles are active, or none after there was one. A line that was
cut short by a crash never happened; a line that was changed is refused.

Pure but for `append` and `read`; imports neither engine nor database, so that gate and supervisor may read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from inspection.storage.files import sync_folder
from inspection.types import StationFault

HISTORY_NAME = "history.jsonl"
BUNDLES = "bundles"
"""Folder of the copies, each named by its sha256."""
_LOCK_NAME = "lock"
_FIRST = "0" * 64
_MAX_TEXT = 2000


class BundleState(str, Enum):
    """Where a bundle stands in this station."""

    CANDIDATE = "candidate"  # copied in, verified; runs nowhere
    SHADOW = "shadow"  # judges beside the active one, without any power
    ACTIVE = "active"  # the one that the station judges by
    RETIRED = "retired"  # was active once; a rollback may bring it back


class Act(str, Enum):
    """What was done. The last three take the active bundle away and bring its predecessor back."""

    ADD = "add"
    EVALUATE = "evaluate"  # one more evaluation of a bundle that is in here
    ADOPT = "adopt"  # the bundle that station.toml names, entered before the first promotion
    SHADOW = "shadow"
    UNSHADOW = "unshadow"
    PROMOTE = "promote"
    ROLLBACK = "rollback"  # by a person
    WITHDRAW = "withdraw"  # by the watch
    REFUSE = "refuse"  # by the station: it could not take the bundle


RETURNING = frozenset({Act.ROLLBACK, Act.WITHDRAW, Act.REFUSE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act. `facts` are for people and rules: figures, snapshot, the decision's grounds."""

    number: int
    act: Act
    bundle: str  # sha256 of its manifest
    who: str
    why: str
    utc_ns: int
    second: str = ""  # the second person, where two are asked for
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the acts so far come to. `actives` is the line of succession, the active one last."""

    states: dict[str, BundleState]
    actives: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def active(self) -> str | None:
        """The bundle that the station judges by; None before the first."""
        return self.actives[-1] if self.actives else None

    @property
    def shadow(self) -> str | None:
        """The bundle that judges beside it, if any."""
        return next((b for b, state in self.states.items() if state is BundleState.SHADOW), None)

    @property
    def act_number(self) -> int:
        """Number of the last act that changed which bundle is active; 0 before the first."""
        changing = RETURNING | {Act.PROMOTE, Act.ADOPT}
        return max((e.number for e in self.entries if e.act in changing), default=0)

    def entry(self, number: int) -> Entry:
        """One act by its number."""
        return self.entries[number - 1]


def after(standing: Standing, entry: Entry) -> Standing:
    """The standing after one more act; StationFault when that act is not open to this bundle now."""
    states, actives = dict(standing.states), standing.actives
    state = states.get(entry.bundle)
    _check_people(entry)
    match entry.act:
        case Act.ADD:
            if state is not None:
                raise StationFault(f"Bundle {entry.bundle[:12]} is in the registry already, as {state.value}.")
            states[entry.bundle] = BundleState.CANDIDATE
        case Act.EVALUATE:
            _only_from(entry, state, *BundleState)
        case Act.ADOPT:
            if actives:
                raise StationFault(
                    f"Bundle {actives[-1][:12]} is active: promote another one, do not adopt it."
                )
            states[entry.bundle] = BundleState.ACTIVE
            actives = (entry.bundle,)
        case Act.SHADOW:
            _only_from(entry, state, BundleState.CANDIDATE, BundleState.RETIRED)
            if standing.shadow is not None:
                states[standing.shadow] = BundleState.CANDIDATE
            states[entry.bundle] = BundleState.SHADOW
        case Act.UNSHADOW:
            _only_from(entry, state, BundleState.SHADOW)
            states[entry.bundle] = BundleState.CANDIDATE
        case Act.PROMOTE:
            _only_from(entry, state, BundleState.CANDIDATE, BundleState.SHADOW, BundleState.RETIRED)
            if actives:
                states[actives[-1]] = BundleState.RETIRED
            states[entry.bundle] = BundleState.ACTIVE
            actives = (*(b for b in actives if b != entry.bundle), entry.bundle)
        case Act.ROLLBACK | Act.WITHDRAW | Act.REFUSE:
            if len(actives) < 2:
                raise StationFault("There is no earlier bundle to go back to: promote one instead.")
            if entry.bundle != actives[-1]:
                raise StationFault(
                    f"Bundle {entry.bundle[:12]} is not the active one ({actives[-1][:12]} is): nothing to take"
                    " back."
                )
            states[entry.bundle] = BundleState.RETIRED
            actives = actives[:-1]
            states[actives[-1]] = BundleState.ACTIVE
    return Standing(states, actives, (*standing.entries, entry))


def _only_from(entry: Entry, state: BundleState | None, *allowed: BundleState) -> None:
    if state is None:
        raise StationFault(
            f"Bundle {entry.bundle[:12]} is not in the registry: add it with `gatesight models add`."
        )
    if state not in allowed:
        raise StationFault(
            f"Bundle {entry.bundle[:12]} is {state.value}: `{entry.act.value}` needs one that is"
            f" {' or '.join(s.value for s in allowed)}."
        )


def _check_people(entry: Entry) -> None:
    if not entry.who.strip() or not entry.why.strip():
        raise StationFault("Each act in the registry carries a name and a reason: give --who and --why.")
    if entry.second and entry.second.strip() == entry.who.strip():
        raise StationFault(f"The second person must be another one than {entry.who}: give --second.")
    if max(len(entry.who), len(entry.second), len(entry.why)) > _MAX_TEXT:
        raise StationFault(f"A name or reason is longer than {_MAX_TEXT} characters: shorten it.")


NOTHING = Standing({}, (), ())


def read(folder: Path) -> Standing:
    """Fold the history of a registry; an absent folder is an empty one. StationFault when it was changed."""
    standing, _, _ = _fold(folder / HISTORY_NAME)
    return standing


def stamp(folder: Path) -> tuple[int, int]:
    """Changes whenever the history may have changed: cheap enough to look at several times a second."""
    try:
        info = (folder / HISTORY_NAME).stat()
    except OSError:
        return (0, 0)
    return (info.st_size, info.st_mtime_ns)


@contextlib.contextmanager
def writing(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the registry: one writer at a time, whatever process. The lock ends with the process.

    False when somebody else holds it and `wait` is not wanted; then nothing may be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK_NAME).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
    except OSError as e:
        raise StationFault(
            f"Cannot write the registry {folder}: {e.strerror}; free space, or correct its rights."
        ) from e


def append(
    folder: Path,
    act: Act,
    bundle: str,
    *,
    who: str,
    why: str,
    second: str = "",
    facts: Mapping[str, Any] | None = None,
    utc_ns: int | None = None,
) -> Standing:
    """Add one act, synced; the standing after it. Call it inside `writing`. StationFault when it is refused."""
    path = folder / HISTORY_NAME
    standing, good_bytes, last = _fold(path)
    entry = Entry(
        number=len(standing.entries) + 1,
        act=act,
        bundle=bundle,
        who=who,
        why=why,
        second=second,
        utc_ns=time.time_ns() if utc_ns is None else utc_ns,
        facts=dict(facts or {}),
    )
    changed = after(standing, entry)
    existed = path.exists()
    with path.open("ab") as f:
        f.truncate(good_bytes)  # a line that a crash cut short never happened
        f.seek(good_bytes)
        f.write(_line(entry, last))
        f.flush()
        os.fsync(f.fileno())
    if not existed:
        sync_folder(folder)
    return changed


def _line(entry: Entry, before: str) -> bytes:
    body = _canonical(
        {
            "number": entry.number,
            "act": entry.act.value,
            "bundle": entry.bundle,
            "who": entry.who,
            "second": entry.second,
            "why": entry.why,
            "utc_ns": entry.utc_ns,
            "facts": entry.facts,
            "before": before,
        }
    )
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + b',"sha256":"' + digest.encode() + b'"}\n'


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def _fold(path: Path) -> tuple[Standing, int, str]:
    """Standing, bytes that are whole lines, hash of the last one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return NOTHING, 0, _FIRST
    except OSError as e:
        raise StationFault(f"Cannot read the registry's history {path}: {e.strerror}.") from e
    whole = data[: data.rfind(b"\n") + 1]
    standing, before = NOTHING, _FIRST
    for number, line in enumerate(whole.splitlines(), 1):
        entry, before = _parse(path, number, line, before)
        standing = after(standing, entry)
    return standing, len(whole), before


def _parse(path: Path, number: int, line: bytes, before: str) -> tuple[Entry, str]:
    try:
        value = json.loads(line)
        digest = value.pop("sha256")
        if hashlib.sha256(_canonical(value)).hexdigest() != digest or value.pop("before") != before:
            raise ValueError("it does not follow from the line before")
        if value["number"] != number:
            raise ValueError(f"it says that it is line {value['number']}")
        return Entry(**(value | {"act": Act(value["act"])})), digest
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise StationFault(
            f"{path}, line {number}: the registry's history was changed or damaged ({e}); put a good copy back."
        ) from e


def find(standing: Standing, name: str) -> str:
    """A bundle of the registry by its sha256 or an unambiguous beginning of it; StationFault otherwise."""
    hits: Sequence[str] = [sha for sha in standing.states if len(name) >= 4 and sha.startswith(name.lower())]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise StationFault(f"{name} names {len(hits)} bundles of the registry: give more of its hash.")
    raise StationFault(
        f"The registry holds no bundle {name}: `gatesight models list` shows those that it holds."
    )
