# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checks of records, configuration and restarts can fail: each seeded bug is caught, the real code passes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy.exc import IntegrityError

from tests.contract.code import Bug, source_of
from tests.records import record_checks as checks

PROJECTION, IMAGES = "inspection.records.projection", "inspection.storage.images"
RECORDER, ARCHIVE = "inspection.recorder", "inspection.archive"
CONFIG, GATE = "inspection.config", "inspection.gate"

Check = Callable[[ModuleType, Path], None]


def _epoch(gate: ModuleType, _: Path) -> None:
    checks.a_restart_has_another_epoch(gate)


BUGS: tuple[tuple[Check, Bug], ...] = (
    (
        checks.every_record_arrives,
        Bug(
            name="the cursor goes past a record that was not applied",
            module=PROJECTION,
            old="            for entry in entries:\n",
            new="            for entry in entries[:-1]:\n",
        ),
    ),
    (
        checks.every_record_arrives,
        Bug(
            name="the cursor is not kept",
            module=PROJECTION,
            old="connection.execute(insert(t.cursor).values(id=1, segment=at.segment, offset=at.offset))",
            new="pass",
        ),
    ),
    (
        checks.a_locked_database_costs_no_record,
        Bug(
            name="what was read while the database was locked is not read again",
            module=RECORDER,
            old="                self._rewind()\n",
            new="",
        ),
    ),
    (
        checks.a_locked_database_costs_no_record,
        Bug(
            name="the position counts as applied before it is",
            module=RECORDER,
            old="        self._projection.apply(entries)\n",
            new="        self._applied = self._follower.position\n        self._projection.apply(entries)\n",
        ),
    ),
    (
        checks.pictures_are_what_their_names_say,
        Bug(
            name="a picture is named by its beginning",
            module=IMAGES,
            old="        digest = hashlib.sha256(data).hexdigest()\n        place",
            new="        digest = hashlib.sha256(data[:64]).hexdigest()\n        place",
        ),
    ),
    (
        checks.pictures_are_what_their_names_say,
        Bug(
            name="a picture's bytes are not looked at when it is read",
            module=IMAGES,
            old="        if hashlib.sha256(data).hexdigest() != digest:",
            new="        if False:",
        ),
    ),
    (
        checks.findings_stay_on_their_pictures,
        Bug(
            name="one camera's picture goes to all views of the part",
            module=PROJECTION,
            old='t.views.c.part_id == part.id, t.views.c.camera == row["camera"]',
            new="t.views.c.part_id == part.id",
        ),
    ),
    (
        checks.findings_stay_on_their_pictures,
        Bug(
            name="pictures that came first are dealt out in the order of arrival",
            module=PROJECTION,
            old="pictures = {row.camera: row for row in kept}",
            new="pictures = dict(enumerate(reversed(kept)))",
        ),
    ),
    (
        checks.findings_stay_on_their_pictures,
        Bug(
            name="a picture of another year with the same epoch and ordinal is taken",
            module=PROJECTION,
            old="                _stored_with(record.trigger_utc_ns),\n",
            new="",
        ),
    ),
    (
        checks.previews_carry_their_own_findings,
        Bug(
            name="a preview lists the findings of all cameras",
            module=ARCHIVE,
            old=" if f.camera == message.frame.camera",
            new="",
        ),
    ),
    (
        checks.unknown_keys_are_refused,
        Bug(name="unknown keys are ignored", module=CONFIG, old='extra="forbid"', new='extra="ignore"'),
    ),
    (
        _epoch,
        Bug(
            name="a restart may keep the epoch",
            module=GATE,
            old="        if epoch != last:\n            return Epoch(epoch)",
            new="        return Epoch(epoch)",
        ),
    ),
)

WALL_CLOCK_BUGS = (
    Bug(
        name="the gate counts deadlines on the wall clock",
        module="inspection.gate_loop",
        old="clock: Callable[[], int] = time.monotonic_ns",
        new="clock: Callable[[], int] = time.time_ns",
    ),
    Bug(
        name="heartbeats are dated by the wall clock",
        module="inspection.board",
        old="self._words[2] = time.monotonic_ns() if now_ns is None else now_ns",
        new="self._words[2] = time.time_ns() if now_ns is None else now_ns",
    ),
)


def _name(bug: Bug) -> str:
    return bug.name.replace(" ", "-")


def load(bug: Bug) -> ModuleType:
    """The module with the bug in its source, beside the real one."""
    text = source_of(bug.module)
    assert text.count(bug.old) == 1, f"seeded bug {bug.name!r} no longer fits {bug.module}"
    module = ModuleType(bug.module)
    module.__file__ = f"<{bug.module} with {bug.name}>"
    exec(compile(text.replace(bug.old, bug.new), module.__file__, "exec"), module.__dict__)  # noqa: S102 - our own
    return module


CHECKS = list(dict.fromkeys((check, bug.module) for check, bug in BUGS))


@pytest.mark.parametrize(("check", "module"), CHECKS, ids=lambda v: getattr(v, "__name__", v))
def test_the_real_code_passes(check: Check, module: str, tmp_path: Path) -> None:
    check(importlib.import_module(module), tmp_path)


@pytest.mark.parametrize(("check", "bug"), BUGS, ids=[_name(bug) for _, bug in BUGS])
def test_the_check_catches(check: Check, bug: Bug, tmp_path: Path) -> None:
    broken = load(bug)
    with pytest.raises((AssertionError, pytest.fail.Exception, IntegrityError)):
        check(broken, tmp_path)


@pytest.mark.parametrize("module", checks.WALL_CLOCK_FREE)
def test_wall_clock_is_for_records_only(module: str) -> None:
    checks.wall_clock_only_dates_records(source_of(module))


@pytest.mark.parametrize("bug", WALL_CLOCK_BUGS, ids=_name)
def test_the_wall_clock_check_catches(bug: Bug) -> None:
    text = source_of(bug.module)
    assert text.count(bug.old) == 1, f"seeded bug {bug.name!r} no longer fits {bug.module}"
    with pytest.raises(AssertionError, match="wall clock"):
        checks.wall_clock_only_dates_records(text.replace(bug.old, bug.new))
