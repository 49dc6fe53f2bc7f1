# SPDX-License-Identifier: AGPL-3.0-or-later
"""What changed between two snapshots of a home, and who changed it and why: for people, and as plain data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from datasets.beliefs import Believed, LabelRecord, all_records, believed
from datasets.snapshots import find_in, load
from datasets.store import DatasetHome

_SHOWN = 20  # lines of one kind that people are shown; programs get all
_KINDS = ("added", "changed", "removed")
_LINKS = ("part", "lot", "sequence")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """One label that came, changed or went, with the people who did it, oldest first."""

    picture: str
    before: LabelRecord | None
    after: LabelRecord | None
    by: tuple[LabelRecord, ...]  # the records that lead from the one to the other

    @property
    def what(self) -> str:
        """Added | changed | removed."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "picture": self.picture,
            "before": _said(self.before),
            "after": _said(self.after),
            "by": [{"who": r.who, "when": _when(r.utc_ns), "why": r.why} for r in self.by],
        }

    def sentence(self) -> str:
        """For people: what, who, when, why."""
        was, now = (None if r is None else _name(r) for r in (self.before, self.after))
        what = f"{was} -> {now}" if was and now else f"{was or now} {self.what}"
        if was == now:
            what = f"{now} corrected"
        last = self.by[-1]
        return f"{self.picture}: {what} by {last.who}, {_when(last.utc_ns)[:10]}: {last.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What lies between two snapshots."""

    before: str
    after: str
    pictures_added: tuple[str, ...]
    pictures_removed: tuple[str, ...]
    labels: tuple[LabelChange, ...]  # on pictures of both
    classes_before: tuple[str, ...]
    classes_after: tuple[str, ...]
    sides: tuple[tuple[str, str, str], ...]  # picture, before, after
    links: tuple[tuple[str, str, str | None, str | None], ...]  # picture, which, before, after
    plan_before: Mapping[str, Any]
    plan_after: Mapping[str, Any]

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        by_kind: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
        for change in self.labels:
            by_kind[change.what].append(change.to_plain())
        return {
            "before": self.before,
            "after": self.after,
            "pictures": {"added": list(self.pictures_added), "removed": list(self.pictures_removed)},
            "labels": by_kind,
            "classes": {
                "added": [c for c in self.classes_after if c not in self.classes_before],
                "removed": [c for c in self.classes_before if c not in self.classes_after],
            },
            "sides": [{"picture": p, "before": b, "after": a} for p, b, a in self.sides],
            "links": [{"picture": p, "of": of, "before": b, "after": a} for p, of, b, a in self.links],
            "plan": {"before": dict(self.plan_before), "after": dict(self.plan_after)},
        }

    def text(self) -> str:
        """For people."""
        plain = self.to_plain()
        counts = Counter(change.what for change in self.labels)
        lines = [
            f"From snapshot {self.before[:12]} to {self.after[:12]}:",
            f"  pictures: {len(self.pictures_added)} added, {len(self.pictures_removed)} removed",
            f"  labels on pictures of both: {', '.join(f'{counts[w]} {w}' for w in _KINDS)}",
            *(f"  classes {word}: {', '.join(names)}" for word, names in plain["classes"].items() if names),
        ]
        if self.plan_before != self.plan_after:
            lines.append(f"  split by another plan: {dict(self.plan_before)} -> {dict(self.plan_after)}")
        lines += _some("pictures that changed sides", [f"{p}: {b} -> {a}" for p, b, a in self.sides])
        lines += _some("pictures linked anew", [f"{p}: {of} {b} -> {a}" for p, of, b, a in self.links])
        lines += _some("labels", [change.sentence() for change in self.labels])
        lines += _some("pictures added", self.pictures_added)
        lines += _some("pictures removed", self.pictures_removed)
        return "\n".join(lines)


def diff(home: DatasetHome, before: str, after: str) -> Diff:
    """What changed between two snapshots (ids, or how they begin), from the older to the newer; verified."""
    first, second = sorted((find_in(home, before), find_in(home, after)), key=lambda one: one.act_id)
    contents = load(home, first.id), load(home, second.id)
    old, new = ({p["name"]: p for p in content["pictures"]} for content in contents)
    both = [name for name in new if name in old]
    changed = [name for name in both if _said_of(old[name]) != _said_of(new[name])]
    with home.reading() as connection:
        labels = _label_changes(connection, changed, first.act_id, second.act_id)
    return Diff(
        before=first.id,
        after=second.id,
        pictures_added=tuple(name for name in new if name not in old),
        pictures_removed=tuple(name for name in old if name not in new),
        labels=labels,
        classes_before=tuple(contents[0]["classes"]),
        classes_after=tuple(contents[1]["classes"]),
        sides=tuple((n, old[n]["side"], new[n]["side"]) for n in both if old[n]["side"] != new[n]["side"]),
        links=tuple((n, of, old[n][of], new[n][of]) for n in both for of in _LINKS if old[n][of] != new[n][of]),
        plan_before=contents[0]["chosen"]["plan"],
        plan_after=contents[1]["chosen"]["plan"],
    )


def _said_of(plain: Mapping[str, Any]) -> tuple[Any, Any]:
    return plain["labels"], plain["image_class"]


def _label_changes(
    connection: Connection, names: Sequence[str], before: int, after: int
) -> tuple[LabelChange, ...]:
    if not names:
        return ()
    old = {one.name: one for one in believed(connection, as_of=before, names=names)}
    new = {one.name: one for one in believed(connection, as_of=after, names=names)}
    records = all_records(connection, [one.id for one in new.values()])
    return tuple(
        change for name in names for change in _changes_of(old[name], new[name], records[new[name].id])
    )


def _changes_of(old: Believed, new: Believed, records: Sequence[LabelRecord]) -> list[LabelChange]:
    """Follow every chain of records forward, from what counted to what counts."""
    now = {record.id for record in new.records}
    follows = {record.replaces: record for record in records if record.replaces is not None}
    changes, reached = [], set()
    for record in old.records:
        chain: list[LabelRecord] = []
        at = record
        while at.id not in now and at.id in follows:
            at = follows[at.id]
            chain.append(at)
        reached.add(at.id)
        if chain:
            ends = at if at.id in now else None
            changes.append(LabelChange(picture=new.name, before=record, after=ends, by=tuple(chain)))
    by_id = {record.id: record for record in records}
    for record in new.records:
        if record.id in reached:
            continue
        chain = [record]
        while (earlier := chain[0].replaces) is not None:
            chain.insert(0, by_id[earlier])
        changes.append(LabelChange(picture=new.name, before=None, after=record, by=tuple(chain)))
    return [change for change in changes if not _is_empty(change)]


def _is_empty(change: LabelChange) -> bool:
    """Changed and changed back, or only the word that there is nothing."""
    if change.before is not None and change.after is not None:
        return change.before.content == change.after.content
    lone = change.before or change.after
    return lone is not None and lone.shape == "nothing"


def _said(record: LabelRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {"record": record.id, "shape": record.shape, "class": record.class_name, **json.loads(record.body)}


def _name(record: LabelRecord) -> str:
    if record.shape == "whole":
        return f"judged {record.class_name}"
    return record.class_name or record.shape


def _when(utc_ns: int) -> str:
    return datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC).isoformat()


def _some(what: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"    and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [f"  {what}:", *(f"    {line}" for line in lines[:_SHOWN]), *more]
